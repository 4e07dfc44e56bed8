//! Errors of one datagram, which the socket survives.

use std::io::ErrorKind;
use std::net::SocketAddr;
use std::sync::mpsc::{self, Sender};

use netwheel::udp::{Datagram, DatagramContext, DatagramHandler};
use netwheel::{TrySendError, Udp};

use super::util::{PATIENCE, any_port};
use super::{ask, plain, reactor, take};

/// Tells of errors, and passes on what arrives.
struct Told(Sender<(ErrorKind, Option<SocketAddr>)>);

impl DatagramHandler for Told {
    fn on_datagram(
        &mut self,
        cx: &mut DatagramContext<'_>,
        datagram: Datagram<'_>,
    ) -> netwheel::Result<()> {
        cx.send_to(datagram.bytes, datagram.peer)
    }

    fn on_error(
        &mut self,
        _: &mut DatagramContext<'_>,
        error: &std::io::Error,
        peer: Option<SocketAddr>,
    ) -> netwheel::Result<()> {
        Ok(self.0.send((error.kind(), peer))?)
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_peer_that_does_not_listen_is_told_of_and_ends_nothing() {
    let (reactor, vacant) = (reactor(1), plain());
    let address = vacant.local_addr().unwrap();
    drop(vacant);
    let (tx, rx) = mpsc::channel();
    let client = Udp::on(&reactor)
        .handler(move || Told(tx.clone()))
        .connect(address)
        .unwrap();
    client.try_send("anybody?").unwrap();
    let told = rx.recv_timeout(PATIENCE).unwrap();
    assert_eq!(told, (ErrorKind::ConnectionRefused, Some(address)));
    assert_eq!(client.closed(), None);
    // Somebody comes: the same socket reaches them.
    let peer = super::plain_at(&address.to_string());
    client.try_send("now?").unwrap();
    let (bytes, from) = take(&peer);
    assert_eq!(bytes, b"now?");
    assert_eq!(ask(&peer, from, b"yes"), b"yes");
    assert_eq!(client.stats().errors, 1);
    assert_eq!(reactor.stats().datagram_errors, 1);
}

#[test]
fn a_datagram_that_is_too_long_for_the_network_fails_alone() {
    let reactor = reactor(1);
    let socket = Udp::on(&reactor)
        .handle(
            |cx, datagram| match cx.send_to(vec![7; 70_000], datagram.peer) {
                Ok(()) => cx.send_to("taken", datagram.peer),
                Err(failure) => cx.send_to(format!("failed: {failure}"), datagram.peer),
            },
        )
        .bind(any_port())
        .unwrap();
    let answer = ask(&plain(), socket.local_address(), b"?");
    assert!(answer.starts_with(b"failed: "), "{answer:?}");
    assert_eq!(socket.stats().errors, 1);
}

#[test]
fn what_a_handle_sends_in_vain_is_told_to_the_handler() {
    let (reactor, peer) = (reactor(1), plain());
    let to = peer.local_addr().unwrap();
    let (tx, rx) = mpsc::channel();
    let socket = Udp::on(&reactor)
        .handler(move || Told(tx.clone()))
        .bind(any_port())
        .unwrap();
    socket.try_send_to(vec![7; 70_000], to).unwrap();
    assert_eq!(rx.recv_timeout(PATIENCE).unwrap().1, Some(to));
    assert_eq!(ask(&peer, socket.local_address(), b"alive"), b"alive");
}

#[test]
fn a_handle_gives_back_what_is_too_much() {
    let reactor = reactor(1);
    let gate = super::util::Gate::new();
    let held = gate.clone();
    let mut limits = netwheel::limits::DatagramLimits::default();
    limits.queue_datagrams_max = 3;
    let socket = Udp::on(&reactor)
        .limits(limits)
        .handle(move |_, _| {
            held.pass();
            Ok(())
        })
        .bind(any_port())
        .unwrap();
    let peer = plain();
    let to = peer.local_addr().unwrap();
    peer.send_to(b"hold", socket.local_address()).unwrap();
    gate.wait();
    (0..3_u8).for_each(|n| socket.try_send_to(vec![n], to).unwrap());
    assert_eq!(
        socket.try_send_to("fourth", to),
        Err(TrySendError::Full("fourth".into()))
    );
    assert_eq!(socket.stats().refused, 1);
    gate.open();
    (0..3).for_each(|n| assert_eq!(take(&peer).0, [n]));
    socket.try_send_to("fifth", to).unwrap();
    assert_eq!(take(&peer).0, b"fifth");
}
