//! What arrives and what leaves.

use std::collections::HashSet;
use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc;
use std::thread::ThreadId;
use std::time::Duration;

use netwheel::codec::Utf8;
use netwheel::limits::DatagramLimits;
use netwheel::udp::{Datagram, DatagramContext, DatagramHandler, UdpHandle};
use netwheel::{Pipeline, Server, TimerKey, Udp};

use super::util::{PATIENCE, any_port, dial, eventually};
use super::{ask, plain, plain_at, reactor, take};

#[test]
fn a_datagram_comes_whole_and_its_answer_goes_to_who_sent_it() {
    let reactor = reactor(1);
    let socket = Udp::on(&reactor)
        .handle(|cx, datagram| {
            assert!(!datagram.truncated);
            datagram.bytes.reverse();
            cx.send_to(datagram.bytes, datagram.peer)
        })
        .bind(any_port())
        .unwrap();
    assert_ne!(socket.local_address().port(), 0);
    let (one, other) = (plain(), plain());
    for len in [0, 1, 1472, 65_507] {
        let question: Vec<u8> = (0..=255).cycle().take(len).collect();
        let mut answer = ask(&one, socket.local_address(), &question);
        answer.reverse();
        assert_eq!(answer, question, "{len} bytes");
    }
    assert_eq!(ask(&other, socket.local_address(), b"abc"), b"cba");
    // Counted behind the system call, whose datagram may have arrived here by then.
    eventually("all answers are counted", || {
        socket.stats().sent == 5 && reactor.stats().datagrams_out == 5
    });
    let stats = socket.stats();
    assert_eq!((stats.received, stats.sent), (5, 5));
    assert_eq!((stats.truncated, stats.errors, stats.failures), (0, 0, 0));
    let all = reactor.stats();
    assert_eq!((all.datagrams_in, all.datagrams_out), (5, 5));
    assert_eq!((all.accepted, all.closed), (0, 0));
}

#[test]
fn many_datagrams_both_ways_keep_their_borders() {
    const WINDOW: u32 = 32;
    const ROUNDS: u32 = 200;
    let reactor = reactor(2);
    let server = Udp::on(&reactor)
        .handle(|cx, datagram| cx.send_to(datagram.bytes, datagram.peer))
        .bind(any_port())
        .unwrap();
    let (tx, rx) = mpsc::channel();
    let client = Udp::on(&reactor)
        .handle(move |_, datagram| Ok(tx.send(datagram.bytes.to_vec())?))
        .connect(server.local_address())
        .unwrap();
    assert_eq!(client.peer(), Some(server.local_address()));
    let message = |n: u32| n.to_be_bytes().repeat(1 + n as usize % 300);
    for round in 0..ROUNDS {
        let numbers = round * WINDOW..(round + 1) * WINDOW;
        for n in numbers.clone() {
            client.try_send(message(n)).unwrap();
        }
        for n in numbers {
            assert_eq!(rx.recv_timeout(PATIENCE).unwrap(), message(n));
        }
    }
    assert_eq!(server.stats().received, u64::from(ROUNDS * WINDOW));
    assert_eq!(client.stats().received, u64::from(ROUNDS * WINDOW));
}

#[test]
fn a_datagram_that_is_too_long_is_told_as_truncated() {
    let reactor = reactor(1);
    let mut limits = DatagramLimits::default();
    limits.datagram_bytes_max = 10;
    let socket = Udp::on(&reactor)
        .limits(limits)
        .handle(|cx, datagram| {
            let told = format!("{} {}", datagram.bytes.len(), datagram.truncated);
            cx.send_to(told, datagram.peer)
        })
        .bind(any_port())
        .unwrap();
    let peer = plain();
    for (len, told) in [
        (10, "10 false"),
        (11, "10 true"),
        (5000, "10 true"),
        (9, "9 false"),
    ] {
        let answer = ask(&peer, socket.local_address(), &vec![7; len]);
        assert_eq!(String::from_utf8(answer).unwrap(), told);
    }
    assert_eq!(socket.stats().truncated, 2);
    assert_eq!(reactor.stats().datagrams_truncated, 2);
}

#[test]
fn it_serves_ipv6() {
    if UdpSocket::bind("[::1]:0").is_err() {
        println!("skipped: this machine has no IPv6");
        return;
    }
    let reactor = reactor(1);
    let socket = Udp::on(&reactor)
        .ipv6_only(true)
        .handle(|cx, datagram| cx.send_to(datagram.bytes, datagram.peer))
        .bind("[::1]:0")
        .unwrap();
    let peer = plain_at("[::1]:0");
    assert_eq!(ask(&peer, socket.local_address(), b"six"), b"six");
}

#[test]
fn any_thread_sends_by_the_handle() {
    let reactor = reactor(1);
    let socket = Udp::on(&reactor)
        .handle(|_, _| Ok(()))
        .bind(any_port())
        .unwrap();
    let peer = plain();
    let to = peer.local_addr().unwrap();
    let threads: Vec<_> = (0..4)
        .map(|n: u8| {
            let socket = socket.clone();
            std::thread::spawn(move || {
                (0..20).for_each(|_| socket.try_send_to(vec![n], to).unwrap())
            })
        })
        .collect();
    let mut counts = [0; 4];
    for _ in 0..80 {
        let (bytes, from) = take(&peer);
        assert_eq!(from, socket.local_address());
        counts[usize::from(bytes[0])] += 1;
    }
    assert_eq!(counts, [20; 4]);
    threads
        .into_iter()
        .for_each(|thread| thread.join().unwrap());
}

