//! A worker on scripted sockets: its budgets, and what leaves when.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::net::{Ipv4Addr, SocketAddr};
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::driver::{Arrival, Driver, EndpointArrival, Readiness};
use super::worker::{Worker, WorkerSeed};
use crate::address::{Address, Peer};
use crate::buffer::Room;
use crate::clock::Clock;
use crate::connection::Service;
use crate::datagram::NoDatagrams;
use crate::id::Key;
use crate::limits::{ConnectionLimits, MAILBOX_MESSAGES_MAX, WorkerLimits};
use crate::mailbox::{Mailbox, Wake};
use crate::options::Options;
use crate::pipeline::{AnyPipeline, Context, Event, Handler, Pipeline, TimerKey};
use crate::stats::WorkerStats;
use crate::sync::lock;

/// What happened, in order.
type Log = Arc<Mutex<Vec<String>>>;

fn note(log: &Log, what: String) {
    lock(log).push(what);
}

fn take(log: &Log) -> String {
    std::mem::take(&mut *lock(log)).join(" ")
}

/// A peer that sends without end, eight bytes a read.
#[derive(Default)]
struct Script {
    sends: bool,
    reads: usize,
    taken: usize,
    /// Whether the socket takes nothing.
    full: bool,
    /// Bytes that the socket takes before it fails.
    fails_after: Option<usize>,
    key: Option<Key>,
}

type Stream = Rc<RefCell<Script>>;

struct Scripted {
    clock: Clock,
    arrivals: VecDeque<(Stream, Arc<Service>)>,
    events: Vec<Readiness>,
    /// Whether who arrives comes in another's place.
    evicts: bool,
    log: Log,
}

impl Driver for Scripted {
    type Stream = Stream;
    type Datagrams = NoDatagrams;

    const SHORT_READ_DRAINS: bool = false;

    fn clock(&self) -> &Clock {
        &self.clock
    }

    fn wait(&mut self, _: Option<Duration>, ready: &mut Vec<Readiness>) -> io::Result<()> {
        ready.append(&mut self.events);
        Ok(())
    }

    fn arrival(&mut self) -> Option<Arrival<Stream>> {
        let (stream, service) = self.arrivals.pop_front()?;
        let place = Address::Inet(SocketAddr::from((Ipv4Addr::LOCALHOST, 1)));
        Some(Arrival {
            stream,
            peer: Peer::new(place, place),
            service,
            connect_timeout: None,
            evicts: self.evicts,
        })
    }

    fn register(&mut self, stream: &mut Stream, key: Key, _: bool) -> io::Result<()> {
        stream.borrow_mut().key = Some(key);
        Ok(())
    }

    fn register_writable(&mut self, _: &mut Stream, _: Key) -> io::Result<()> {
        Ok(())
    }

    fn finish_connect(&mut self, _: &mut Stream) -> io::Result<Option<Peer>> {
        Ok(None)
    }

    fn take_error(&mut self, _: &mut Stream) -> Option<io::Error> {
        None
    }

    fn read(&mut self, stream: &mut Stream, into: Room<'_>) -> io::Result<usize> {
        let mut script = stream.borrow_mut();
        if !script.sends {
            return Err(ErrorKind::WouldBlock.into());
        }
        script.reads += 1;
        into.buffer.extend_from_slice(&[b'x'; 8]);
        Ok(8)
    }

    fn write(&mut self, stream: &mut Stream, from: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut script = stream.borrow_mut();
        if script.full {
            return Err(ErrorKind::WouldBlock.into());
        }
        let offered: usize = from.iter().map(|slice| slice.len()).sum();
        let room = script.fails_after.map_or(offered, |end| end - script.taken);
        if room == 0 {
            return Err(ErrorKind::ConnectionReset.into());
        }
        let count = offered.min(room);
        script.taken += count;
        note(&self.log, format!("write({count})"));
        Ok(count)
    }

    fn shutdown_write(&mut self, _: &mut Stream) -> io::Result<()> {
        Ok(())
    }

    fn close(&mut self, _: Stream) {}

    fn endpoint_arrival(&mut self) -> Option<EndpointArrival<NoDatagrams>> {
        None
    }

    fn register_endpoint(&mut self, wire: &mut NoDatagrams, _: Key) -> io::Result<()> {
        match *wire {}
    }

    fn watch_endpoint(&mut self, wire: &mut NoDatagrams, _: Key, _: bool) -> io::Result<()> {
        match *wire {}
    }

    fn close_endpoint(&mut self, wire: NoDatagrams) {
        match wire {}
    }
}

struct Awake;

impl Wake for Awake {
    fn wake(&self) {}
}

/// A worker, its clock and what it did.
struct Rig {
    worker: Worker<Scripted>,
    clock: Clock,
    stats: Arc<WorkerStats>,
    log: Log,
}

