//! A turn that hangs is told of while it still does, with what hangs in it.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod util;

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, unbounded};
use netwheel::{
    Address, AnyPipeline, Context, ErrorKind, Flow, Peer, Pipeline, Reactor, ReactorBuilder,
    Result, RunningServer, Server, Stage, Stall, StallLevel, StallPlace, Udp,
};
use util::{Gate, PATIENCE, any_port, ask, dial, end, eventually, threads_named};

/// Short enough for a test; no test relies on a turn being shorter.
const WARN: Duration = Duration::from_millis(5);

/// A reactor of one worker whose stalls come out of the channel.
fn watched() -> (ReactorBuilder, Receiver<Stall>) {
    let (told, stalls) = unbounded();
    let reactor = Reactor::builder()
        .workers(1)
        .turn_bounds(WARN, Duration::MAX)
        .on_stall(move |stall| told.send(stall.clone()).unwrap());
    (reactor, stalls)
}

fn serve<P: Into<AnyPipeline>>(
    reactor: ReactorBuilder,
    pipeline: impl Fn(&Peer) -> P + Send + Sync + 'static,
) -> RunningServer {
    let server = Server::new().reactor(reactor).pipeline(pipeline);
    server.listen(any_port()).unwrap().start().unwrap()
}

/// The next stall in the program's code: a busy machine may make other turns long as well.
fn next(stalls: &Receiver<Stall>) -> Stall {
    loop {
        let stall = stalls.recv_timeout(PATIENCE).unwrap();
        if stall.place != StallPlace::Library {
            return stall;
        }
    }
}

#[test]
fn a_handler_that_blocks_is_named_while_it_still_blocks() {
    let ((reactor, stalls), gate) = (watched(), Gate::new());
    let stop = gate.clone();
    let server = serve(reactor, move |_| {
        let stop = stop.clone();
        Pipeline::raw().handle(move |cx, bytes| {
            stop.pass();
            cx.write(bytes)
        })
    });
    let mut socket = dial(server.address());
    socket.write_all(b"x").unwrap();
    gate.wait();
    let stall = next(&stalls);
    assert_eq!(stall.address, Some(socket.local_addr().unwrap().into()));
    assert_eq!(stall.connection.map(|id| id.worker()), Some(0));
    assert_eq!((stall.worker, stall.place), (0, StallPlace::Handler));
    assert_eq!(stall.level, StallLevel::Warn);
    assert!(stall.elapsed >= WARN);
    assert!(server.metrics().workers[0].stalls_warned >= 1);
    gate.open();
    assert_eq!(util::read(&socket, 1), b"x");
    eventually("the turn has been measured", || {
        server.metrics().turns().max() >= WARN
    });
    drop(socket);
    end(server);
}

/// Blocks in the direction that it is told to.
struct Blocks {
    gate: Gate,
    inbound: bool,
}

impl Stage<Bytes, Bytes> for Blocks {
    fn on_inbound(&mut self, _: &mut Context<'_, Bytes, Bytes>, _: &mut Bytes) -> Result<Flow> {
        if self.inbound {
            self.gate.pass();
        }
        Ok(Flow::Next)
    }

    fn on_outbound(&mut self, _: &mut Context<'_, Bytes, Bytes>, _: &mut Bytes) -> Result<Flow> {
        if !self.inbound {
            self.gate.pass();
        }
        Ok(Flow::Next)
    }
}

/// Lets everything pass.
struct Open;

impl Stage<Bytes, Bytes> for Open {}

#[test]
fn a_stage_that_blocks_is_named_in_either_direction() {
    for inbound in [true, false] {
        let ((reactor, stalls), gate) = (watched(), Gate::new());
        let stop = gate.clone();
        let server = serve(reactor, move |_| {
            let gate = stop.clone();
            Pipeline::raw()
                .stage("first", Open)
                .stage("culprit", Blocks { gate, inbound })
                .stage("last", Open)
                .handle(|cx, bytes| cx.write(bytes))
        });
        let mut socket = dial(server.address());
        socket.write_all(b"x").unwrap();
        gate.wait();
        assert_eq!(next(&stalls).place, StallPlace::Stage(Some("culprit")));
        gate.open();
        assert_eq!(util::read(&socket, 1), b"x");
    }
}

#[test]
fn a_handler_that_blocks_after_its_stages_is_told_from_them() {
    let ((reactor, stalls), gate) = (watched(), Gate::new());
    let stop = gate.clone();
    let server = serve(reactor, move |_| {
        let stop = stop.clone();
        Pipeline::raw()
            .stage("innocent", Open)
            .handle(move |cx, bytes| {
                cx.write(bytes)?;
                stop.pass();
                Ok(())
            })
    });
    let mut socket = dial(server.address());
    socket.write_all(b"x").unwrap();
    gate.wait();
    assert_eq!(next(&stalls).place, StallPlace::Handler);
    gate.open();
    assert_eq!(util::read(&socket, 1), b"x");
}

