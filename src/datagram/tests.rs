//! An endpoint on a scripted socket: what waits while it is full, and what it is told.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use super::*;
use crate::clock::Clock;
use crate::error::{CloseReason, Result, TrySendError};
use crate::id::Key;
use crate::limits::DatagramLimits;
use crate::mailbox::{Mailbox, Wake};
use crate::pipeline::Turn;
use crate::stats::WorkerStats;
use crate::sync::lock;

/// A socket that has room for so many datagrams, and brings what was given to it.
#[derive(Default)]
struct Script {
    room: usize,
    sent: Vec<Vec<u8>>,
    arrives: VecDeque<io::Result<Vec<u8>>>,
    /// What the next send is answered.
    fails: Option<ErrorKind>,
}

impl Wire for Script {
    fn receive(&mut self, into: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        let bytes = self
            .arrives
            .pop_front()
            .unwrap_or_else(|| Err(ErrorKind::WouldBlock.into()))?;
        let len = bytes.len().min(into.len());
        into[..len].copy_from_slice(&bytes[..len]);
        Ok((len, peer()))
    }

    fn send(&mut self, bytes: &[u8], _: Option<SocketAddr>) -> io::Result<()> {
        if let Some(kind) = self.fails.take() {
            return Err(kind.into());
        }
        if self.room == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        self.room -= 1;
        self.sent.push(bytes.to_vec());
        Ok(())
    }

    fn join(&mut self, _: &Group) -> io::Result<()> {
        Ok(())
    }

    fn leave(&mut self, _: &Group) -> io::Result<()> {
        Ok(())
    }
}

fn peer() -> SocketAddr {
    ([10, 0, 0, 1], 9).into()
}

/// Answers each datagram with itself, or gives it back, and writes down what happened.
#[derive(Clone, Default)]
struct Echo(Arc<Mutex<Vec<String>>>);

impl Echo {
    fn note(&self, what: impl Into<String>) {
        lock(&self.0).push(what.into());
    }
}

impl DatagramHandler for Echo {
    fn on_datagram(&mut self, cx: &mut DatagramContext<'_>, datagram: Datagram<'_>) -> Result<()> {
        let word = String::from_utf8_lossy(datagram.bytes).into_owned();
        match cx.try_send_to(&word, datagram.peer) {
            Ok(()) => {}
            Err(TrySendError::Full(word)) => self.note(format!("full {word}")),
            Err(TrySendError::Closed(word)) => self.note(format!("closed {word}")),
            Err(TrySendError::Down(word)) => unreachable!("{word}: no client's"),
        }
        if word == "end" {
            cx.close();
        }
        Ok(())
    }

    fn on_writable(&mut self, cx: &mut DatagramContext<'_>) -> Result<()> {
        self.note(format!("writable {}", cx.queued()));
        Ok(())
    }

    fn on_error(
        &mut self,
        _: &mut DatagramContext<'_>,
        error: &io::Error,
        _: Option<SocketAddr>,
    ) -> Result<()> {
        self.note(format!("{:?}", error.kind()));
        Ok(())
    }

    fn on_close(&mut self, _: &mut DatagramContext<'_>, reason: CloseReason) {
        self.note(reason.to_string());
    }
}

struct Awake;

impl Wake for Awake {
    fn wake(&self) {}
}

/// An endpoint, its socket and its worker's part.
struct Rig {
    endpoint: Endpoint,
    wire: Script,
    turn: Turn,
    used: Used,
    clock: Clock,
    echo: Echo,
    outbox: Arc<Outbox>,
}

impl Rig {
    fn new(limits: DatagramLimits, room: usize) -> Self {
        let (clock, echo) = (Clock::manual(), Echo::default());
        let mailbox = Arc::new(Mailbox::new(Box::new(Awake), 1));
        let mut turn = Turn::new(clock.clone(), mailbox, Arc::new(WorkerStats::default()), 1);
        turn.begin();
        let (outbox, handler) = (Outbox::new(&limits), echo.clone());
        let seed = EndpointSeed {
            make: Box::new(move || Box::new(handler)),
            limits,
            local: ([10, 0, 0, 2], 1).into(),
            peer: None,
            outbox: Tied::new(Arc::clone(&outbox)),
        };
        let mut rig = Self {
            endpoint: Endpoint::new(seed, &turn),
            wire: Script {
                room,
                ..Script::default()
            },
            turn,
            used: Used::default(),
            clock,
            echo,
            outbox,
        };
        let key = Key {
            slot: 0,
            generation: 0,
        };
        rig.endpoint.open(&mut rig.wire, &mut rig.turn, key);
        rig.endpoint.flush(&mut rig.wire, &mut rig.turn);
        rig
    }

    /// These arrive; answers whether the socket was drained.
    fn receive(&mut self, words: &[&str]) -> bool {
        let words = words.iter().map(|word| Ok(word.as_bytes().to_vec()));
        self.wire.arrives.extend(words);
        self.serve()
    }

    fn serve(&mut self) -> bool {
        let mut buffer = [0; 64];
        let (wire, turn) = (&mut self.wire, &mut self.turn);
        self.endpoint
            .receive(wire, turn, &mut buffer, &mut self.used)
    }

    /// The socket has room for so many.
    fn drain(&mut self, room: usize) {
        self.wire.room = room;
        self.endpoint.note_writable();
        self.endpoint.flush(&mut self.wire, &mut self.turn);
    }

