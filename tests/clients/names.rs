//! Names are looked up at each dial.

use std::net::IpAddr;

use netwheel::CloseReason;
use netwheel::sim::Runs;

use super::*;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

#[test]
fn every_dial_sees_what_the_name_stands_for_by_then() {
    Runs::seeds(0..100).run(|world| {
        let (client, states) = client(world, Backoff::every(SECOND));
        let _first = serve(world, "10.0.0.1:7");
        let second = serve(world, "10.0.0.2:7");
        let handle = client.connect("server.test:7").unwrap();
        world.run_for(3 * SECOND);
        assert!(
            states.words().iter().all(|word| word != "up"),
            "nobody knows the name"
        );
        assert!(states.words().contains(&"down failed".into()));
        world.set_host("server.test", [ip("10.0.0.2")]);
        assert!(world.run_until(3 * SECOND, || states.is_up()));
        assert_eq!(
            handle.connection().unwrap().peer().ip(),
            Some(ip("10.0.0.2"))
        );
        world.set_host("server.test", [ip("10.0.0.1")]);
        second.shutdown(SECOND / 2);
        assert!(world.run_until(SECOND, || !states.is_up()));
        assert!(world.run_until(3 * SECOND, || states.is_up()));
        assert_eq!(
            handle.connection().unwrap().peer().ip(),
            Some(ip("10.0.0.1"))
        );
        states.check();
    });
}

#[test]
fn all_addresses_of_a_name_get_their_turn() {
    Runs::seeds(0..50).run(|world| {
        let (client, states) = client(world, Backoff::every(SECOND));
        world.set_host("server.test", ["10.0.0.1", "10.0.0.2", "10.0.0.3"].map(ip));
        let _server = serve(world, "10.0.0.3:7");
        let handle = client.connect_any(["server.test:7", "10.9.9.9:9"]).unwrap();
        assert!(world.run_until(10 * SECOND, || states.is_up()));
        assert_eq!(
            handle.connection().unwrap().peer().ip(),
            Some(ip("10.0.0.3"))
        );
        assert_eq!(states.tried(), ["server.test:7"; 3]);
    });
}

#[test]
fn a_name_without_addresses_is_passed_over_for_the_next_target() {
    Runs::seeds(0..50).run(|world| {
        let (client, states) = client(world, Backoff::every(SECOND));
        let _server = serve(world, SERVER);
        let _handle = client.connect_any(["nobody.test:7", SERVER]).unwrap();
        assert!(world.run_until(10 * SECOND, || states.is_up()));
        assert_eq!(states.tried(), ["nobody.test:7", SERVER]);
        let why = states.all()[1].to_string();
        assert!(why.contains("nobody.test"), "{why}");
    });
}

#[test]
fn a_client_that_is_closed_during_a_lookup_dials_nobody() {
    Runs::seeds(0..100).run(|world| {
        let (client, states) = client(world, Backoff::every(SECOND));
        world.set_host("server.test", [ip("10.0.0.1")]);
        let _server = serve(world, SERVER);
        let handle = client.connect("server.test:7000").unwrap();
        handle.close();
        world.run_for(HOUR);
        assert_eq!(states.words(), ["connecting 1", "closed cancelled"]);
        assert_eq!(world.net().stats().connected, 0);
    });
}

#[test]
fn a_client_that_dials_once_looks_its_name_up_as_well() {
    Runs::seeds(0..50).run(|world| {
        let _server = serve(world, SERVER);
        world.set_host("server.test", [ip("10.0.0.1"), ip("10.0.0.9")]);
        let client = Client::on(world).pipeline(frames);
        let known = client.connect("server.test:7000").unwrap();
        known.try_send("waits for the lookup".into()).unwrap();
        let unknown = client.connect("nobody.test:7000").unwrap();
        let closed = client.connect("server.test:7000").unwrap();
        closed.close();
        world.run_for(SECOND);
        assert!(known.wait_open(Duration::ZERO).is_ok());
        assert_eq!(known.peer().ip(), Some(ip("10.0.0.1")));
        assert_eq!(known.queued_bytes(), 0);
        assert_eq!(unknown.closed(), Some(CloseReason::Refused));
        assert_eq!(closed.closed(), Some(CloseReason::Local));
        assert_eq!(world.net().stats().connected, 1);
    });
}
