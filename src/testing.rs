//! Pipelines under test: bytes and virtual time go in, bytes come out, without socket or thread.
//!
//! ```text
//!   receive(bytes) ──> ┌──────────────────────────┐
//!   mail()         ──> │ codec -> stages -> handler│ ──> sent()
//!   pass(time)     ──> └──────────────────────────┘ ──> closed()
//! ```
//! The role of Netty's `EmbeddedChannel`. A [`Harness`] runs the connection that a worker runs, the
//! same code, so what holds here holds on a socket. Everything happens inside the calls, on the calling
//! thread, in one order: a test of it cannot be flaky.
//!
//! A stage or handler of one's own is tested in five lines:
//!
//! ```
//! use netwheel::testing::Harness;
//! use netwheel::{Context, Flow, Pipeline, Result, Stage, codec::LengthField};
//! # use bytes::Bytes;
//!
//! /// Answers a ping by itself; everything else passes.
//! struct Pong;
//!
//! impl Stage<Bytes, Bytes> for Pong {
//!     fn on_inbound(&mut self, cx: &mut Context<'_, Bytes, Bytes>, message: &mut Bytes) -> Result<Flow> {
//!         if message != "ping" {
//!             return Ok(Flow::Next);
//!         }
//!         cx.write("pong".into())?;
//!         Ok(Flow::Stop)
//!     }
//! }
//!
//! let pipeline = Pipeline::new(LengthField::u8()).stage("pong", Pong).handle(|cx, m| cx.write(m));
//! let mut harness = Harness::new(pipeline);
//! harness.receive(b"\x04pi").receive(b"ng\x02hi"); // however the stream is cut
//! assert_eq!(harness.sent(), b"\x04pong\x02hi");
//! assert_eq!(harness.closed(), None);
//! ```

use std::collections::VecDeque;
use std::fmt;
use std::io::IoSlice;
use std::marker::PhantomData;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use crate::address::{Address, Peer};
use crate::clock::{Clock, Instant};
use crate::connection::{Connection, Fate};
use crate::error::CloseReason;
use crate::executor::{Executor, Roster};
use crate::handle::{ConnectionHandle, Outbox};
use crate::id::{ConnectionId, Key};
use crate::limits::{BROADCAST_BYTES_MAX, ConnectionLimits, MAILBOX_MESSAGES_MAX};
use crate::mailbox::{Command, Mailbox, Wake};
use crate::options::Options;
use crate::pipeline::{Pipeline, Turn, Way};
use crate::stats::{Stats, WorkerStats};

/// How fine a worker's timers are.
const TICK: Duration = Duration::from_millis(1);

/// The name of the one connection.
const ID: ConnectionId = ConnectionId::new(
    0,
    Key {
        slot: 0,
        generation: 0,
    },
);

/// What holds for a connection under test, before it opens.
///
/// ```
/// use netwheel::Pipeline;
/// use netwheel::testing::Harness;
///
/// let builder = Harness::builder();
/// let pool = builder.executor(); // its work is done by `run_pool`, on this thread
/// let mut harness = builder.open(Pipeline::raw().handle_on(&pool, |cx, bytes| cx.write(bytes)));
/// harness.receive(b"hello");
/// assert_eq!(harness.sent(), b"", "the pool has not run yet");
/// assert_eq!(harness.run_pool().sent(), b"hello");
/// ```
pub struct HarnessBuilder {
    options: Options,
    peer: SocketAddr,
    roster: Roster,
}

impl HarnessBuilder {
    /// Changes what holds for the connection.
    #[must_use]
    pub fn limits(mut self, limits: ConnectionLimits) -> Self {
        self.options.limits = limits;
        self
    }

    /// Whether reading pauses by itself above the high water mark, as
    /// [`Server::auto_pause`](crate::Server::auto_pause).
    #[must_use]
    pub fn auto_pause(mut self, on: bool) -> Self {
        self.options.auto_pause = on;
        self
    }

    /// Whether a FIN is an event rather than the end, as [`Server::half_open`](crate::Server::half_open).
    #[must_use]
    pub fn half_open(mut self, on: bool) -> Self {
        self.options.half_open = on;
        self
    }

    /// The other side, as the pipeline sees it; 192.0.2.1:1 by default (an address for documentation).
    #[must_use]
    pub fn peer(mut self, address: SocketAddr) -> Self {
        self.peer = address;
        self
    }

    /// A pool whose work [`Harness::run_pool`] does.
    #[must_use]
    pub fn executor(&self) -> Executor {
        self.roster.executor()
    }