    fn log(&self) -> String {
        std::mem::take(&mut *lock(&self.echo.0)).join(", ")
    }

    fn sent(&mut self) -> String {
        let sent = std::mem::take(&mut self.wire.sent);
        let words = sent.iter().map(|word| String::from_utf8_lossy(word));
        words.collect::<Vec<_>>().join(" ")
    }
}

fn queue_of(datagrams: usize) -> DatagramLimits {
    DatagramLimits {
        queue_datagrams_max: datagrams,
        ..DatagramLimits::default()
    }
}

#[test]
fn what_a_full_socket_does_not_take_waits_in_order_and_the_rest_comes_back() {
    let mut rig = Rig::new(queue_of(2), 1);
    assert!(rig.receive(&["a", "b", "c", "d", "e"]));
    assert_eq!(
        (rig.sent(), rig.log()),
        ("a".into(), "full d, full e".into())
    );
    assert!(rig.endpoint.is_blocked() && !rig.endpoint.wants_flush());
    rig.drain(1);
    assert_eq!((rig.sent(), rig.log()), ("b".into(), String::new()));
    assert!(rig.receive(&["f"]));
    assert_eq!(rig.sent(), "", "it does not overtake");
    rig.drain(9);
    assert_eq!((rig.sent(), rig.log()), ("c f".into(), "writable 0".into()));
    let mut stats = UdpStats::default();
    stats.add(&rig.outbox.counters);
    assert_eq!((stats.received, stats.sent, stats.refused), (6, 4, 2));
}

#[test]
fn handles_have_a_bound_of_their_own_and_wait_for_room() {
    let mut rig = Rig::new(queue_of(2), 1);
    for word in ["a", "b"] {
        rig.outbox.accept(word.into(), None).expect("room for two");
    }
    let refused = rig.outbox.accept("c".into(), None);
    assert_eq!(refused, Err(TrySendError::Full("c".into())));
    rig.endpoint.handle_ready();
    rig.endpoint.flush(&mut rig.wire, &mut rig.turn);
    assert_eq!(rig.sent(), "a");
    rig.drain(9);
    assert_eq!(rig.sent(), "b");
    rig.outbox.accept("d".into(), None).expect("room again");
}

#[test]
fn a_turn_receives_and_sends_no_more_than_its_budget() {
    let mut limits = queue_of(100);
    limits.datagrams_per_turn = 3;
    let mut rig = Rig::new(limits, 0);
    assert!(!rig.receive(&["a", "b", "c", "d"]), "one is left");
    assert!(!rig.serve(), "the budget is that of the turn");
    rig.turn.begin();
    assert!(rig.serve());
    rig.drain(9);
    assert_eq!(rig.sent(), "a b c");
    assert!(rig.endpoint.wants_flush());
    rig.drain(9);
    assert_eq!(rig.sent(), "d");
}

#[test]
fn an_error_of_an_earlier_datagram_does_not_cost_the_next() {
    let mut rig = Rig::new(queue_of(2), 9);
    rig.wire.fails = Some(ErrorKind::ConnectionRefused);
    rig.receive(&["a"]);
    assert_eq!(
        (rig.sent(), rig.log()),
        ("a".into(), "ConnectionRefused".into())
    );
}

#[test]
fn an_error_of_one_datagram_is_told_and_the_next_leaves() {
    let mut rig = Rig::new(queue_of(2), 9);
    rig.wire.fails = Some(ErrorKind::InvalidInput);
    rig.receive(&["a", "b"]);
    assert_eq!((rig.sent(), rig.log()), ("b".into(), "InvalidInput".into()));
    let mut full = Rig::new(queue_of(2), 0);
    full.receive(&["a", "b"]);
    full.wire.fails = Some(ErrorKind::PermissionDenied);
    full.drain(9);
    assert_eq!(
        (full.sent(), full.log()),
        ("b".into(), "writable 0, PermissionDenied".into())
    );
}

#[test]
fn errors_without_end_do_not_keep_the_worker() {
    let mut rig = Rig::new(queue_of(2), 9);
    let errors = (0..1000).map(|_| Err(ErrorKind::NetworkDown.into()));
    rig.wire.arrives.extend(errors);
    assert!(rig.serve(), "it waits for an event, as if it were drained");
    assert!(rig.wire.arrives.len() > 900 && rig.endpoint.fate().is_none());
}

#[test]
fn it_closes_behind_what_waits_and_hears_nothing_more() {
    let mut rig = Rig::new(queue_of(9), 0);
    rig.receive(&["a", "end", "b"]);
    assert_eq!(rig.endpoint.fate(), None, "two wait");
    assert_eq!(rig.wire.arrives.len(), 1);
    rig.drain(9);
    assert_eq!(rig.endpoint.fate(), Some(CloseReason::Local));
    rig.endpoint
        .close(&mut rig.wire, &mut rig.turn, CloseReason::Local);
    assert_eq!(
        (rig.sent(), rig.log()),
        ("a end".into(), "writable 0, local".into())
    );
}

#[test]
fn a_socket_that_stays_full_closes_in_the_end() {
    let mut rig = Rig::new(queue_of(9), 0);
    rig.receive(&["end"]);
    rig.clock.advance(crate::limits::LINGER_TIMEOUT);
    rig.turn.begin();
    rig.endpoint.handle_timeout(&mut rig.wire, &mut rig.turn);
    assert_eq!(rig.endpoint.fate(), Some(CloseReason::Local));
}
