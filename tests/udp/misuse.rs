//! What makes no sense is refused, in words that say what would.

use std::net::Ipv4Addr;
use std::time::Duration;

use netwheel::limits::DatagramLimits;
use netwheel::udp::HasHandler;
use netwheel::{Error, ErrorKind, Net, Udp};

use super::util::any_port;
use super::{plain, reactor};

fn deaf(net: &impl AsRef<Net>) -> Udp<HasHandler> {
    Udp::on(net).handle(|_, _| Ok(()))
}

#[track_caller]
fn refused<T>(outcome: Result<T, Error>, kind: ErrorKind, word: &str) {
    let error = outcome.err().expect("it makes no sense");
    assert_eq!(error.kind(), kind, "{error}");
    assert!(error.to_string().contains(word), "{error}");
}

#[test]
fn settings_that_cannot_work_are_refused() {
    let reactor = reactor(1);
    let mut limits = DatagramLimits::default();
    limits.queue_datagrams_max = 0;
    let config = ErrorKind::Config;
    let limited = deaf(&reactor).limits(limits);
    refused(limited.bind(any_port()), config, "queue_datagrams_max");
    let no_group = deaf(&reactor).join_v4(Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST);
    refused(no_group.bind(any_port()), config, "no multicast group");
    let other_family = deaf(&reactor).join_v6("ff02::1".parse().unwrap(), 0);
    refused(other_family.bind(any_port()), config, "families");
    let far = deaf(&reactor).multicast_ttl(256);
    refused(far.bind(any_port()), config, "multicast_ttl");
    let six = deaf(&reactor).ipv6_only(true);
    refused(six.bind(any_port()), config, "ipv6_only");
    let spread = deaf(&reactor).reuse_port(true);
    refused(spread.connect("127.0.0.1:9"), config, "reuse_port");
}

#[test]
fn addresses_that_cannot_be_are_refused() {
    let reactor = reactor(1);
    let taken = plain().local_addr().unwrap();
    let holder = std::net::UdpSocket::bind(taken).unwrap();
    refused(
        deaf(&reactor).bind(taken),
        ErrorKind::Address,
        "cannot bind udp",
    );
    drop(holder);
    refused(
        deaf(&reactor).bind("unix:/tmp/x"),
        ErrorKind::Address,
        "no internet address",
    );
    refused(
        deaf(&reactor).bind("203.0.113.1:0"),
        ErrorKind::Address,
        "203.0.113.1",
    );
}

#[test]
fn a_reactor_that_has_ended_takes_no_socket() {
    let reactor = reactor(1);
    let net = reactor.net().clone();
    reactor.shutdown(Duration::ZERO);
    refused(deaf(&net).bind(any_port()), ErrorKind::Closed, "shut down");
}

#[test]
#[should_panic(expected = "call try_send")]
fn a_connected_handle_names_no_address() {
    let reactor = reactor(1);
    let client = deaf(&reactor).connect("127.0.0.1:9").unwrap();
    let _ = client.try_send_to("x", "127.0.0.1:10".parse().unwrap());
}

#[test]
#[should_panic(expected = "call try_send_to")]
fn a_handle_without_a_peer_must_name_one() {
    let reactor = reactor(1);
    let socket = deaf(&reactor).bind(any_port()).unwrap();
    let _ = socket.try_send("x");
}
