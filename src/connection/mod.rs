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
mod filtered;
mod holding;
mod quota;
mod sending;
mod service;

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use log::error;

use crate::address::Peer;
use crate::buffer::Output;
use crate::clock::Instant;
use crate::error::{CloseReason, Result};
use crate::id::ConnectionId;
use crate::inspection::{ConnectionInfo, ConnectionPhase};
use crate::options::Options;
use crate::panics::{Panicked, contain};
use crate::pipeline::{AnyPipeline, Closing, Due, Event, Link, Pause, State, Turn, Way};
use crate::planted::{Bug, is_planted};

use crate::whereabouts::Label;
use filtered::Filters;
pub(crate) use service::{Factory, Listens, Service};

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

    /// Bytes to be written; tell [`flushed`](Self::flushed) how it went.
    ///
    /// # Panics
    ///
    /// When filters have not seen all of it, see [`seal`](Self::seal): nothing may leave in the clear.
    pub(crate) fn output(&mut self) -> &mut Output {
        if let Some(filters) = &self.filters {
            filters.assert_sealed(&self.state.output);
        }
        &mut self.state.output
    }

    #[inline]
    pub(crate) fn output_ref(&self) -> &Output {
        &self.state.output
    }

    #[inline]
    pub(crate) fn has_output(&self) -> bool {
        self.state.has_output()
    }

    /// Whether there is output that may leave now.
    #[inline]
    pub(crate) fn wants_write(&self) -> bool {
        self.has_output() && !self.state.output_held
    }

    /// Whether output waits for its rate.
    #[inline]
    pub(crate) fn holds_output(&self) -> bool {
        self.state.output_held
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

    /// So many bytes that the socket has taken pay to the valve.
    pub(crate) fn pay_written(&mut self, turn: &Turn, count: usize) {
        self.state.pay(Way::Out, turn, count);
    }

    /// Whether a callback has asked for a flush at once.
    #[inline]
    pub(crate) fn asks_for_flush(&self) -> bool {
        self.state.flush_now && !matches!(self.state.closing, Closing::Now(_))
    }

    /// Whether what is queued should leave before the rest of the turn; a callback that asked for it has
    /// been heard then.
    #[inline]
    pub(crate) fn take_flush_request(&mut self) -> bool {
        std::mem::take(&mut self.state.flush_now)
            || self.state.queued() > self.state.options.limits.high_water_bytes
    }

    /// Whether output is above the high water mark and nobody has been told yet.
    #[inline]
    pub(crate) fn is_overfull(&self) -> bool {
        !self.state.above_high_water
            && self.state.queued() > self.state.options.limits.high_water_bytes
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

    /// Bytes have arrived; what is not decoded stays here.
    pub(crate) fn ingest(&mut self, turn: &mut Turn, arrived: &mut BytesMut) {
        self.state.note_read(turn, arrived.len());
        if self.filters.is_some() {
            return self.ingest_filtered(turn, arrived);
        }
        self.ingest_plain(turn, arrived);
    }

    fn ingest_plain(&mut self, turn: &mut Turn, arrived: &mut BytesMut) {
        if !self.input.is_empty() {
            self.input.extend_from_slice(arrived);
            arrived.clear();
            return self.decode(turn);
        }
        let before = arrived.len();
        self.run(turn, |link, state, turn| {
            link.ingest(state, turn, arrived, false)
        });
        self.note_frame(turn, arrived.len(), before);
        if !arrived.is_empty() && self.state.accepts_output() && !self.state.garbled {
            // Copied, so that the worker's buffer is not pinned while the rest is on its way.
            self.input = turn.spare.take_input();
            self.input.extend_from_slice(arrived);
        }
        self.progress(turn);
    }

    /// Decodes what has arrived before, after a pause or with more bytes behind it.
    pub(crate) fn decode(&mut self, turn: &mut Turn) {
        self.decode_input(turn);
        self.progress(turn);
    }

    fn decode_input(&mut self, turn: &mut Turn) {
        if !self.state.opened {
            return;
        }
        let mut input = std::mem::take(&mut self.input);
        let (eof, before) = (self.eof, input.len());
        self.run(turn, |link, state, turn| {
            link.ingest(state, turn, &mut input, eof)
        });
        self.note_frame(turn, input.len(), before);
        if !input.is_empty() && !self.state.garbled {
            self.input = input;
        } else if input.capacity() > 0 {
            turn.spare.give_input(input);
        }
    }

    /// Notes whether what is left of what arrived is the beginning of a frame, and since when it is there.
    #[inline]
    fn note_frame(&mut self, turn: &Turn, left: usize, before: usize) {
        if left == 0 || !self.state.decoded {
            self.state.pulse.note_whole();
        } else {
            self.state.pulse.note_mid_frame(turn.stamp, left < before);
            self.watch_frame(turn);
        }
    }

    /// The peer has sent its FIN: nothing more will arrive.
    pub(crate) fn ingest_eof(&mut self, turn: &mut Turn) {
        if self.filters.is_some() && !self.filters_allow_eof(0) {
            return self.decode(turn);
        }
        self.end_input(turn);
    }

    fn end_input(&mut self, turn: &mut Turn) {
        self.eof = true;
        if self.state.options.half_open {
            self.owes_read_closed = true;
            return self.decode(turn);
        }
        self.end(turn, CloseReason::PeerClosed);
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

    /// The socket has taken `count` bytes; `blocked` when it would take no more.
    pub(crate) fn flushed(&mut self, turn: &mut Turn, count: usize, blocked: bool) {
        self.blocked = blocked;
        if count > 0 {
            self.state.pulse.note_written(turn.stamp);
        }
        let plain = self.is_plain();
        let state = &mut self.state;
        if let Some(buffer) = state.output.return_buffer() {
            turn.spare.give(buffer);
            if plain {
                return;
            }
        }
        state.complete_flushed(&turn.stats);
        if !state.has_output() || state.output_held {
            self.lift_stall();
        } else if (blocked && !state.stall_armed) || (state.stall_armed && count > 0) {
            self.arm_stall(turn);
        }
        self.tell_output_bytes();
        self.cross_water_marks(turn);
        self.progress(turn);
    }

    /// The valve lets bytes pass again. Where the socket is still full, its deadline was lifted meanwhile.
    fn let_out(&mut self, turn: &Turn) {
        self.state.output_held = false;
        if self.blocked && self.has_output() {
            self.arm_stall(turn);
        }
    }

    /// The socket has taken what was last consumed of the output, and then failed.
    pub(crate) fn complete_flushed(&mut self, turn: &Turn) {
        self.state.complete_flushed(&turn.stats);
    }

    /// Tells of a crossing of the water marks, and pauses or resumes by it.
    fn cross_water_marks(&mut self, turn: &mut Turn) {
        if self.is_overfull() {
            self.state.above_high_water = true;
            self.watch_reader(turn);
            if self.state.options.auto_pause {
                self.state.pause(Pause::OUTPUT);
            }
            return self.tell(turn, Event::Unwritable);
        }
        let low = self.state.options.limits.low_water_bytes;
        if self.state.queued() > low {
            return;
        }
        // What handles and a parked lane have goes first; there is room only once all of it is encoded.
        // A look at the chain and its outbox, which are in nobody's cache, only where something may wait.
        let may_wait = self.state.held_back || !turn.mailbox.holds_no_messages();
        if (may_wait && self.holds_back()) || self.state.is_paused_by(Pause::LANE) {
            self.drain(turn);
        }
        // Where one write took a whole burst, nothing was above the mark before or after it.
        let owed = self.state.above_high_water || self.state.owes_writable.get();
        if owed && self.state.queued() <= low {
            if std::mem::take(&mut self.state.above_high_water) {
                self.state.timers.cancel_reader();
            }
            self.state.owes_writable.set(false);
            self.state.resume(Pause::OUTPUT, turn.stamp);
            self.tell(turn, Event::Writable);
        }
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

    fn swap_all(&mut self, turn: &mut Turn) {
        while let Some(next) = self.state.rare_mut().and_then(|rare| rare.upgrade.take()) {
            self.swap(turn, next);
        }
    }

    fn swap(&mut self, turn: &mut Turn, next: AnyPipeline) {
        self.run(turn, |link, state, turn| {
            link.drain(state, turn)?;
            // What the drain has ended gets no successor, and is told of its close instead.
            if state.accepts_output() {
                link.removed(state, turn)?;
            }
            Ok(())
        });
        if !self.state.accepts_output() {
            return drop_quietly(next, turn);
        }
        self.state.leave_pipeline(turn.stamp);
        drop_quietly(self.link.replace(next.link), turn);
        if !next.filters.is_empty() {
            return self.add_filters(turn, next.filters);
        }
        self.run(turn, |link, state, turn| link.open(state, turn));
        if self.state.accepts_output() {
            self.decode_input(turn);
        }
    }

    fn tell_output_bytes(&mut self) {
        let len = self.state.queued();
        if self.state.has_handles
            && !(self.state.told_empty && len == 0)
            && let Some(link) = &self.link
        {
            self.state.told_empty = len == 0;
            link.tell_output_bytes(len);
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
