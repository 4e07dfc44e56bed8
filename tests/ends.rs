//! Every way in which a connection ends: the handler hears of it once, last, and with its cause, and nothing of
//! the connection is left.
//!
//! One test, so that the process is its own and its descriptors can be counted.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]
#![cfg(target_os = "linux")]

mod util;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use netwheel::codec::LengthField;
use netwheel::limits::ConnectionLimits;
use netwheel::{
    Client, CloseReason, Context, Event, Failure, Handler, Pipeline, Reactor, Result,
    RunningServer, Server,
};
use util::{Baseline, MORE_THAN_THE_KERNEL_TAKES, PATIENCE, any_port, dial, eventually, frame};

const SHORT: Duration = Duration::from_millis(50);
const PIECE: &[u8] = &[0; 1 << 20];

/// What a handler was told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Told {
    Open,
    Message,
    Event,
    Closed(CloseReason),
    /// The handler is gone, so nothing can follow.
    Dropped,
}

/// Ends as its peer asks, and tells of every callback.
struct Ending(mpsc::Sender<Told>);

impl Ending {
    fn tell(&self, what: Told) {
        // Nobody listens any more where a test has failed.
        let _ = self.0.send(what);
    }
}

impl Handler<Bytes, Bytes> for Ending {
    fn on_open(&mut self, _: &mut Context<'_, Bytes, Bytes>) -> Result {
        self.tell(Told::Open);
        Ok(())
    }

    fn on_message(&mut self, cx: &mut Context<'_, Bytes, Bytes>, message: Bytes) -> Result {
        self.tell(Told::Message);
        match message.first() {
            Some(b'l') => cx.close(CloseReason::Local),
            Some(b'i') => cx.deadline(SHORT, CloseReason::Idle),
            Some(b'h') => cx.deadline(SHORT, CloseReason::HandshakeTimeout),
            Some(b'r') => cx.close_after_flush(CloseReason::Refused),
            Some(b'd') => return Err(Failure::protocol("a word that is none")),
            Some(b'p') => panic!("as it was told"),
            Some(b'w') => {
                for _ in 0..MORE_THAN_THE_KERNEL_TAKES / PIECE.len() {
                    cx.write(Bytes::from_static(PIECE))?;
                }
            }
            // Until there is no room for one more, which nobody catches.
            Some(b'o') => loop {
                cx.write(Bytes::from_static(PIECE))?;
            },
            _ => cx.write(message)?,
        }
        Ok(())
    }

    fn on_event(&mut self, _: &mut Context<'_, Bytes, Bytes>, _: &Event) -> Result {
        self.tell(Told::Event);
        Ok(())
    }

    fn on_close(&mut self, _: &mut Context<'_, Bytes, Bytes>, reason: CloseReason) {
        self.tell(Told::Closed(reason));
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.tell(Told::Dropped);
    }
}

fn serve(reactor: &Reactor) -> (RunningServer, mpsc::Receiver<Told>) {
    let (tell, told) = mpsc::channel();
    let mut limits = ConnectionLimits::default();
    (limits.write_stall_timeout, limits.frame_timeout) = (SHORT, SHORT);
    limits.output_bytes_max = 2 * MORE_THAN_THE_KERNEL_TAKES;
    let server = Server::on(reactor)
        .limits(limits)
        .pipeline(move |_| Pipeline::new(LengthField::u32()).handler(Ending(tell.clone())))
        .listen(any_port())
        .unwrap()
        .start()
        .unwrap();
    (server, told)
}

/// All that a handler was told, up to its drop.
fn story(told: &mpsc::Receiver<Told>) -> Vec<Told> {
    let mut story = Vec::new();
    while story.last() != Some(&Told::Dropped) {
        story.push(told.recv_timeout(PATIENCE).expect("the connection ends"));
    }
    assert_eq!(story.remove(0), Told::Open);
    story
}

fn say(mut socket: &TcpStream, word: &[u8]) {
    socket.write_all(&frame(word)).unwrap();
}

/// What the peer does, and why the connection ends by it.
type End = (CloseReason, fn(TcpStream) -> Option<TcpStream>);

/// Says one word and stays.
macro_rules! word {
    ($word:literal) => {
        |socket| {
            say(&socket, $word);
            Some(socket)
        }
    };
}