    /// Opens a connection with this pipeline.
    ///
    /// # Panics
    ///
    /// When a limit makes no sense, which a server would refuse.
    pub fn open<In: 'static, Out: 'static>(self, pipeline: Pipeline<In, Out>) -> Harness<In, Out> {
        self.options.check().expect("limits that can work");
        let clock = Clock::manual();
        let mailbox = Arc::new(Mailbox::new(Box::new(Awake), MAILBOX_MESSAGES_MAX));
        let turn = Turn::new(
            clock,
            mailbox,
            Arc::new(WorkerStats::default()),
            BROADCAST_BYTES_MAX,
        );
        let local = SocketAddr::from((Ipv4Addr::new(192, 0, 2, 2), 7000));
        let peer = Peer::new(Address::Inet(self.peer), Address::Inet(local));
        let outbox = Outbox::new(peer, self.options.limits.output_room(), size_of_val);
        let pipeline = pipeline.adopt(Arc::clone(&outbox));
        let mut harness = Harness {
            connection: Connection::new(ID, peer, Arc::new(self.options), pipeline),
            turn,
            roster: self.roster,
            handle: ConnectionHandle(outbox),
            arrived: BytesMut::new(),
            fin: false,
            room: usize::MAX,
            blocked: false,
            sent: Vec::new(),
            closed: None,
            messages: PhantomData,
        };
        harness.connection.attach(&mut harness.turn);
        harness.connection.open(&mut harness.turn);
        harness.settle();
        harness
    }
}

impl fmt::Debug for HarnessBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HarnessBuilder")
            .field("options", &self.options)
            .finish_non_exhaustive()
    }
}

/// The calling thread never sleeps.
struct Awake;

impl Wake for Awake {
    fn wake(&self) {}
}

/// An open connection with a pipeline under test, see the [module](self).
///
/// Each call is a turn of the worker: what the call brought is decoded and handled, then everything
/// queued is written once. Calls that bring something answer the harness, so they can be strung together.
///
/// Threads: one; its [`handle`](Self::handle)s may go to others.
pub struct Harness<In, Out> {
    connection: Connection,
    turn: Turn,
    roster: Roster,
    handle: ConnectionHandle<Out>,
    /// Received by the socket, so to speak, and not yet read: the connection is paused.
    arrived: BytesMut,
    /// The peer's FIN stands behind what has arrived.
    fin: bool,
    /// Bytes that the peer still takes.
    room: usize,
    /// A write came up short, and no room has been made since.
    blocked: bool,
    sent: Vec<u8>,
    closed: Option<CloseReason>,
    messages: PhantomData<fn(Out) -> In>,
}

impl Harness<(), ()> {
    /// A connection to be configured.
    #[must_use]
    pub fn builder() -> HarnessBuilder {
        HarnessBuilder {
            options: Options::default(),
            peer: SocketAddr::from((Ipv4Addr::new(192, 0, 2, 1), 1)),
            roster: Roster::default(),
        }
    }
}

/// What comes from outside.
impl<In: 'static, Out: 'static> Harness<In, Out> {
    /// Opens a connection with this pipeline and default limits.
    #[must_use]
    pub fn new(pipeline: Pipeline<In, Out>) -> Self {
        Harness::builder().open(pipeline)
    }

    /// The peer sends `bytes`; one read brings them. They wait while reading is paused.
    pub fn receive(&mut self, bytes: &[u8]) -> &mut Self {
        debug_assert!(!self.fin, "nothing comes behind a FIN");
        self.arrived.extend_from_slice(bytes);
        self.settle()
    }

    /// The peer sends its FIN.
    pub fn receive_eof(&mut self) -> &mut Self {
        self.fin = true;
        self.settle()
    }

    /// The peer breaks the connection off.
    pub fn reset(&mut self) -> &mut Self {
        self.connection.break_off(CloseReason::Reset);
        self.settle()
    }

    /// The peer reads nothing more: what is written now waits.
    pub fn block(&mut self) -> &mut Self {
        self.room = 0;
        self
    }

    /// A peer that was [blocked](Self::block) reads so many bytes more.
    pub fn accept_bytes(&mut self, count: usize) -> &mut Self {
        self.room = self.room.saturating_add(count);
        self.blocked = false;
        self.settle()
    }

    /// A peer that was [blocked](Self::block) reads everything again.
    pub fn unblock(&mut self) -> &mut Self {
        self.room = usize::MAX;
        self.blocked = false;
        self.settle()
    }

    /// Lets `time` pass; timers fire one after the other, each at its moment.
    pub fn pass(&mut self, time: Duration) -> &mut Self {
        let end = self.turn.now + time;
        let mut earliest = self.turn.now;
        while let Some(at) = self.connection.next_timeout().map(|at| at.max(earliest))
            && at <= end
            && self.closed.is_none()
        {
            self.move_to(at);
            self.connection.handle_timeout(&mut self.turn);
            self.settle();
            // What was armed for this very moment comes a tick later, as it does on a worker.
            let again = self
                .connection
                .next_timeout()
                .is_some_and(|next| next <= at);
            earliest = if again { at + TICK } else { at };
        }
        self.move_to(end);
        self
    }

    fn move_to(&mut self, at: Instant) {
        self.turn.clock.advance(at.since(self.turn.now));
        self.turn.read_clock();
    }

    /// A handle to the connection, as other threads have it; what it sends waits for [`mail`](Self::mail).
    #[must_use]
    pub fn handle(&self) -> ConnectionHandle<Out> {
        self.handle.clone()
    }

