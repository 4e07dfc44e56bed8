//! Every write that was accepted is answered exactly once, however its connection ends.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod util;

use std::collections::HashMap;
use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, unbounded};
use netwheel::codec::LengthField;
use netwheel::limits::ConnectionLimits;
use netwheel::{
    Client, CloseReason, ConnectionHandle, Context, Flow, Handler, Pipeline, Reactor, Result,
    RunningServer, Server, Stage, TrySendError,
};
use util::{
    MORE_THAN_THE_KERNEL_TAKES, PATIENCE, any_port, dial, end, eventually, frame, read,
    read_to_end, reset, serve,
};

type Answer = (usize, Result<(), CloseReason>);

/// Numbers writes, and collects which were accepted and what became of them.
#[derive(Clone)]
struct Ledger {
    next: Arc<AtomicUsize>,
    accepted: (Sender<usize>, Receiver<usize>),
    answers: (Sender<Answer>, Receiver<Answer>),
}

impl Ledger {
    fn new() -> Self {
        Self {
            next: Arc::default(),
            accepted: unbounded(),
            answers: unbounded(),
        }
    }

    /// Makes a write through `write`, which is given what is to be called when it is done.
    fn write<E>(
        &self,
        write: impl FnOnce(Box<dyn FnOnce(Result<(), CloseReason>) + Send>) -> Result<(), E>,
    ) -> Result<(), E> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let answers = self.answers.0.clone();
        let written = write(Box::new(move |result| {
            answers.send((number, result)).unwrap()
        }));
        if written.is_ok() {
            self.accepted.0.send(number).unwrap();
        }
        written
    }

    fn send(
        &self,
        handle: &ConnectionHandle<Bytes>,
        message: Bytes,
    ) -> Result<(), TrySendError<Bytes>> {
        self.write(|done| handle.try_send_then(message, done))
    }

    /// Waits until all that was accepted is answered; fails on any answer too many, and gives them all.
    fn settle(self) -> Vec<Answer> {
        let accepted: Vec<usize> = self.accepted.1.try_iter().collect();
        let mut times: HashMap<usize, usize> = HashMap::new();
        let answers: Vec<Answer> = accepted
            .iter()
            .map(|_| {
                self.answers
                    .1
                    .recv_timeout(PATIENCE)
                    .expect("an answer for each write")
            })
            .collect();
        for (number, _) in &answers {
            *times.entry(*number).or_default() += 1;
        }
        assert!(
            accepted.iter().all(|number| times.get(number) == Some(&1)),
            "once each"
        );
        assert!(
            self.answers.1.try_recv().is_err(),
            "an answer for a write that was refused"
        );
        answers
    }
}

/// Writes by itself whatever it is asked to, and hands its handle to the test.
struct Writing {
    ledger: Ledger,
    handing: Sender<ConnectionHandle<Bytes>>,
}

impl Handler<Bytes, Bytes> for Writing {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result {
        Ok(self.handing.send(cx.handle())?)
    }

    fn on_message(&mut self, cx: &mut Context<'_, Bytes, Bytes>, message: Bytes) -> Result {
        // Refused where the output is full already; the message is then nobody's any more.
        let _ = self.ledger.write(|done| cx.write_then(message, done));
        Ok(())
    }
}

/// A server whose connections take twice what the kernel does before they are full.
fn writing() -> (RunningServer, Ledger, Receiver<ConnectionHandle<Bytes>>) {
    let (ledger, (handing, handed)) = (Ledger::new(), unbounded());
    let written = ledger.clone();
    let mut limits = ConnectionLimits::default();
    limits.output_bytes_max = 2 * MORE_THAN_THE_KERNEL_TAKES;
    let server = Server::new()
        .workers(1)
        .limits(limits)
        .pipeline(move |_| {
            let (ledger, handing) = (written.clone(), handing.clone());
            let framing = LengthField::u32().frame_bytes_max(MORE_THAN_THE_KERNEL_TAKES);
            Pipeline::new(framing).handler(Writing { ledger, handing })
        })
        .listen(any_port())
        .unwrap()
        .start()
        .unwrap();
    (server, ledger, handed)
}

#[test]
fn writes_that_leave_are_answered_in_the_order_they_were_accepted_in() {
    let (server, ledger, handed) = writing();
    let socket = dial(server.address());
    let handle = handed.recv_timeout(PATIENCE).unwrap();
    for size in [0, 1, 5_000, 100_000, 3, 0, 70_000] {
        ledger.send(&handle, vec![1; size].into()).unwrap();
    }
    handle.close_after_flush();
    assert_eq!(read_to_end(&socket).len(), 7 * 4 + 175_004);
    let answers = ledger.settle();
    assert_eq!(
        answers,
        (0..7).map(|number| (number, Ok(()))).collect::<Vec<_>>()
    );
    drop(socket);
    end(server);
}

