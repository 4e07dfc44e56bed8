//! A connection without its socket: bytes and time go in, bytes and deadlines come out.
//!
//! ```text
//!             ingest, eof ──> ┌────────────┐ ──> output, to be written
//!   a handle's word: ready ─> │ Connection │ ──> next_timeout, to be armed
//!             handle_timeout ─> └────────────┘ ──> fate, whether to go on
//! ```
//! The four kinds of method are quinn's: what arrived (`ingest`, `ingest_eof`, `handle_*`, `flushed`),
//! what to do about it (`output`, `next_timeout`, `fate`), the start and the end (`open`, `close`). It
//! knows no types of messages and no socket, so a worker on mio and a simulator run the same code.
//!
//! ```text
//!        open            eof, shutdown            idle            flushed
//!  New ───────> Open ─────────────────> Answering ─────> Flushing ───────> Finished
//!                 └── close_after_flush ────────────────────^                 ^
//!                 └── close, failure, panic, reset ──────────────────────────┘
//! ```

mod broadcast;
mod deadlines;
mod files;
mod filtered;
mod holding;
mod input;
mod output;
mod quota;
mod service;
mod upgrade;

pub(crate) use service::{Factory, Listens, Service};

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use log::error;

use self::filtered::Filters;
use crate::address::Peer;
use crate::clock::Instant;
use crate::error::{CloseReason, Result};
use crate::id::ConnectionId;
use crate::inspection::{ConnectionInfo, ConnectionPhase};
use crate::options::Options;
use crate::panics::{Panicked, contain};
use crate::pipeline::{AnyPipeline, Closing, Due, Event, Link, Pause, State, Turn, Way};
use crate::planted::{Bug, is_planted};
use crate::whereabouts::Label;

/// What is to become of a connection, after whatever was done to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is read and written.
    Live,
    /// Nothing is read; it closes by itself later.
    Ending,
    /// Everything has left: close it for this reason, gently where the peer may still be sending.
    Finished(CloseReason),
    /// Close it at once.
    Broken(CloseReason),
}

/// A connection without its socket.
pub(crate) struct Connection {
    state: State,
    /// Received and not yet decoded; holds no memory between whole messages.
    input: BytesMut,
    link: Option<Box<dyn Link>>,
    /// Between the socket and the codec; most connections have none.
    filters: Option<Box<Filters>>,
    eof: bool,
    /// Whether the FIN is still to be told, behind what came before it.
    owes_read_closed: bool,
    /// Whether the socket would take no more when it was last written.
    blocked: bool,
}

impl Connection {
    pub(crate) fn new(
        id: ConnectionId,
        peer: Peer,
        options: Arc<Options>,
        pipeline: AnyPipeline,
    ) -> Self {
        Self {
            state: State::new(id, peer, options),
            input: BytesMut::new(),
            link: Some(pipeline.link),
            filters: Filters::new(pipeline.filters),
            eof: false,
            owes_read_closed: false,
            blocked: false,
        }
    }

    pub(crate) fn id(&self) -> ConnectionId {
        self.state.id
    }

    pub(crate) fn peer(&self) -> Peer {
        self.state.peer()
    }

    pub(crate) fn set_peer(&mut self, peer: Peer) {
        self.state.set_peer(peer);
    }

    /// Bytes that may be read or written in one piece.
    pub(crate) fn piece(&self, way: Way) -> usize {
        self.state.piece(way)
    }

    /// Whether it has anything that few connections have.
    #[inline]
    pub(crate) fn has_rare(&self) -> bool {
        self.state.rare_ref().is_some()
    }

    /// Whether the socket is to be read.
    #[inline]
    pub(crate) fn wants_read(&self) -> bool {
        !self.eof && !self.state.is_paused() && self.state.closing == Closing::No
    }

    /// How long nothing has arrived, where nobody waits for anything: no answer, no output, no end.
    pub(crate) fn idle_time(&mut self, now: Instant) -> Option<Duration> {
        let is_quiet = self.state.opened
            && self.state.closing == Closing::No
            && self.state.decoded
            && !self.has_output()
            && self.link.as_mut().is_some_and(|link| link.is_idle());
        is_quiet.then(|| self.state.pulse.read_silence(now))
    }

    /// Whether something keeps the connection from being read, for now.
    pub(crate) fn is_paused(&self) -> bool {
        self.state.is_paused()
    }

    /// Why the connection is to end, once it is.
    pub(crate) fn closing(&self) -> Option<CloseReason> {
        match self.state.closing {
            Closing::No => None,
            Closing::AfterAnswers(reason) | Closing::AfterFlush(reason) | Closing::Now(reason) => {
                Some(reason)
            }
        }
    }