    /// The connection takes what handles have sent and pools have answered.
    pub fn mail(&mut self) -> &mut Self {
        let mut commands = VecDeque::new();
        self.fan_out();
        self.turn.mailbox.take(&mut commands);
        while let Some(command) = commands.pop_front() {
            if let (Command::Ready(_), None) = (command, self.closed) {
                self.connection.handle_ready(&mut self.turn);
                self.settle();
            }
            self.fan_out();
            self.turn.mailbox.take(&mut commands);
        }
        self
    }

    /// The connection takes what was broadcast to its groups, as far as its worker would.
    fn fan_out(&mut self) {
        let mut frames = Vec::new();
        self.turn.board.take(&mut frames, usize::MAX);
        for frame in frames {
            self.turn.fanned_out = frame.number - 1;
            if self.closed.is_none() && self.connection.hears_broadcasts() && frame.is_for(ID.key())
            {
                self.connection.catch_up(&mut self.turn);
                self.connection
                    .push_frames(&mut self.turn, frame.bytes.clone(), 1);
                frame.audience.tally.queued.add(1);
                self.settle();
            }
            self.turn.fanned_out = frame.number;
        }
    }

    /// Does all work of the pools that the [builder](HarnessBuilder::executor) gave out, on the calling
    /// thread, and delivers its results.
    pub fn run_pool(&mut self) -> &mut Self {
        while self.roster.busy() > 0 {
            while self.roster.run_one(0, false) {}
            self.mail();
        }
        self
    }

    /// The server shuts down: the pipeline is told, answers, and the connection closes.
    pub fn shutdown(&mut self) -> &mut Self {
        self.connection.handle_shutdown(&mut self.turn);
        self.settle()
    }
}

/// What comes of it.
impl<In: 'static, Out: 'static> Harness<In, Out> {
    /// Takes what has been written since this was last asked.
    pub fn sent(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.sent)
    }

    /// Whether the connection is not read at the moment, for whatever reason.
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.connection.is_paused()
    }

    /// Why the connection is about to close, or has closed.
    #[must_use]
    pub fn closing(&self) -> Option<CloseReason> {
        self.closed.or_else(|| self.connection.closing())
    }

    /// Why the connection has closed; `on_close` has been told.
    #[must_use]
    pub fn closed(&self) -> Option<CloseReason> {
        self.closed
    }

    /// The moment of virtual time.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.turn.now
    }

    /// What the connection has counted: messages, decode errors, panics.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats::of_workers([&*self.turn.stats])
    }
}

/// The worker's part: an entry of its slab, without the socket.
impl<In: 'static, Out: 'static> Harness<In, Out> {
    /// Reads, decodes and writes until nothing more happens by itself.
    fn settle(&mut self) -> &mut Self {
        while self.closed.is_none() {
            if self.connection.take_flush_request() {
                self.flush();
            }
            if self.connection.asks_for_flush() {
                continue;
            }
            if self.connection.wants_decode() {
                self.connection.decode(&mut self.turn);
            } else if !self.read() && !self.flush() {
                break;
            }
            self.end();
        }
        self.end();
        self.turn.call_pools();
        self
    }

    /// One read; `false` when nothing has arrived or nothing is wanted.
    fn read(&mut self) -> bool {
        if !self.connection.wants_read() {
            return false;
        }
        if !self.arrived.is_empty() {
            let piece = self.connection.piece(Way::In).min(self.arrived.len());
            let mut arrived = self.arrived.split_to(piece);
            self.connection.ingest(&mut self.turn, &mut arrived);
            return true;
        }
        if self.fin {
            self.connection.ingest_eof(&mut self.turn);
        }
        self.fin
    }

    /// Writes what is queued, as far as the peer reads; `false` when nothing has left.
    fn flush(&mut self) -> bool {
        if self.blocked || !self.connection.wants_write() {
            return false;
        }
        self.connection.prepare(&mut self.turn, false);
        let left = self.write();
        self.blocked = self.connection.wants_write();
        self.connection.flushed(&mut self.turn, left, self.blocked);
        left > 0
    }

    fn write(&mut self) -> usize {
        let mut left = 0;
        while left < self.room && self.connection.wants_write() {
            if self.connection.wants_more_of_file() {
                self.connection.prepare(&mut self.turn, false);
            }
            let piece = self.connection.piece(Way::Out);
            let output = self.connection.output();
            let mut slices = [IoSlice::new(&[])];
            output.gather(&mut slices);
            let count = slices[0].len().min(self.room - left).min(piece);
            self.sent.extend_from_slice(&slices[0][..count]);
            output.consume(count);
            self.connection.pay_written(&self.turn, count);
            left += count;
        }
        if self.room != usize::MAX {
            self.room -= left;
        }
        left
    }

    /// Closes the connection once it is to be closed.
    fn end(&mut self) {
        if self.closed.is_some() {
            return;
        }
        if let Fate::Broken(reason) | Fate::Finished(reason) = self.connection.fate() {
            self.connection.close(&mut self.turn, reason);
            self.closed = Some(reason);
        }
    }
}

impl<In, Out> fmt::Debug for Harness<In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Harness")
            .field("now", &self.turn.now)
            .field("sent", &self.sent.len())
            .field("closed", &self.closed)
            .finish_non_exhaustive()
    }
}