#[test]
fn every_write_is_answered_once_when_the_peer_resets_in_the_middle() {
    let (mut left, mut lost) = (0, 0);
    for round in 0..40_usize {
        let (server, ledger, handed) = writing();
        let socket = dial(server.address());
        let handle = handed.recv_timeout(PATIENCE).unwrap();
        thread::scope(|scope| {
            for size in [100, 30_000] {
                let (ledger, handle) = (&ledger, &handle);
                scope.spawn(move || {
                    loop {
                        match ledger.send(handle, vec![0; size].into()) {
                            Err(TrySendError::Closed(_)) => return,
                            Err(_) => thread::yield_now(),
                            Ok(()) => {}
                        }
                    }
                });
            }
            // Writes of the handler itself, in between.
            (&socket).write_all(&frame(&[7; 500]).repeat(20)).unwrap();
            read(&socket, 1 + round * round * 300);
            reset(socket);
        });
        eventually("the connection has gone", || server.connections() == 0);
        for (_, answer) in ledger.settle() {
            match answer {
                Ok(()) => left += 1,
                Err(reason) => {
                    assert_eq!(reason, CloseReason::Reset);
                    lost += 1;
                }
            }
        }
        assert_eq!(server.stats().closes(CloseReason::Reset), 1);
        end(server);
    }
    assert!(
        left > 0 && lost > 0,
        "{left} writes left and {lost} were lost"
    );
}

/// Fills a connection whose peer does not read.
fn stuck(ledger: &Ledger, handle: &ConnectionHandle<Bytes>) {
    let large = vec![0; MORE_THAN_THE_KERNEL_TAKES];
    assert_eq!(ledger.send(handle, large.into()), Ok(()));
    while ledger.send(handle, vec![0; 100_000].into()).is_ok() {}
}

fn all_lost_for(ledger: Ledger, reason: CloseReason) {
    let answers = ledger.settle();
    assert!(
        !answers.is_empty() && answers.iter().all(|(_, answer)| *answer == Err(reason)),
        "{answers:?}"
    );
}

#[test]
fn writes_that_wait_for_a_stuck_peer_are_answered_when_the_program_closes() {
    let (server, ledger, handed) = writing();
    let _socket = dial(server.address());
    let handle = handed.recv_timeout(PATIENCE).unwrap();
    stuck(&ledger, &handle);
    handle.close();
    all_lost_for(ledger, CloseReason::Local);
    end(server);
}

#[test]
fn writes_that_wait_for_a_stuck_peer_are_answered_at_the_shutdown() {
    let (server, ledger, handed) = writing();
    let _socket = dial(server.address());
    let handle = handed.recv_timeout(PATIENCE).unwrap();
    stuck(&ledger, &handle);
    assert_eq!(server.shutdown(Duration::from_millis(50)).aborted, 1);
    all_lost_for(ledger, CloseReason::Shutdown);
}

#[test]
fn writes_that_wait_for_a_stuck_peer_are_answered_when_the_server_is_dropped() {
    let (server, ledger, handed) = writing();
    let _socket = dial(server.address());
    let handle = handed.recv_timeout(PATIENCE).unwrap();
    stuck(&ledger, &handle);
    drop(server);
    all_lost_for(ledger, CloseReason::Shutdown);
}

fn client(reactor: &Reactor, address: std::net::SocketAddr) -> ConnectionHandle<Bytes> {
    Client::on(reactor)
        .pipeline(|| Pipeline::raw().handle(|_, _| Ok(())))
        .connect(address)
        .unwrap()
}

#[test]
fn writes_before_a_connect_that_is_refused_are_answered() {
    let reactor = Reactor::builder().workers(1).start().unwrap();
    let free = TcpListener::bind(any_port()).unwrap().local_addr().unwrap();
    let (ledger, handle) = (Ledger::new(), client(&reactor, free));
    while ledger.send(&handle, Bytes::from_static(b"before")).is_ok()
        && ledger.accepted.1.len() < 100
    {}
    assert_eq!(handle.wait_closed(PATIENCE).unwrap(), CloseReason::Refused);
    assert_eq!(
        ledger.send(&handle, Bytes::new()),
        Err(TrySendError::Closed(Bytes::new()))
    );
    for (_, answer) in ledger.settle() {
        assert_eq!(answer, Err(CloseReason::Refused));
    }
}