    /// Whether decoding stopped in the middle of what arrived, and may go on now.
    #[inline]
    pub(crate) fn wants_decode(&self) -> bool {
        !self.state.decoded && !self.state.stops_decoding()
    }

    /// Whether nothing can have come of a read or a write but messages and bytes.
    #[inline]
    fn is_plain(&self) -> bool {
        !self.blocked && !self.owes_read_closed && self.state.is_plain()
    }

    /// Whether messages of handles wait to be encoded.
    fn holds_back(&self) -> bool {
        self.state.has_handles && self.link.as_ref().is_some_and(|link| link.holds_back())
    }

    /// What is known of it, for whoever asked; the socket's owner knows more.
    pub(crate) fn describe(&self, now: Instant) -> ConnectionInfo {
        let Peer { address, local } = self.state.peer();
        let link = self.link.as_ref();
        ConnectionInfo {
            id: self.state.id,
            peer: address,
            local,
            accepted: true,
            phase: match self.state.closing {
                Closing::No if self.state.opened => ConnectionPhase::Open,
                Closing::No => ConnectionPhase::Opening,
                _ => ConnectionPhase::Closing,
            },
            age: self.state.pulse.age(now),
            read_silence: self.state.pulse.read_silence(now),
            write_silence: self.state.pulse.write_silence(now),
            bytes_queued: self.state.queued(),
            bytes_undecoded: self.input.len(),
            bytes_sent: self.state.output.flushed(),
            pauses: self.state.pause_names(),
            stages: link.map_or_else(Vec::new, |link| link.stage_names()),
        }
    }

    /// Whether the peer has sent its FIN.
    pub(crate) fn is_eof(&self) -> bool {
        self.eof
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.state.next_timeout()
    }

    pub(crate) fn fate(&self) -> Fate {
        match self.state.closing {
            Closing::No => Fate::Live,
            Closing::Now(reason) => Fate::Broken(reason),
            Closing::AfterFlush(reason) if is_planted(Bug::DroppedTail) && self.blocked => {
                Fate::Finished(reason)
            }
            Closing::AfterFlush(reason)
                if !self.has_output() && (self.state.failed || !self.holds_back()) =>
            {
                Fate::Finished(reason)
            }
            Closing::AfterFlush(_) | Closing::AfterAnswers(_) => Fate::Ending,
        }
    }

    /// Lets handles that were there before find the connection.
    pub(crate) fn attach(&mut self, turn: &mut Turn) {
        self.run(turn, |link, state, turn| {
            link.attach(state, turn);
            Ok(())
        });
    }

    /// The connection is established.
    pub(crate) fn open(&mut self, turn: &mut Turn) {
        self.state.pulse.begin(turn.now);
        if self.filters.is_some() {
            return self.open_filters(turn);
        }
        self.open_link(turn);
    }

    /// Messages may pass.
    fn open_link(&mut self, turn: &mut Turn) {
        self.state.opened = true;
        self.run(turn, |link, state, turn| link.open(state, turn));
        if self.holds_back() {
            self.drain(turn);
        }
        self.progress(turn);
    }

    /// Answers what was read, then flushes, then closes; for a shutdown and for the peer's FIN.
    fn end(&mut self, turn: &mut Turn, reason: CloseReason) {
        self.state.close(Closing::AfterAnswers(reason));
        self.decode(turn);
    }

    /// Tells the handler of the shutdown, and ends.
    pub(crate) fn handle_shutdown(&mut self, turn: &mut Turn) {
        if !self.state.opened {
            // Its handler has not heard of it yet.
            return self.break_off(CloseReason::Shutdown);
        }
        if matches!(self.state.closing, Closing::No) {
            self.tell(turn, Event::ShuttingDown);
            self.end(turn, CloseReason::Shutdown);
        }
    }

    /// Handles or pool threads have something for the connection.
    pub(crate) fn handle_ready(&mut self, turn: &mut Turn) {
        self.drain(turn);
        self.progress(turn);
    }

    /// The moment of [`next_timeout`](Self::next_timeout) has come.
    pub(crate) fn handle_timeout(&mut self, turn: &mut Turn) {
        let now = turn.now;
        // What callbacks arm meanwhile, for at once, has its turn later: else one that arms itself again
        // would keep the loop here. It is no earlier than any of these, so it does not come before.
        for _ in 0..self.state.timers.count_due(now) {
            if matches!(self.state.closing, Closing::Now(_)) {
                break;
            }
            let Some((owner, due)) = self.state.timers.take_due(now) else {
                break;
            };
            match due {
                Due::Close(reason) => self.cut_off(reason),
                Due::Open(Way::In) => self.state.resume(Pause::SHAPED, turn.stamp),
                Due::Open(Way::Out) => self.let_out(turn),
                Due::Frame => self.check_frame(turn),
                Due::Reader(since) => self.check_reader(turn, since),
                Due::Tell(_) if self.state.failed => {}
                Due::Tell(key) => {
                    self.run(turn, |link, state, turn| {
                        link.timer(state, turn, owner, key)
                    });
                }
            }
        }
        self.progress(turn);
    }

