//! Shutdown over real sockets: who is let in, who is told, what is still answered, and who is cut off.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod util;

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};
use netwheel::codec::LengthField;
use netwheel::limits::ConnectionLimits;
use netwheel::{
    AnyPipeline, Client, CloseReason, Context, Event, Executor, Handler, LaneContext, Pipeline,
    Reactor, Result, RunningServer, Server, ShutdownReport, TrySendError,
};
use util::{A_WHILE, Caller, Gate, PATIENCE, any_port, eventually, serve};

/// Stops at the gate where the message says so, and answers with the message.
fn answer(gate: &Gate, cx: &mut LaneContext<'_, Bytes>, frame: Bytes) -> Result {
    if &*frame == b"hold" {
        gate.pass();
    }
    cx.write(frame)
}

/// A server whose handlers may be held on the pool.
fn held_on(pool: &Executor, gate: &Gate) -> RunningServer {
    let (pool, gate) = (pool.clone(), gate.clone());
    serve(1, move |_| held(&pool, &gate))
}

fn held(pool: &Executor, gate: &Gate) -> Pipeline<Bytes, Bytes> {
    let gate = gate.clone();
    Pipeline::new(LengthField::u32()).handle_on(pool, move |cx, frame| answer(&gate, cx, frame))
}

fn echo() -> Pipeline<Bytes, Bytes> {
    Pipeline::new(LengthField::u32()).handle(|cx, frame| cx.write(frame))
}

/// Shuts down on a thread of its own.
fn shut_down(server: RunningServer) -> JoinHandle<ShutdownReport> {
    thread::spawn(move || server.shutdown(PATIENCE))
}