impl Rig {
    fn new() -> Self {
        Self::with(WorkerLimits::default())
    }

    fn with(limits: WorkerLimits) -> Self {
        let (clock, log) = (Clock::manual(), Log::default());
        let stats = Arc::new(WorkerStats::default());
        let seed = WorkerSeed {
            index: 0,
            limits,
            mailbox: Arc::new(Mailbox::new(Box::new(Awake), MAILBOX_MESSAGES_MAX)),
            stats: Arc::clone(&stats),
        };
        let driver = Scripted {
            clock: clock.clone(),
            arrivals: VecDeque::new(),
            events: Vec::new(),
            evicts: false,
            log: Arc::clone(&log),
        };
        Self {
            worker: Worker::new(seed, driver),
            clock,
            stats,
            log,
        }
    }

    /// Opens a connection.
    fn open<P: Into<AnyPipeline>>(
        &mut self,
        script: Script,
        limits: ConnectionLimits,
        pipeline: impl Fn() -> P + Send + Sync + 'static,
    ) -> Stream {
        let options = Options {
            limits,
            ..Options::default()
        };
        let service = Service::new(Box::new(move |_| pipeline().into()), options);
        service.enter();
        let stream = Rc::new(RefCell::new(script));
        let arrival = (Rc::clone(&stream), service);
        self.worker.driver().arrivals.push_back(arrival);
        self.turn();
        stream
    }

    fn tell_readable(&mut self, stream: &Stream) {
        let key = stream.borrow().key.expect("the stream is registered");
        self.worker.driver().events.push(Readiness {
            key,
            readable: true,
            writable: false,
            read_closed: false,
            error: false,
        });
    }

    fn turn(&mut self) {
        self.worker.turn(Some(Duration::ZERO));
    }
}

fn endless() -> Script {
    Script {
        sends: true,
        ..Script::default()
    }
}

#[test]
fn a_connection_reads_one_budget_a_turn() {
    let limits = ConnectionLimits {
        reads_per_turn: 4,
        ..ConnectionLimits::default()
    };
    let mut rig = Rig::new();
    let stream = rig.open(endless(), limits, || Pipeline::raw().handle(|_, _| Ok(())));
    rig.tell_readable(&stream);
    for turn in 1..5 {
        rig.turn();
        assert_eq!(stream.borrow().reads, 4 * turn);
        // An event for what is on the list of those to be served anyway.
        rig.tell_readable(&stream);
    }
}

#[test]
fn a_connection_writes_one_budget_a_turn() {
    let mut limits = ConnectionLimits::default();
    (limits.high_water_bytes, limits.low_water_bytes) = (1000, 500);
    limits.write_bytes_per_turn = 2000;
    let mut rig = Rig::new();
    let stream = rig.open(endless(), limits, || {
        Pipeline::raw().handle(|cx, _| cx.write(Bytes::from_static(&[7; 600])))
    });
    rig.tell_readable(&stream);
    let mut before = 0;
    for _ in 0..20 {
        rig.turn();
        let taken = stream.borrow().taken;
        // A write is not cut: the last may bring what stands above the high water mark, and a message.
        assert!(
            (1..2000 + 1600).contains(&(taken - before)),
            "{before} {taken}"
        );
        before = taken;
    }
}