#[test]
fn a_worker_that_hangs_holds_up_its_own_connections_and_no_others() {
    let ((reactor, stalls), gate) = (watched(), Gate::new());
    let stop = gate.clone();
    let server = serve(reactor.workers(2), move |_| {
        let stop = stop.clone();
        Pipeline::raw().handle(move |cx, bytes| {
            if bytes == "hang" {
                stop.pass();
            }
            cx.write(bytes)
        })
    });
    // Handed out in turn: every other one lives on the worker that is going to hang.
    let sockets: Vec<_> = (0..4).map(|_| dial(server.address())).collect();
    for socket in &sockets {
        ask(socket, b"open");
    }
    let mut hangs = &sockets[0];
    hangs.write_all(b"hang").unwrap();
    gate.wait();
    let stall = next(&stalls);
    let list = server.list_connections(Duration::from_millis(20));
    assert_eq!(list.unwrap_err().kind(), ErrorKind::Timeout);
    let lives_on = |worker: usize| server.metrics().workers[worker].connections;
    assert_eq!((lives_on(0), lives_on(1)), (2, 2));
    for socket in [&sockets[1], &sockets[3]] {
        assert_eq!(ask(socket, b"go on"), b"go on");
    }
    assert_eq!(server.metrics().workers[1 - stall.worker].stalls_failed, 0);
    gate.open();
    assert_eq!(util::read(hangs, 4), b"hang");
    assert_eq!(ask(&sockets[2], b"and on"), b"and on");
}

#[test]
fn a_factory_that_blocks_is_named_with_the_peer() {
    let ((reactor, stalls), gate) = (watched(), Gate::new());
    let stop = gate.clone();
    let server = serve(reactor, move |_| {
        stop.pass();
        Pipeline::raw().handle(|cx, bytes| cx.write(bytes))
    });
    let socket = dial(server.address());
    gate.wait();
    let stall = next(&stalls);
    assert_eq!((stall.place, stall.connection), (StallPlace::Factory, None));
    let peer = Address::Inet(socket.local_addr().unwrap());
    assert_eq!(stall.address, Some(peer));
    gate.open();
    assert_eq!(ask(&socket, b"x"), b"x");
}

#[test]
fn a_datagram_handler_that_blocks_is_named_with_its_socket() {
    let ((reactor, stalls), gate) = (watched(), Gate::new());
    let reactor = reactor.start().unwrap();
    let stop = gate.clone();
    let socket = Udp::on(&reactor)
        .handle(move |_, _| {
            stop.pass();
            Ok(())
        })
        .bind(any_port())
        .unwrap();
    let address = socket.local_address();
    let client = std::net::UdpSocket::bind(any_port()).unwrap();
    client.send_to(b"x", address).unwrap();
    gate.wait();
    let stall = next(&stalls);
    assert_eq!(stall.place, StallPlace::Datagrams);
    assert_eq!(stall.address, Some(Address::Inet(address)));
    gate.open();
}

#[test]
fn a_callback_that_panics_neither_ends_the_watch_nor_the_reactor() {
    let (calls, gate) = (Arc::new(AtomicUsize::new(0)), Gate::new());
    let count = Arc::clone(&calls);
    let reactor = Reactor::builder()
        .workers(1)
        .turn_bounds(WARN, Duration::MAX)
        .on_stall(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            std::panic::resume_unwind(Box::new("planned"));
        });
    let stop = gate.clone();
    let server = serve(reactor, move |_| {
        let stop = stop.clone();
        Pipeline::raw().handle(move |cx, bytes| {
            stop.pass();
            cx.write(bytes)
        })
    });
    let mut socket = dial(server.address());
    for _ in 0..2 {
        let before = calls.load(Ordering::Relaxed);
        socket.write_all(b"x").unwrap();
        gate.wait();
        eventually("the callback is called", || {
            calls.load(Ordering::Relaxed) > before
        });
        gate.open();
        assert_eq!(util::read(&socket, 1), b"x");
    }
}

#[test]
fn the_watchdog_ends_with_its_reactor_and_is_not_there_where_no_turn_is_too_long() {
    if !util::is_alone(
        "the_watchdog_ends_with_its_reactor_and_is_not_there_where_no_turn_is_too_long",
    ) {
        return;
    }
    let guards = || threads_named("netwheel-watch");
    let reactor = Reactor::builder().workers(1).start().unwrap();
    eventually("the guard runs", || guards() == 1);
    drop(reactor);
    assert_eq!(guards(), 0);
    let reactor = Reactor::builder()
        .workers(1)
        .turn_bounds(Duration::MAX, Duration::MAX)
        .start()
        .unwrap();
    eventually("the worker runs", || threads_named("netwheel-io") == 1);
    assert_eq!(guards(), 0);
    drop(reactor);
}

#[test]
fn bounds_of_zero_are_refused() {
    let refused = Reactor::builder()
        .turn_bounds(Duration::ZERO, Duration::MAX)
        .start();
    let error = refused.err().unwrap();
    assert_eq!(error.kind(), ErrorKind::Config);
    assert!(error.to_string().contains("turn_warn"), "{error}");
}
