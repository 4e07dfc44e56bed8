//! A server that is away for long: scenario 21.

use netwheel::Backoff;
use netwheel::sim::World;
use netwheel::stack::Node;

use crate::peer::{Echo, MILLI, SECOND};
use crate::util::log;

#[test]
fn a_minute_of_dials_in_vain_leaves_nothing_behind_and_logs_each() {
    // Of this test alone, since the log is everybody's.
    const AWAY: &str = "10.0.0.21:7000";
    log::capture();
    let world = World::new(21);
    let node_of = |name| {
        let node = Node::on(&world, name).unwrap();
        node.reconnect(Backoff::every(20 * MILLI))
    };
    let client = node_of("n1").serve(Echo::default()).unwrap();
    client.know("server", AWAY).unwrap();
    let link = client.get_or_connect("server").unwrap();
    for second in 1..=60 {
        world.run_for(SECOND);
        let sources = world.net().connections(SECOND).unwrap();
        assert!(sources.len() <= 1, "second {second}: {sources:?}");
        assert!(world.stats().timers_live <= 1, "second {second}");
    }
    let count = |line: String| log::lines_with(&[&line]).len();
    let tried = count(format!("connecting to {AWAY}, try "));
    let failed = count(format!("connect to {AWAY}: connection refused"));
    assert!(tried - failed <= 1, "{tried} tries, {failed} lines");
    // One in 20 ms, and the way there and back.
    assert!((2_800..=3_000).contains(&failed), "{failed} tries");
    assert_eq!(world.stats().connected, 0);
    let server = node_of("server").serve(Echo::default()).unwrap();
    let _running = server.server().listen(AWAY).unwrap().start().unwrap();
    assert!(world.run_until(SECOND, || link.is_up()));
    client.close();
}

#[cfg(target_os = "linux")]
mod sockets {
    use std::net::{Ipv4Addr, SocketAddr};

    use netwheel::Reactor;
    use socket2::{Domain, Socket, Type};

    use super::*;
    use crate::util::{descriptors, eventually, is_alone};

    #[test]
    fn dials_in_vain_cost_one_descriptor_at_a_time_and_log_what_the_system_says() {
        const TRIES: usize = 300;
        if !is_alone(
            "outages::sockets::dials_in_vain_cost_one_descriptor_at_a_time_and_log_what_the_system_says",
        ) {
            return;
        }
        log::capture();
        // Nobody listens, and nobody else can take the port.
        let taken = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        taken.bind(&any.into()).unwrap();
        let away = taken.local_addr().unwrap().as_socket().unwrap();
        let reactor = Reactor::builder().workers(1).start().unwrap();
        let before = descriptors();
        let node = Node::on(&reactor, "n1").unwrap();
        let node = node.reconnect(Backoff::every(MILLI));
        let client = node.serve(Echo::default()).unwrap();
        client.know("server", away).unwrap();
        client.get_or_connect("server").unwrap();
        let line = format!("connect to {away}: ");
        eventually("it has tried often", || {
            assert!(descriptors() <= before + 1);
            log::lines_with(&[&line, "(os error "]).len() >= TRIES
        });
        client.close();
        eventually("the last has gone", || descriptors() == before);
        assert_eq!(reactor.stats().connected, 0);
    }
}