/// Writes at its timer and when it opens, and flushes if it is told to.
struct Timed(&'static str, bool, Log);

impl Timed {
    fn write(&self, cx: &mut Context<'_, Bytes, Bytes>, when: &str) -> crate::Result<()> {
        note(&self.2, format!("{}{when}", self.0));
        if self.1 {
            cx.flush();
        }
        cx.write(Bytes::from_static(b"tick"))
    }
}

impl Handler<Bytes, Bytes> for Timed {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> crate::Result<()> {
        cx.timer(Duration::from_millis(5), TimerKey(0));
        self.write(cx, "open")
    }

    fn on_message(&mut self, _: &mut Context<'_, Bytes, Bytes>, _: Bytes) -> crate::Result<()> {
        Ok(())
    }

    fn on_event(&mut self, cx: &mut Context<'_, Bytes, Bytes>, _: &Event) -> crate::Result<()> {
        self.write(cx, "timer")
    }
}

#[test]
fn a_flush_is_done_wherever_it_is_asked_for() {
    for (flushes, story) in [
        (true, "atimer write(4) btimer write(4)"),
        (false, "atimer btimer write(4) write(4)"),
    ] {
        let mut rig = Rig::new();
        for name in ["a", "b"] {
            let log = Arc::clone(&rig.log);
            rig.open(Script::default(), ConnectionLimits::default(), move || {
                Pipeline::raw().handler(Timed(name, flushes, Arc::clone(&log)))
            });
            assert_eq!(take(&rig.log), format!("{name}open write(4)"));
        }
        rig.clock.advance(Duration::from_millis(5));
        rig.turn();
        assert_eq!(take(&rig.log), story);
    }
}

#[test]
fn what_left_before_a_write_failed_is_answered_as_sent() {
    /// As many pieces as one write gathers.
    const PIECES: usize = 64;
    let limits = ConnectionLimits {
        write_bytes_per_turn: 1 << 20,
        ..ConnectionLimits::default()
    };
    let mut rig = Rig::new();
    let log = Arc::clone(&rig.log);
    let script = Script {
        sends: true,
        fails_after: Some(PIECES * 5000),
        ..Script::default()
    };
    let stream = rig.open(script, limits, move || {
        let log = Arc::clone(&log);
        Pipeline::raw().handle(move |cx, _| {
            cx.pause_reading();
            for piece in 0..=PIECES {
                let log = Arc::clone(&log);
                cx.write_then(Bytes::from(vec![7; 5000]), move |outcome| {
                    if piece + 1 >= PIECES {
                        note(&log, format!("{piece} {outcome:?}"));
                    }
                })?;
            }
            Ok(())
        })
    });
    rig.tell_readable(&stream);
    rig.turn();
    assert_eq!(take(&rig.log), "write(320000) 63 Ok(()) 64 Err(Reset)");
}

#[test]
fn a_turn_is_measured_from_its_wait_to_its_end() {
    let mut rig = Rig::new();
    let (script, limits) = (endless(), ConnectionLimits::default());
    let stream = rig.open(script, limits, || {
        Pipeline::raw().handle(|cx, _| {
            cx.pause_reading();
            cx.clock().advance(Duration::from_millis(7));
            Ok(())
        })
    });
    let stats = Arc::clone(&rig.stats);
    let before = stats.turn_times.read();
    assert_eq!((before.count(), before.max()), (1, Duration::ZERO));
    rig.clock.advance(Duration::from_secs(1));
    rig.tell_readable(&stream);
    rig.turn();
    let after = stats.turn_times.read();
    assert_eq!((after.count(), after.max()), (2, Duration::from_millis(7)));
    assert_eq!(
        after.sum(),
        after.max(),
        "the wait before it is no part of it"
    );
    assert_eq!(stats.whereabouts.look(), None, "it is over");
}

#[test]
fn a_wait_that_ends_late_is_measured_and_one_that_ends_early_is_not() {
    let mut rig = Rig::new();
    let (stats, timeout) = (Arc::clone(&rig.stats), Duration::from_millis(20));
    for (passed, delays) in [(19, 0), (20, 1), (30, 2)] {
        rig.clock.advance(Duration::from_millis(passed));
        rig.worker.turn(Some(timeout));
        assert_eq!(stats.poll_delays.read().count(), delays, "{passed} ms");
    }
    assert_eq!(stats.poll_delays.read().max(), Duration::from_millis(10));
    assert_eq!(stats.sleeps.value(), 3);
    rig.clock.advance(Duration::from_secs(1));
    rig.turn();
    assert_eq!(stats.sleeps.value(), 3, "it did not sleep");
    assert_eq!(stats.poll_delays.read().count(), 2);
}

#[test]
fn a_turn_that_finds_nothing_is_counted_as_idle() {
    let mut rig = Rig::new();
    let stats = Arc::clone(&rig.stats);
    let idle = || stats.turns_idle.value();
    let log = Arc::clone(&rig.log);
    rig.clock.advance(Duration::from_millis(1));
    let stream = rig.open(Script::default(), ConnectionLimits::default(), move || {
        Pipeline::raw().handler(Timed("a", false, Arc::clone(&log)))
    });
    assert_eq!(idle(), 0, "a socket came");
    rig.clock.advance(Duration::from_millis(1));
    rig.turn();
    assert_eq!(idle(), 1);
    rig.clock.advance(Duration::from_millis(10));
    rig.turn();
    assert_eq!(idle(), 1, "a timer was due");
    rig.clock.advance(Duration::from_millis(1));
    rig.tell_readable(&stream);
    rig.turn();
    assert_eq!(idle(), 1, "an event came");
}

/// A connection that has so many messages of 10,000 bytes for a peer that takes none.
fn stuck(rig: &mut Rig, messages: usize) -> Stream {
    let script = Script {
        full: true,
        ..Script::default()
    };
    rig.open(script, ConnectionLimits::default(), move || {
        Pipeline::raw().handler(Talking(messages))
    })
}

struct Talking(usize);

impl Handler<Bytes, Bytes> for Talking {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> crate::Result<()> {
        (0..self.0).try_for_each(|_| cx.write(Bytes::from_static(&[7; 10_000])))
    }

    fn on_message(&mut self, _: &mut Context<'_, Bytes, Bytes>, _: Bytes) -> crate::Result<()> {
        Ok(())
    }
}

fn small_worker() -> Rig {
    Rig::with(WorkerLimits {
        worker_bytes_max: 200_000,
        ..WorkerLimits::default()
    })
}

fn writable(rig: &mut Rig, stream: &Stream) {
    stream.borrow_mut().full = false;
    let key = stream.borrow().key.expect("the stream is registered");
    rig.worker.driver().events.push(Readiness {
        key,
        readable: false,
        writable: true,
        read_closed: false,
        error: false,
    });
    rig.turn();
}

#[test]
fn what_connections_hold_is_counted_until_it_leaves_or_they_go() {
    let mut rig = small_worker();
    let streams = [1, 4, 2].map(|messages| stuck(&mut rig, messages));
    assert_eq!(rig.stats.held_bytes.value(), 70_000);
    writable(&mut rig, &streams[1]);
    assert_eq!(rig.stats.held_bytes.value(), 30_000);
    rig.worker.close_all();
    rig.turn();
    assert_eq!(rig.stats.held_bytes.value(), 0);
}

#[test]
fn a_worker_that_holds_much_reads_the_largest_no_more_and_goes_on_when_they_are_lighter() {
    let mut rig = small_worker();
    let small = stuck(&mut rig, 1);
    let large = stuck(&mut rig, 6);
    let larger = stuck(&mut rig, 6);
    assert!(!rig.stats.is_pressed());
    // One more, and the three quarters are passed.
    let last = stuck(&mut rig, 6);
    assert_eq!(rig.stats.held_bytes.value(), 190_000);
    assert!(rig.stats.is_pressed(), "nobody is to be let in");
    for stream in [&small, &large, &larger, &last] {
        stream.borrow_mut().sends = true;
        rig.tell_readable(stream);
    }
    rig.turn();
    for stream in [&small, &large, &larger, &last] {
        assert_eq!(stream.borrow().reads, 0);
    }
    // The peer of one reads: half of the bound is not passed below yet, then it is.
    writable(&mut rig, &last);
    assert!(rig.stats.is_pressed());
    writable(&mut rig, &larger);
    assert!(!rig.stats.is_pressed());
    rig.turn();
    for stream in [&small, &large, &larger, &last] {
        assert!(stream.borrow().reads > 0);
    }
    assert!(rig.stats.closes.iter().all(|count| count.value() == 0));
}

#[test]
fn above_its_bound_a_worker_closes_the_largest_until_it_is_below() {
    let mut rig = small_worker();
    let all: Vec<Stream> = (1..=6).map(|messages| stuck(&mut rig, messages)).collect();
    // 210,000 bytes: one of 60,000 goes, and the others are within it.
    assert_eq!(rig.stats.held_bytes.value(), 150_000);
    let stats = Arc::clone(&rig.stats);
    let over_limit = &stats.closes[crate::CloseReason::OverLimit as usize];
    assert_eq!(over_limit.value(), 1);
    // The next search comes a little later, and the worker wakes for it.
    let more = stuck(&mut rig, 6);
    assert_eq!(rig.stats.held_bytes.value(), 210_000);
    let look = Duration::from_millis(10);
    assert_eq!(rig.worker.timeout(), Some(look));
    rig.clock.advance(look);
    rig.turn();
    assert_eq!(
        (rig.stats.held_bytes.value(), over_limit.value()),
        (150_000, 2)
    );
    drop((all, more));
}

#[test]
fn the_longest_idle_is_searched_for_from_where_the_last_search_ended() {
    let mut rig = Rig::new();
    let options = Options {
        connections_max: Some(3),
        ..Options::default()
    };
    let service = Service::new(
        Box::new(|_| Pipeline::raw().handle(|_, _| Ok(())).into()),
        options,
    );
    let mut streams: Vec<Stream> = Vec::new();
    for evicts in [false, false, false, true, true] {
        service.enter();
        let stream = Stream::default();
        streams.push(Rc::clone(&stream));
        rig.worker.driver().evicts = evicts;
        let arrival = (stream, Arc::clone(&service));
        rig.worker.driver().arrivals.push_back(arrival);
        rig.turn();
        rig.clock.advance(Duration::from_secs(1));
    }
    assert_eq!(service.active(), 3);
    let slots = streams.iter().map(|stream| {
        let key = stream.borrow().key.expect("it was let in");
        (key.slot, key.generation)
    });
    // The newcomers have the slots of the first two.
    let slots: Vec<_> = slots.collect();
    assert_eq!(slots, [(0, 0), (1, 0), (2, 0), (0, 1), (1, 1)]);
}