const ENDS: [End; 12] = [
    (CloseReason::PeerClosed, |socket| {
        say(&socket, b"x");
        assert_eq!(util::read(&socket, 5), frame(b"x"));
        drop(socket);
        None
    }),
    (CloseReason::Reset, |socket| {
        say(&socket, b"x");
        assert_eq!(util::read(&socket, 5), frame(b"x"));
        util::reset(socket);
        None
    }),
    (CloseReason::Local, word!(b"l")),
    (CloseReason::Idle, word!(b"i")),
    (CloseReason::HandshakeTimeout, word!(b"h")),
    (CloseReason::FrameTimeout, |mut socket| {
        socket.write_all(&[0, 0, 0, 9, b'x']).unwrap();
        Some(socket)
    }),
    (CloseReason::WriteStall, word!(b"w")),
    (CloseReason::OverLimit, |mut socket| {
        // A frame that is longer than any may be.
        socket.write_all(&[0xff; 4]).unwrap();
        Some(socket)
    }),
    (CloseReason::OverLimit, word!(b"o")),
    (CloseReason::ProtocolError, word!(b"d")),
    (CloseReason::Refused, word!(b"r")),
    (CloseReason::Panic, word!(b"p")),
];

/// Every slot is empty, and everything that was opened is counted as closed.
fn is_even(reactor: &Reactor, server: &RunningServer) {
    eventually("no slot is taken", || server.connections() == 0);
    let even = || {
        let stats = reactor.stats();
        stats.accepted + stats.connected == stats.closed && stats.timers_live == 0
    };
    eventually("opened is closed, and no timer is left", even);
    assert_eq!(reactor.stats().held_bytes, 0);
}

fn ends(reactor: &Reactor) {
    let (server, told) = serve(reactor);
    for (n, (reason, end)) in ENDS.into_iter().enumerate() {
        let before = reactor.stats().closes(reason);
        let socket = end(dial(server.address()));
        let story = story(&told);
        let closes = story.iter().filter(|what| matches!(what, Told::Closed(_)));
        match reason {
            // What has panicked is not called again.
            CloseReason::Panic => assert_eq!(story, [Told::Message, Told::Dropped]),
            _ => {
                assert_eq!(closes.count(), 1, "{n}: {story:?}");
                let last = &story[story.len() - 2..];
                assert_eq!(last, [Told::Closed(reason), Told::Dropped], "{n}");
            }
        }
        drop(socket);
        is_even(reactor, &server);
        assert_eq!(reactor.stats().closes(reason), before + 1, "{n}");
    }
    let socket = dial(server.address());
    say(&socket, b"x");
    assert_eq!(util::read(&socket, 5), frame(b"x"));
    assert_eq!(server.shutdown(PATIENCE).aborted, 0);
    let story = story(&told);
    let shutdown = Told::Closed(CloseReason::Shutdown);
    assert_eq!(story, [Told::Message, Told::Event, shutdown, Told::Dropped]);
    assert!(told.try_recv().is_err(), "nothing follows");
}

/// A client of a port at which nobody listens.
fn refused(reactor: &Reactor) {
    let (server, _told) = serve(reactor);
    let address = server.address();
    server.shutdown(PATIENCE);
    let (tell, told) = mpsc::channel();
    let client = Client::on(reactor)
        .pipeline(move || Pipeline::raw().handler(Ending(tell.clone())))
        .connect(address)
        .unwrap();
    client.wait_closed(PATIENCE).unwrap();
    assert_eq!(client.closed(), Some(CloseReason::Refused));
    // It was never open.
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Told::Dropped));
}

/// A server that is told to end while its clients go on asking: what it has read is answered whole, and who comes
/// later is refused.
fn shutdown_under_load(reactor: &Reactor) {
    const CLIENTS: usize = 8;
    let (server, told) = serve(reactor);
    let address = server.address();
    let (begun, all_begun) = mpsc::channel();
    let threads: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let begun = begun.clone();
            std::thread::spawn(move || {
                let mut socket = dial(address);
                let question = frame(&[b'x'; 100]);
                let mut answered = 0;
                while socket.write_all(&question).is_ok() {
                    let mut answer = vec![0; question.len()];
                    match socket.read_exact(&mut answer) {
                        Ok(()) => assert!(answer == question, "answers are whole"),
                        Err(_) => break,
                    }
                    answered += 1;
                    if answered == 10 {
                        begun.send(()).unwrap();
                    }
                }
                answered
            })
        })
        .collect();
    for _ in 0..CLIENTS {
        all_begun.recv_timeout(PATIENCE).unwrap();
    }
    let report = server.shutdown(PATIENCE);
    assert_eq!((report.drained, report.aborted), (CLIENTS, 0));
    assert!(TcpStream::connect(address).is_err(), "nobody is let in");
    let answered: usize = threads
        .into_iter()
        .map(|thread| thread.join().unwrap())
        .sum();
    drop(begun);
    let messages = told.try_iter().filter(|what| *what == Told::Message);
    assert_eq!(messages.count(), answered, "what was handled was answered");
}

#[test]
fn every_end_is_told_once_and_leaves_nothing() {
    let baseline = Baseline::now();
    let reactor = Reactor::builder().workers(2).start().unwrap();
    let started = Baseline::now();
    for scenario in [ends, refused, shutdown_under_load] {
        scenario(&reactor);
        started.is_back_after("a scenario");
    }
    reactor.shutdown(PATIENCE);
    baseline.is_back_after("the reactor");
}