    /// Tells stages and handler, unless the connection is past telling.
    fn tell(&mut self, turn: &mut Turn, event: Event) {
        if self.state.accepts_output() && self.state.opened {
            self.run(turn, |link, state, turn| link.event(state, turn, event));
        }
    }

    fn drain(&mut self, turn: &mut Turn) {
        self.run(turn, |link, state, turn| link.drain(state, turn));
    }

    /// Swaps pipelines, and finds out whether everything that was to be answered has been.
    fn progress(&mut self, turn: &mut Turn) {
        if self.is_plain() {
            return;
        }
        // A blocked socket is not written before it has room, so no flush will tell of the crossing.
        if self.blocked {
            self.cross_water_marks(turn);
        }
        self.swap_all(turn);
        if self.owes_read_closed && self.state.decoded {
            self.owes_read_closed = false;
            self.tell(turn, Event::ReadClosed);
            self.swap_all(turn);
        }
        self.tell_output_bytes();
        // A write of no bytes has left as soon as those before it have; no flush comes for it.
        if !self.has_output() {
            self.state.complete_flushed(&turn.stats);
        }
        if let Closing::AfterAnswers(reason) = self.state.closing
            && self.state.decoded
            && !self.state.is_held_up()
            && self.link.as_mut().is_none_or(|link| link.is_idle())
        {
            self.state.close(Closing::AfterFlush(reason));
        }
        if let (Closing::AfterFlush(_), Some(link)) = (self.state.closing, &self.link) {
            link.refuse_more();
        }
        if self.filters.is_some() {
            self.take_leave(turn);
        }
    }

    /// Asks for the end from outside: a reset, a limit, a deadline of the server.
    pub(crate) fn break_off(&mut self, reason: CloseReason) {
        self.state.close(Closing::Now(reason));
    }

    /// Last call: tells handler and stages, answers what did not leave, frees everything.
    pub(crate) fn close(&mut self, turn: &mut Turn, reason: CloseReason) {
        if self.state.opened {
            self.run(turn, |link, state, turn| {
                link.close(state, turn, reason);
                Ok(())
            });
        }
        self.end_link(turn, reason);
        drop_quietly(self.filters.take(), turn);
        self.state.fail_completions(reason, &turn.stats);
        self.state.timers.clear();
        // Attributes may panic as they are dropped, like everything of the program's.
        drop_quietly(self.state.take_rare(), turn);
        if !self.state.output.is_empty() {
            self.state.output.clear();
        } else if let Some(buffer) = self.state.output.return_buffer() {
            turn.spare.give(buffer);
        }
    }

    /// Calls into the pipeline; a panic or a failure there ends this connection and no other.
    fn run(
        &mut self,
        turn: &mut Turn,
        call: impl FnOnce(&mut dyn Link, &mut State, &mut Turn) -> Result<()>,
    ) {
        let Some(link) = &mut self.link else { return };
        let state = &mut self.state;
        state.enter(&turn.stats, Label::HANDLER);
        let outcome = contain(|| call(&mut **link, state, turn));
        turn.stats.whereabouts.leave();
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(failure)) => self.state.fail(failure),
            Err(_) => {
                error!(target: "netwheel::connection", "{} {}: a handler, stage or codec panicked",
                    self.state.id, self.state.peer().address);
                turn.stats.panics.add(1);
                self.state.close(Closing::Now(CloseReason::Panic));
                // What has panicked is not called again, not even to be told of the close.
                self.end_link(turn, CloseReason::Panic);
            }
        }
    }

    /// Ends the handles, and drops the pipeline.
    fn end_link(&mut self, turn: &mut Turn, reason: CloseReason) {
        let Some(mut link) = self.link.take() else {
            return;
        };
        let ended = contain(|| link.shut_outbox(turn, reason));
        note_destructor(ended, turn);
        drop_quietly(link, turn);
    }
}

/// Drops what belongs to the program; a panic in some destructor costs nothing but a line in the log.
fn drop_quietly<T>(value: T, turn: &Turn) {
    note_destructor(contain(|| drop(value)), turn);
}

fn note_destructor(outcome: std::result::Result<(), Panicked>, turn: &Turn) {
    if outcome.is_err() {
        turn.stats.panics.add(1);
        error!(target: "netwheel::connection",
            "a handler, stage, attribute or message panicked while it was dropped");
    }
}