#[test]
fn an_answer_may_come_later_from_another_thread() {
    let reactor = reactor(1);
    let (tx, rx) = mpsc::channel::<(UdpHandle, Vec<u8>, SocketAddr)>();
    let thinker = std::thread::spawn(move || {
        for (socket, question, peer) in rx {
            socket.try_send_to(question.repeat(2), peer).unwrap();
        }
    });
    let socket = Udp::on(&reactor)
        .handle(move |cx, datagram| {
            Ok(tx.send((cx.handle(), datagram.bytes.to_vec(), datagram.peer))?)
        })
        .bind(any_port())
        .unwrap();
    let peer = plain();
    assert_eq!(ask(&peer, socket.local_address(), b"ab"), b"abab");
    drop(reactor);
    thinker.join().expect("the handler and its sender are gone");
}

#[test]
fn messages_are_decoded_and_what_is_none_is_dropped_and_counted() {
    let reactor = reactor(1);
    let socket = Udp::on(&reactor)
        .codec(Utf8::new)
        .handle(|cx, text, peer| cx.send_to(text.to_uppercase(), peer))
        .bind(any_port())
        .unwrap();
    let peer = plain();
    for _ in 0..3 {
        peer.send_to(&[0xff, 0xfe], socket.local_address()).unwrap();
    }
    assert_eq!(ask(&peer, socket.local_address(), b"hello"), b"HELLO");
    assert_eq!(socket.stats().decode_errors, 3);
    assert_eq!(reactor.stats().decode_errors, 3);
}

#[test]
fn a_connected_socket_speaks_messages_too() {
    let reactor = reactor(1);
    let server = Udp::on(&reactor)
        .codec(Utf8::new)
        .handle(|cx, text, peer| cx.send_to(text.to_uppercase(), peer))
        .bind(any_port())
        .unwrap();
    let (tx, rx) = mpsc::channel();
    let client = Udp::on(&reactor)
        .codec(Utf8::new)
        .handle(move |cx, text, peer| {
            assert_eq!(cx.datagrams().peer(), Some(peer));
            if text == "HELLO" {
                cx.send("bye".into())?;
            }
            Ok(tx.send(text)?)
        })
        .connect(server.local_address())
        .unwrap();
    client.try_send("hello").unwrap();
    for text in ["HELLO", "BYE"] {
        assert_eq!(rx.recv_timeout(PATIENCE).unwrap(), text);
    }
    assert_eq!(client.stats().failures, 0);
}

/// Which thread a handler lives on, and which of the handlers it is.
struct Where(ThreadId);

impl DatagramHandler for Where {
    fn on_datagram(
        &mut self,
        cx: &mut DatagramContext<'_>,
        datagram: Datagram<'_>,
    ) -> netwheel::Result<()> {
        assert_eq!(
            self.0,
            std::thread::current().id(),
            "it never leaves its worker"
        );
        cx.send_to(format!("{:?}", self.0), datagram.peer)
    }
}

#[cfg(target_os = "linux")]
#[test]
fn a_shared_port_spreads_peers_over_all_workers() {
    let reactor = reactor(3);
    let socket = Udp::on(&reactor)
        .reuse_port(true)
        .handler(|| Where(std::thread::current().id()))
        .bind(any_port())
        .unwrap();
    let mut seen = HashSet::new();
    for _ in 0..200 {
        let peer = plain();
        let first = ask(&peer, socket.local_address(), b"who?");
        assert_eq!(ask(&peer, socket.local_address(), b"again?"), first);
        seen.insert(first);
    }
    assert_eq!(seen.len(), 3, "200 peers hash to each of three");
    assert_eq!(socket.stats().received, 400);
    socket.close();
    socket.wait_closed(PATIENCE).unwrap();
}

/// Sends to a peer when its timer says so.
struct Ticking(SocketAddr, u8);

impl DatagramHandler for Ticking {
    fn on_open(&mut self, cx: &mut DatagramContext<'_>) -> netwheel::Result<()> {
        cx.timer(Duration::from_millis(1), TimerKey(7));
        cx.timer(Duration::from_secs(3600), TimerKey(8));
        cx.cancel_timer(TimerKey(8));
        Ok(())
    }

    fn on_datagram(
        &mut self,
        _: &mut DatagramContext<'_>,
        _: Datagram<'_>,
    ) -> netwheel::Result<()> {
        Ok(())
    }

    fn on_timer(&mut self, cx: &mut DatagramContext<'_>, key: TimerKey) -> netwheel::Result<()> {
        assert_eq!(key, TimerKey(7));
        self.1 += 1;
        if self.1 < 3 {
            cx.timer(Duration::from_millis(1), key);
        }
        cx.send_to([self.1], self.0)
    }
}

#[test]
fn timers_fire_by_the_wheel_of_the_worker() {
    let (reactor, peer) = (reactor(1), plain());
    let to = peer.local_addr().unwrap();
    Udp::on(&reactor)
        .handler(move || Ticking(to, 0))
        .bind(any_port())
        .unwrap();
    for n in 1..=3 {
        assert_eq!(take(&peer).0, [n]);
    }
    eventually("no timer is left", || reactor.stats().timers_live == 0);
}

#[test]
fn datagrams_and_connections_share_a_worker() {
    let server = Server::new()
        .workers(1)
        .pipeline(|_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
        .listen(any_port())
        .unwrap()
        .start()
        .unwrap();
    let socket = Udp::on(server.net())
        .handle(|cx, datagram| cx.send_to(datagram.bytes, datagram.peer))
        .bind(any_port())
        .unwrap();
    let (stream, peer) = (dial(server.address()), plain());
    for _ in 0..50 {
        assert_eq!(super::util::ask(&stream, b"stream"), b"stream");
        assert_eq!(ask(&peer, socket.local_address(), b"datagram"), b"datagram");
    }
    drop(stream);
    server.shutdown(PATIENCE);
    assert_eq!(socket.closed(), Some(netwheel::CloseReason::Shutdown));
}