#[test]
fn writes_after_the_reactor_has_gone_are_refused() {
    let listener = TcpListener::bind(any_port()).unwrap();
    let reactor = Reactor::builder().workers(1).start().unwrap();
    let handle = client(&reactor, listener.local_addr().unwrap());
    handle.wait_open(PATIENCE).unwrap();
    drop(reactor);
    let ledger = Ledger::new();
    assert_eq!(
        ledger.send(&handle, Bytes::new()),
        Err(TrySendError::Closed(Bytes::new()))
    );
    assert_eq!(ledger.settle(), []);
}

/// Lets every second message out.
struct Swallow(bool);

impl Stage<Bytes, Bytes> for Swallow {
    fn on_outbound(&mut self, _: &mut Context<'_, Bytes, Bytes>, _: &mut Bytes) -> Result<Flow> {
        self.0 = !self.0;
        Ok(if self.0 { Flow::Next } else { Flow::Stop })
    }
}

#[test]
fn writes_that_a_stage_swallows_or_fails_on_are_answered() {
    let (ledger, (handing, handed)) = (Ledger::new(), unbounded());
    let written = ledger.clone();
    let server = serve(1, move |_| {
        let (ledger, handing) = (written.clone(), handing.clone());
        Pipeline::new(LengthField::u8())
            .stage("swallow", Swallow(false))
            .handler(Writing { ledger, handing })
    });
    let socket = dial(server.address());
    let handle = handed.recv_timeout(PATIENCE).unwrap();
    ledger.send(&handle, Bytes::from_static(b"out")).unwrap();
    ledger
        .send(&handle, Bytes::from_static(b"swallowed"))
        .unwrap();
    // Longer than a length of one byte can say.
    ledger.send(&handle, vec![0; 300].into()).unwrap();
    assert_eq!(read_to_end(&socket), b"\x03out");
    let mut answers = ledger.settle();
    answers.sort_unstable_by_key(|(number, _)| *number);
    assert_eq!(answers[..2], [(0, Ok(())), (1, Err(CloseReason::Local))]);
    assert!(answers[2].1.is_err());
    drop(socket);
    end(server);
}

#[test]
fn a_completion_that_panics_ends_its_own_connection_only() {
    let (server, ledger, handed) = writing();
    let (victim, other) = (dial(server.address()), dial(server.address()));
    let handles = [(); 2].map(|()| handed.recv_timeout(PATIENCE).unwrap());
    let [handle, sane] = if handles[0].peer().inet() == Some(victim.local_addr().unwrap()) {
        handles
    } else {
        let [first, second] = handles;
        [second, first]
    };
    handle
        .try_send_then(Bytes::from_static(b"x"), |_| {
            panic!("a completion of the test")
        })
        .unwrap();
    assert_eq!(handle.wait_closed(PATIENCE).unwrap(), CloseReason::Panic);
    reset(victim);
    ledger.send(&sane, Bytes::from_static(b"y")).unwrap();
    assert_eq!(read(&other, 5), frame(b"y"));
    assert_eq!(ledger.settle(), [(0, Ok(()))]);
    assert_eq!(server.stats().panics, 1);
    drop(other);
    end(server);
}

#[test]
fn a_completion_that_panics_at_the_close_takes_nobody_with_it() {
    let (server, ledger, handed) = writing();
    let socket = dial(server.address());
    let handle = handed.recv_timeout(PATIENCE).unwrap();
    handle
        .try_send(vec![0; MORE_THAN_THE_KERNEL_TAKES].into())
        .unwrap();
    for _ in 0..3 {
        handle
            .try_send_then(Bytes::new(), |_| panic!("a completion of the test"))
            .unwrap();
        ledger.send(&handle, Bytes::new()).unwrap();
    }
    reset(socket);
    eventually("the connection has gone", || server.connections() == 0);
    all_lost_for(ledger, CloseReason::Reset);
    assert_eq!(server.stats().panics, 3);
    end(server);
}

#[test]
fn a_write_of_nothing_is_answered_though_nothing_leaves() {
    let reactor = Reactor::builder().workers(1).start().unwrap();
    let listener = TcpListener::bind(any_port()).unwrap();
    let handle = client(&reactor, listener.local_addr().unwrap());
    let ledger = Ledger::new();
    ledger.send(&handle, Bytes::new()).unwrap();
    assert_eq!(ledger.settle(), [(0, Ok(()))]);
}