/// Nobody listens any more: a peer is told so at once, rather than kept waiting.
fn assert_refused(address: SocketAddr) {
    let refused = TcpStream::connect(address).unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn what_was_read_is_answered_and_nobody_is_let_in_meanwhile() {
    let (pool, gate) = (Executor::new(1), Gate::new());
    let server = held_on(&pool, &gate);
    let mut caller = Caller::new(server.address());
    let mut idle = Caller::new(server.address());
    idle.ask(b"hello");
    // Far more than the lane takes, so that some of it waits on the worker.
    caller.send(b"hold");
    let rest: Vec<_> = (0..500_u32).map(u32::to_be_bytes).collect();
    caller.send_all(&rest);
    gate.wait();
    eventually("the lane is full", || pool.queued() > 60);
    let address = server.address();
    let ending = shut_down(server);
    idle.expect_end();
    // Whoever is told of the end is told after the listener has closed.
    assert_refused(address);
    assert!(!ending.is_finished(), "a message is being handled");
    gate.open();
    assert_eq!(caller.expect(), b"hold");
    // What the server had read is answered, in order and without a gap; the rest it never saw.
    let mut answered = 0;
    while let Ok(frame) = caller.receive() {
        assert_eq!(frame, rest[answered]);
        answered += 1;
    }
    assert!(answered > 60, "{answered} answers");
    drop((caller, idle));
    let report = ending.join().unwrap();
    assert_eq!((report.drained, report.aborted), (2, 0));
    assert_eq!(pool.queued(), 0);
}

/// Says goodbye when it is told of the shutdown, and notes how it ended.
struct Polite(Sender<CloseReason>);

impl Handler<Bytes, Bytes> for Polite {
    fn on_message(&mut self, cx: &mut Context<'_, Bytes, Bytes>, frame: Bytes) -> Result<()> {
        cx.write(frame)
    }

    fn on_event(&mut self, cx: &mut Context<'_, Bytes, Bytes>, event: &Event) -> Result<()> {
        if matches!(event, Event::ShuttingDown) {
            cx.write("goodbye".into())?;
        }
        Ok(())
    }

    fn on_close(&mut self, _: &mut Context<'_, Bytes, Bytes>, reason: CloseReason) {
        self.0.send(reason).unwrap();
    }
}

fn polite() -> (
    impl Fn() -> Pipeline<Bytes, Bytes> + Send + Sync + Clone + 'static,
    Receiver<CloseReason>,
) {
    let (sender, reasons) = unbounded();
    let make = move || Pipeline::new(LengthField::u32()).handler(Polite(sender.clone()));
    (make, reasons)
}

#[test]
fn handlers_are_told_and_may_say_goodbye() {
    let (make, reasons) = polite();
    let server = serve(2, move |_| make());
    let mut callers: Vec<_> = (0..10).map(|_| Caller::new(server.address())).collect();
    for caller in &mut callers {
        caller.ask(b"hello");
    }
    let ending = shut_down(server);
    for caller in &mut callers {
        assert_eq!(caller.expect(), b"goodbye");
        caller.expect_end();
    }
    drop(callers);
    let report = ending.join().unwrap();
    assert_eq!((report.drained, report.aborted), (10, 0));
    let reasons: Vec<_> = reasons.try_iter().collect();
    assert_eq!(reasons, [CloseReason::Shutdown; 10]);
}

#[test]
fn what_is_queued_for_a_slow_reader_still_leaves() {
    const ANSWER: usize = 8 << 20;
    let mut limits = ConnectionLimits::default();
    limits.output_bytes_max = 2 * ANSWER;
    let server = Server::new()
        .workers(1)
        .limits(limits)
        .pipeline(|_| {
            Pipeline::new(LengthField::u32().frame_bytes_max(2 * ANSWER))
                .handle(|cx, _| cx.write(vec![7; ANSWER].into()))
        })
        .listen(any_port())
        .unwrap()
        .start()
        .unwrap();
    let mut caller = Caller::new(server.address());
    caller.send(b"go");
    eventually("the kernel is full", || {
        server.stats().bytes_out > 0 && server.stats().messages_out == 1
    });
    let ending = shut_down(server);
    assert_eq!(caller.expect(), vec![7; ANSWER]);
    caller.expect_end();
    drop(caller);
    assert_eq!(ending.join().unwrap().aborted, 0);
}

#[test]
fn the_deadline_cuts_off_who_is_stuck_and_says_so() {
    let (pool, gate) = (Executor::new(1), Gate::new());
    let server = held_on(&pool, &gate);
    let mut stuck = Caller::new(server.address());
    let mut done = Caller::new(server.address());
    done.ask(b"hello");
    stuck.send(b"hold");
    gate.wait();
    let (report, got) = bounded(1);
    let ending = thread::spawn(move || {
        report.send(server.shutdown(4 * A_WHILE)).unwrap();
    });
    done.expect_end();
    drop(done);
    assert_eq!(
        got.recv_timeout(A_WHILE),
        Err(RecvTimeoutError::Timeout),
        "it waits for its deadline"
    );
    stuck.expect_end();
    let report = got.recv_timeout(PATIENCE).unwrap();
    ending.join().unwrap();
    assert_eq!((report.drained, report.aborted), (1, 1));
    assert!(report.elapsed >= 4 * A_WHILE, "{:?}", report.elapsed);
    // What the handler answers now goes nowhere, and it ends in peace.
    gate.open();
    eventually("the pool is empty", || pool.queued() == 0);
}

#[test]
fn jobs_and_handles_are_drained_too() {
    let (pool, gate) = (Executor::new(1), Gate::new());
    let (sender, handles) = bounded(1);
    let server = serve(1, {
        let (pool, gate) = (pool, gate.clone());
        move |_| {
            let (pool, gate, sender) = (pool.clone(), gate.clone(), sender.clone());
            Pipeline::new(LengthField::u32()).handle(move |cx, frame: Bytes| {
                let gate = gate.clone();
                sender.send(cx.handle())?;
                let job = move || {
                    gate.pass();
                    frame
                };
                cx.offload(&pool, job, |cx, frame| cx.write(frame))
            })
        }
    });
    let mut caller = Caller::new(server.address());
    let mut idle = Caller::new(server.address());
    caller.send(b"job");
    gate.wait();
    let handle = handles.recv_timeout(PATIENCE).unwrap();
    let ending = shut_down(server);
    idle.expect_end();
    // Still there for those who answer what was read.
    handle.try_send("from a handle".into()).unwrap();
    assert_eq!(caller.expect(), b"from a handle");
    gate.open();
    assert_eq!(caller.expect(), b"job");
    caller.expect_end();
    drop((caller, idle));
    assert_eq!(ending.join().unwrap().aborted, 0);
    let late = handle.try_send("late".into());
    assert!(matches!(late, Err(TrySendError::Closed(_))), "{late:?}");
    assert_eq!(handle.closed(), Some(CloseReason::Shutdown));
}

#[test]
fn a_drop_without_a_shutdown_closes_at_once() {
    let (make, reasons) = polite();
    let server = serve(2, move |_| make());
    let address = server.address();
    let mut callers: Vec<_> = (0..4).map(|_| Caller::new(address)).collect();
    for caller in &mut callers {
        caller.ask(b"hello");
    }
    drop(server);
    // All threads have been waited for, so everything has been told.
    assert_eq!(reasons.try_iter().count(), 4);
    assert_refused(address);
    for caller in &mut callers {
        while caller.receive().is_ok() {}
    }
}

fn on<P: Into<AnyPipeline>>(
    reactor: &Reactor,
    reuse_port: bool,
    pipeline: impl Fn() -> P + Send + Sync + 'static,
) -> RunningServer {
    Server::on(reactor)
        .reuse_port(reuse_port)
        .pipeline(move |_| pipeline())
        .listen(any_port())
        .unwrap()
        .start()
        .unwrap()
}

#[test]
fn one_server_of_a_reactor_ends_and_the_other_goes_on() {
    for reuse_port in [false, true] {
        let reactor = Reactor::builder().workers(2).start().unwrap();
        let (make, reasons) = polite();
        let one = on(&reactor, reuse_port, make.clone());
        let two = on(&reactor, reuse_port, echo);
        let address = one.address();
        let mut left: Vec<_> = (0..4).map(|_| Caller::new(address)).collect();
        let mut stays: Vec<_> = (0..4).map(|_| Caller::new(two.address())).collect();
        for caller in left.iter_mut().chain(&mut stays) {
            caller.ask(b"hello");
        }
        let ending = thread::spawn(move || one.shutdown(PATIENCE));
        for caller in &mut left {
            assert_eq!(caller.expect(), b"goodbye");
            caller.expect_end();
        }
        drop(left);
        let report = ending.join().unwrap();
        assert_eq!((report.drained, report.aborted), (4, 0));
        assert_eq!(reasons.try_iter().count(), 4);
        // Not a moment later: nobody is let in after the shutdown has returned.
        assert_refused(address);
        for caller in &mut stays {
            caller.ask(b"still here");
        }
        Caller::new(two.address()).ask(b"newcomer");
        // And its address is free for the next.
        let next = Server::on(&reactor)
            .reuse_port(reuse_port)
            .pipeline(|_| echo())
            .listen(address)
            .unwrap()
            .start()
            .unwrap();
        Caller::new(next.address()).ask(b"next");
        drop(stays);
        assert_eq!(reactor.shutdown(PATIENCE).aborted, 0);
        // The reactor has ended them; that is no news to the servers.
        assert_eq!(two.shutdown(PATIENCE).aborted, 0);
        drop(next);
    }
}

#[test]
fn nobody_is_let_in_once_a_shutdown_has_returned() {
    for reuse_port in [false, true] {
        let reactor = Reactor::builder().workers(4).start().unwrap();
        for _ in 0..50 {
            let server = on(&reactor, reuse_port, echo);
            let address = server.address();
            assert_eq!(server.shutdown(PATIENCE).aborted, 0);
            assert_refused(address);
        }
    }
}

#[test]
fn a_reactor_ends_its_clients_with_their_messages_sent() {
    let server = serve(1, |_| echo());
    let reactor = Reactor::builder().workers(1).start().unwrap();
    let (sender, answers) = unbounded();
    let handle = Client::on(&reactor)
        .pipeline(move || {
            let sender = sender.clone();
            Pipeline::new(LengthField::u32()).handle(move |_, frame| Ok(sender.send(frame)?))
        })
        .connect(server.address())
        .unwrap();
    handle.wait_open(PATIENCE).unwrap();
    for n in 0..10_000_u32 {
        handle
            .try_send(Bytes::copy_from_slice(&n.to_be_bytes()))
            .unwrap();
    }
    let report = reactor.shutdown(PATIENCE);
    assert_eq!((report.drained, report.aborted), (1, 0));
    assert_eq!(handle.closed(), Some(CloseReason::Shutdown));
    eventually("the server has got them all", || {
        server.stats().messages_in == 10_000
    });
    assert!(answers.try_iter().count() <= 10_000);
    drop(server);
}

#[test]
fn a_connect_under_way_ends_with_its_reactor() {
    let reactor = Reactor::builder().workers(1).start().unwrap();
    // A listener whose queue is full: the handshake of the next one gets no answer.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    socket.bind(&any.into()).unwrap();
    socket.listen(0).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    let client = Client::on(&reactor)
        .connect_timeout(PATIENCE)
        .pipeline(echo);
    let handles: Vec<_> = (0..8).map(|_| client.connect(address).unwrap()).collect();
    let report = reactor.shutdown(Duration::from_secs(1));
    assert!(report.elapsed < PATIENCE);
    for handle in handles {
        assert_eq!(handle.closed(), Some(CloseReason::Shutdown));
    }
}
