//! How sockets end, and what does not end them.

use std::net::UdpSocket;
use std::sync::mpsc::{self, Sender};

use netwheel::udp::{Datagram, DatagramContext, DatagramHandler};
use netwheel::{CloseReason, ErrorKind, Failure, TrySendError, Udp};

use super::util::{A_WHILE, Baseline, PATIENCE, any_port, is_alone};
use super::{ask, plain, reactor, take};

#[test]
fn a_panic_ends_its_socket_and_no_other() {
    let reactor = reactor(1);
    let echo = |cx: &mut DatagramContext<'_>, datagram: Datagram<'_>| {
        assert_ne!(datagram.bytes, b"bomb", "as asked for");
        cx.send_to(datagram.bytes, datagram.peer)
    };
    let doomed = Udp::on(&reactor).handle(echo).bind(any_port()).unwrap();
    let other = Udp::on(&reactor).handle(echo).bind(any_port()).unwrap();
    let peer = plain();
    peer.send_to(b"bomb", doomed.local_address()).unwrap();
    assert_eq!(doomed.wait_closed(PATIENCE).unwrap(), CloseReason::Panic);
    assert_eq!(ask(&peer, other.local_address(), b"hello"), b"hello");
    assert_eq!((reactor.stats().panics, other.closed()), (1, None));
    let refused = doomed.try_send_to("late", peer.local_addr().unwrap());
    assert_eq!(refused, Err(TrySendError::Closed("late".into())));
    UdpSocket::bind(doomed.local_address()).expect("its port is free again");
}

#[test]
fn a_handler_that_cannot_be_made_ends_its_socket() {
    struct Unmade;
    impl DatagramHandler for Unmade {
        fn on_datagram(
            &mut self,
            _: &mut DatagramContext<'_>,
            _: Datagram<'_>,
        ) -> netwheel::Result<()> {
            Ok(())
        }
    }
    let reactor = reactor(1);
    let socket = Udp::on(&reactor)
        .handler(|| -> Unmade { panic!("as asked for") })
        .bind(any_port())
        .unwrap();
    assert_eq!(socket.wait_closed(PATIENCE).unwrap(), CloseReason::Panic);
    assert_eq!(reactor.stats().panics, 1);
}

#[test]
fn a_failure_costs_its_datagram_and_not_the_socket() {
    let reactor = reactor(1);
    let socket = Udp::on(&reactor)
        .handle(|cx, datagram| match &*datagram.bytes {
            b"fail" => Err(Failure::msg("as asked for")),
            _ => cx.send_to(datagram.bytes, datagram.peer),
        })
        .bind(any_port())
        .unwrap();
    let peer = plain();
    peer.send_to(b"fail", socket.local_address()).unwrap();
    assert_eq!(ask(&peer, socket.local_address(), b"good"), b"good");
    assert_eq!(socket.stats().failures, 1);
}

/// Tells what it is called for.
struct Told(Sender<String>);

impl DatagramHandler for Told {
    fn on_open(&mut self, _: &mut DatagramContext<'_>) -> netwheel::Result<()> {
        Ok(self.0.send("open".into())?)
    }

    fn on_datagram(
        &mut self,
        cx: &mut DatagramContext<'_>,
        datagram: Datagram<'_>,
    ) -> netwheel::Result<()> {
        if datagram.bytes == b"end" {
            cx.send_to("bye", datagram.peer)?;
            cx.close();
        }
        Ok(())
    }

    fn on_shutdown(&mut self, _: &mut DatagramContext<'_>) -> netwheel::Result<()> {
        Ok(self.0.send("shutdown".into())?)
    }

    fn on_close(&mut self, _: &mut DatagramContext<'_>, reason: CloseReason) {
        let _ = self.0.send(reason.to_string());
    }
}

#[test]
fn a_callback_closes_its_socket_behind_what_it_sent() {
    let (tx, rx) = mpsc::channel();
    let reactor = reactor(1);
    let socket = Udp::on(&reactor)
        .handler(move || Told(tx.clone()))
        .bind(any_port())
        .unwrap();
    let peer = plain();
    assert_eq!(ask(&peer, socket.local_address(), b"end"), b"bye");
    assert_eq!(socket.wait_closed(PATIENCE).unwrap(), CloseReason::Local);
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), ["open", "local"]);
}

#[test]
fn a_handle_closes_the_socket_behind_what_it_sent() {
    let reactor = reactor(1);
    let socket = Udp::on(&reactor)
        .handle(|_, _| Ok(()))
        .bind(any_port())
        .unwrap();
    let peer = plain();
    let to = peer.local_addr().unwrap();
    (0..100_u8).for_each(|n| socket.try_send_to(vec![n], to).unwrap());
    socket.close();
    assert!(socket.try_send_to("late", to).is_err());
    for n in 0..100 {
        assert_eq!(take(&peer).0, [n]);
    }
    assert_eq!(socket.wait_closed(PATIENCE).unwrap(), CloseReason::Local);
}

#[test]
fn a_shutdown_tells_the_handler_and_frees_the_port() {
    let (tx, rx) = mpsc::channel();
    let reactor = reactor(2);
    let socket = Udp::on(&reactor)
        .handler(move || Told(tx.clone()))
        .bind(any_port())
        .unwrap();
    assert_eq!(rx.recv_timeout(PATIENCE).unwrap(), "open");
    let report = reactor.shutdown(PATIENCE);
    assert_eq!((report.drained, report.aborted), (0, 0));
    assert!(report.elapsed < PATIENCE, "it waits for nothing");
    assert_eq!(rx.try_iter().collect::<Vec<_>>(), ["shutdown", "shutdown"]);
    assert_eq!(socket.closed(), Some(CloseReason::Shutdown));
    UdpSocket::bind(socket.local_address()).expect("its port is free again");
}

#[test]
fn a_reactor_that_is_dropped_ends_its_sockets() {
    let reactor = reactor(1);
    let socket = Udp::on(&reactor)
        .handle(|_, _| Ok(()))
        .bind(any_port())
        .unwrap();
    drop(reactor);
    assert_eq!(socket.closed(), Some(CloseReason::Shutdown));
}

#[cfg(target_os = "linux")]
#[test]
fn sockets_that_come_and_go_leave_nothing_behind() {
    if !is_alone("ends::sockets_that_come_and_go_leave_nothing_behind") {
        return;
    }
    let reactor = reactor(2);
    let baseline = Baseline::now();
    for round in 0..100 {
        let socket = Udp::on(&reactor)
            .reuse_port(round % 2 == 0)
            .handle(|_, _| Ok(()))
            .bind(any_port())
            .unwrap();
        socket.close();
        socket.wait_closed(PATIENCE).unwrap();
    }
    baseline.is_back_after("100 sockets");
    assert_eq!(reactor.stats().timers_live, 0);
}

#[test]
fn a_wait_for_the_end_has_an_end() {
    let reactor = reactor(1);
    let socket = Udp::on(&reactor)
        .handle(|_, _| Ok(()))
        .bind(any_port())
        .unwrap();
    let error = socket.wait_closed(A_WHILE).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Timeout);
}
