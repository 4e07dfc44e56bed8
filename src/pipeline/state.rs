//! The untyped part of a connection that callbacks see.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::Arc;

use log::{Level, debug, log};

use crate::address::{KeptPeer, Peer};
use crate::buffer::Output;
use crate::clock::Instant;
use crate::completion::{Completion, Watcher};
use crate::error::{CloseReason, Failure};
use crate::id::ConnectionId;
use crate::options::Options;
use crate::stats::WorkerStats;
use crate::whereabouts::Label;

use super::parcels::Parcels;
use super::pulse::{Pulse, Stamp};
use super::timers::{Due, OWNER_LIBRARY, Timers};
use super::turn::Turn;
use super::valve::{Bucket, Valve, Way};
use super::{AnyPipeline, Attributes};

/// Why a connection is not read at the moment; several may hold at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pause(u8);

impl Pause {
    /// A callback asked for it.
    pub(crate) const USER: Self = Self(1);
    /// Output is above the high water mark.
    pub(crate) const OUTPUT: Self = Self(1 << 1);
    /// The lane or the executor is full.
    pub(crate) const LANE: Self = Self(1 << 2);
    /// Too many jobs of the connection wait for the pool.
    pub(crate) const JOBS: Self = Self(1 << 3);
    /// It has read faster than its valve lets pass; what was read is still decoded.
    pub(crate) const SHAPED: Self = Self(1 << 4);
    /// Its worker holds too much memory, and the connection much of it; what was read is still decoded.
    pub(crate) const MEMORY: Self = Self(1 << 5);

    /// Each by its name, as lists of connections tell it.
    const NAMES: [(Self, &str); 6] = [
        (Self::USER, "user"),
        (Self::OUTPUT, "output"),
        (Self::LANE, "lane"),
        (Self::JOBS, "jobs"),
        (Self::SHAPED, "shaped"),
        (Self::MEMORY, "memory"),
    ];
}

/// How far a connection has come towards its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closing {
    No,
    /// Nothing more is read; what was read is answered, then flushed, then the connection closes.
    AfterAnswers(CloseReason),
    /// What is queued leaves, then the connection closes.
    AfterFlush(CloseReason),
    /// As soon as the callback returns.
    Now(CloseReason),
}

/// The untyped, per-connection part of what callbacks see.
pub(crate) struct State {
    pub(crate) id: ConnectionId,
    peer: KeptPeer,
    pub(crate) options: Arc<Options>,
    pub(crate) output: Output,
    pub(crate) timers: Timers,
    pub(crate) closing: Closing,
    /// Whether stages and handler have been told that the connection is open.
    pub(crate) opened: bool,
    /// Whether the codec has taken all it can from what arrived; false after a stop in the middle.
    pub(crate) decoded: bool,
    /// Whether the codec has failed: what arrives is thrown away.
    pub(crate) garbled: bool,
    /// Whether a callback has failed: no other is called but to be told of the close.
    pub(crate) failed: bool,
    pauses: u8,
    /// Whether output has crossed the high water mark and not yet come down to the low one.
    pub(crate) above_high_water: bool,
    /// Whether somebody found the connection not writable and waits to be told when it is.
    pub(crate) owes_writable: Cell<bool>,
    /// Whether there is an outbox, so that somebody is to be told and something may wait.
    pub(crate) has_handles: bool,
    /// Whether something stayed behind in the chain when output was above the high water mark.
    pub(crate) held_back: bool,
    /// Whether the handles know that no output waits.
    pub(crate) told_empty: bool,
    /// Whether a message is passing the stages outward: writes then go straight on.
    pub(crate) outbound: bool,
    /// Whether a callback wants what is queued to leave before anything else is done.
    pub(crate) flush_now: bool,
    /// Whether the write-stall deadline is armed.
    pub(crate) stall_armed: bool,
    /// Whether more has been written than the valve lets pass, so that the rest waits.
    pub(crate) output_held: bool,
    pub(crate) pulse: Pulse,
    /// The key of the next stage.
    owner_next: u32,
    rare: Option<Box<Rare>>,
}

/// What few connections need.
#[derive(Default)]
pub(crate) struct Rare {
    pub(crate) attributes: Attributes,
    /// Writes to be answered, by the place in the stream at which their last byte ends.
    pub(crate) completions: VecDeque<(u64, Completion)>,
    /// Told of marks among them.
    pub(crate) watcher: Option<Watcher>,
    /// The pipeline that takes over after the current message.
    pub(crate) upgrade: Option<AnyPipeline>,
    /// What the bytes of the connection pay to.
    pub(crate) valve: Valve,
    /// Files on their way out.
    pub(crate) parcels: Parcels,
}

impl Rare {
    /// Whether it holds nothing but attributes.
    fn is_plain(&self) -> bool {
        self.completions.is_empty() && self.upgrade.is_none() && self.parcels.is_empty()
    }
}

impl State {
    pub(crate) fn new(id: ConnectionId, peer: Peer, options: Arc<Options>) -> Self {
        Self {
            id,
            peer: peer.into(),
            options,
            output: Output::new(),
            timers: Timers::default(),
            closing: Closing::No,
            opened: false,
            decoded: true,
            garbled: false,
            failed: false,
            pauses: 0,
            above_high_water: false,
            owes_writable: Cell::new(false),
            has_handles: false,
            held_back: false,
            told_empty: true,
            outbound: false,
            flush_now: false,
            stall_armed: false,
            output_held: false,
            pulse: Pulse::default(),
            owner_next: 1,
            rare: None,
        }
    }

    pub(crate) fn peer(&self) -> Peer {
        self.peer.get()
    }

    pub(crate) fn set_peer(&mut self, peer: Peer) {
        self.peer = peer.into();
    }

    /// The worker is about to call the program's code for this connection.
    #[inline]
    pub(crate) fn enter(&self, stats: &WorkerStats, label: Label) {
        stats.whereabouts.enter(self.id.key(), &self.peer, label);
    }

    /// A key for a stage, never used before on this connection.
    pub(crate) fn new_owner(&mut self) -> u32 {
        let owner = self.owner_next;
        self.owner_next += 1;
        owner
    }

    pub(crate) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    /// Takes all of it away, at the end of the connection.
    pub(crate) fn take_rare(&mut self) -> Option<Box<Rare>> {
        self.rare.take()
    }

    #[inline]
    pub(crate) fn rare_ref(&self) -> Option<&Rare> {
        self.rare.as_deref()
    }

    #[inline]
    pub(crate) fn rare_mut(&mut self) -> Option<&mut Rare> {
        self.rare.as_deref_mut()
    }

    pub(crate) fn pause(&mut self, why: Pause) {
        self.pauses |= why.0;
    }

    /// Lifts a reason not to read; what was silent by our own doing begins anew.
    pub(crate) fn resume(&mut self, why: Pause, now: Stamp) {
        if self.pauses == 0 {
            return;
        }
        self.pauses &= !why.0;
        if self.pauses == 0 {
            self.pulse.note_resumed(now);
        }
    }

    /// Lets go of what belongs to a pipeline that another takes over from: its timers and pauses, the
    /// room it asked to be told of. Water marks are the connection's own.
    pub(crate) fn leave_pipeline(&mut self, now: Stamp) {
        self.timers.cancel_users();
        self.has_handles = false;
        self.told_empty = true;
        self.held_back = false;
        self.owes_writable.set(false);
        if let Some(rare) = self.rare_mut() {
            rare.valve = Valve::default();
        }
        self.output_held = false;
        self.resume(Pause(!(Pause::OUTPUT.0 | Pause::MEMORY.0)), now);
    }

    /// Lets go of what belongs to a stage that is taken out.
    pub(crate) fn leave_stage(&mut self, owner: u32, now: Stamp) {
        self.timers.cancel_owner(owner);
        if let Some(rare) = self.rare_mut()
            && rare.valve.remove(owner)
        {
            self.output_held = false;
            self.resume(Pause::SHAPED, now);
        }
    }

    pub(crate) fn is_paused_by(&self, why: Pause) -> bool {
        self.pauses & why.0 != 0
    }

    /// Why nothing is read.
    pub(crate) fn pause_names(&self) -> Vec<&'static str> {
        let holding = Pause::NAMES.iter();
        let holding = holding.filter(|(why, _)| self.is_paused_by(*why));
        holding.map(|(_, name)| *name).collect()
    }

    /// Whether nothing is read, for whatever reason.
    #[inline]
    pub(crate) fn is_paused(&self) -> bool {
        self.pauses != 0
    }

    /// Whether what has been read is not to be handled now either.
    #[inline]
    pub(crate) fn is_held_up(&self) -> bool {
        self.pauses & !(Pause::SHAPED.0 | Pause::MEMORY.0) != 0
    }

    /// Whether nothing is read for a reason that ends without the peer's doing.
    pub(crate) fn is_paused_by_us(&self) -> bool {
        self.pauses & !Pause::MEMORY.0 != 0
    }

    /// Asks for the end; the first asker of a kind stays, and a harder end outranks a softer one.
    pub(crate) fn close(&mut self, how: Closing) {
        let rank = |closing| match closing {
            Closing::No => 0,
            Closing::AfterAnswers(_) => 1,
            Closing::AfterFlush(_) => 2,
            Closing::Now(_) => 3,
        };
        if rank(how) > rank(self.closing) {
            self.closing = match (self.closing, how) {
                // What a callback failed with stays the reason when its last words cannot leave.
                (Closing::AfterFlush(why), Closing::Now(_)) if self.failed => Closing::Now(why),
                _ => how,
            };
        }
    }

    /// Ends the connection because a callback failed, and says so in the log.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a failure is dealt with once"
    )]
    pub(crate) fn fail(&mut self, failure: Failure) {
        self.log_failure(&failure);
        // What was answered before still leaves; nothing more is read or called.
        self.failed = true;
        self.close(Closing::AfterFlush(failure.reason()));
    }

    /// Ends the connection because the codec failed: what came before is answered first, by whatever
    /// handler, also on the pool.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a failure is dealt with once"
    )]
    pub(crate) fn fail_decoding(&mut self, failure: Failure, eof: bool) {
        self.garbled = true;
        // A frame that the peer's FIN cut off ends nothing by itself.
        if eof && failure.reason() == CloseReason::PeerClosed {
            return debug!(target: "netwheel::connection", "{} {}: {}", self.id,
                self.peer().address, failure.to_string().escape_debug());
        }
        self.log_failure(&failure);
        self.close(Closing::AfterAnswers(failure.reason()));
    }

    /// Ends the connection because what arrives has ended as it must not: what was read is answered first.
    #[expect(
        clippy::needless_pass_by_value,
        reason = "a failure is dealt with once"
    )]
    pub(crate) fn fail_input(&mut self, failure: Failure) {
        self.log_failure(&failure);
        self.close(Closing::AfterAnswers(failure.reason()));
    }

    fn log_failure(&self, failure: &Failure) {
        // What a peer can bring about is no error of the program's.
        let level = match failure.reason() {
            CloseReason::IoError | CloseReason::Panic => Level::Error,
            _ => Level::Warn,
        };
        // Escaped: the text may quote the peer, whose control bytes must not reach a terminal.
        let text = failure.to_string();
        log!(target: "netwheel::connection", level, "{} {}: closing: {}",
            self.id, self.peer().address, text.escape_debug());
    }

    /// Whether anything waits to leave.
    #[inline]
    pub(crate) fn has_output(&self) -> bool {
        !self.output.is_empty() || (self.rare.is_some() && self.has_parcels())
    }

    #[cold]
    fn has_parcels(&self) -> bool {
        self.rare_ref().is_some_and(|rare| !rare.parcels.is_empty())
    }

    /// Bytes in memory that wait to leave; files count for nothing.
    #[inline]
    pub(crate) fn queued(&self) -> usize {
        let queued = self.output.len();
        if self.rare.is_none() {
            return queued;
        }
        queued + self.behind_files()
    }

    #[cold]
    fn behind_files(&self) -> usize {
        self.rare_ref()
            .map_or(0, |rare| rare.parcels.behind_bytes())
    }

    /// Where in the stream what is written next will stand.
    pub(crate) fn stream_end(&self) -> u64 {
        let behind = self
            .rare_ref()
            .map_or(0, |rare| rare.parcels.stream_bytes());
        self.output.flushed() + self.output.len() as u64 + behind
    }

    /// Where what is written now belongs.
    #[inline]
    pub(crate) fn sink(&mut self) -> &mut Output {
        if self.rare.is_none() {
            return &mut self.output;
        }
        self.sink_behind_files()
    }

    #[cold]
    fn sink_behind_files(&mut self) -> &mut Output {
        let rare = self.rare.as_deref_mut();
        match rare.and_then(|rare| rare.parcels.sink()) {
            Some(behind) => behind,
            None => &mut self.output,
        }
    }

    /// Whether messages may still be written.
    #[inline]
    pub(crate) fn accepts_output(&self) -> bool {
        matches!(self.closing, Closing::No | Closing::AfterAnswers(_))
    }

    /// Whether nothing is out of the ordinary: no end is in sight, nothing is waited for, nobody else is to
    /// be told of anything. Where that is so, what a flush or a read brings about needs no look at each.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.closing == Closing::No
            && self.rare.as_ref().is_none_or(|rare| rare.is_plain())
            && self.pauses == 0
            && !self.has_handles
            && !self.stall_armed
            && !self.above_high_water
            && !self.owes_writable.get()
    }

    /// Whether the decoder must stop after the current message.
    #[inline]
    pub(crate) fn stops_decoding(&self) -> bool {
        self.is_held_up()
            || self.garbled
            || self.flush_now
            || !self.accepts_output()
            || self
                .rare
                .as_ref()
                .is_some_and(|rare| rare.upgrade.is_some())
            || self.wants_room()
    }

    /// Whether output is to be written first. Where nothing pauses by itself, only until that has been
    /// tried: what arrives meanwhile would pile up undecoded, and has no bound of its own.
    #[inline]
    fn wants_room(&self) -> bool {
        self.queued() > self.options.limits.high_water_bytes
            && (self.options.auto_pause || !self.above_high_water)
    }

    /// Notes that the write whose last byte is now queued is to be answered once it has left.
    pub(crate) fn complete_when_flushed(&mut self, done: Completion) {
        // A message without bytes, behind nothing: no write will come to tell of it.
        if !self.has_output() {
            self.tell_watcher(done.number());
            if !done.complete(Ok(())) {
                self.close(Closing::Now(CloseReason::Panic));
            }
            return;
        }
        let end = self.stream_end();
        self.rare().completions.push_back((end, done));
    }

    /// Answers the writes whose last byte has left; a completion that panics ends the connection.
    pub(crate) fn complete_flushed(&mut self, stats: &WorkerStats) {
        let mut mark = None;
        while let Some(done) = self.next_flushed() {
            if let Some(number) = done.number() {
                mark = Some(number);
                continue;
            }
            self.enter(stats, Label::COMPLETION);
            if !done.complete(Ok(())) {
                stats.panics.add(1);
                self.close(Closing::Now(CloseReason::Panic));
            }
            stats.whereabouts.leave();
        }
        self.tell_watcher(mark);
    }

    /// Tells of marked messages that have left.
    fn tell_watcher(&self, mark: Option<u64>) {
        if let (Some(mark), Some(rare)) = (mark, &self.rare)
            && let Some(watcher) = &rare.watcher
        {
            watcher(mark);
        }
    }

    /// The completion of the oldest unanswered write, once that has left.
    fn next_flushed(&mut self) -> Option<Completion> {
        let flushed = self.output.flushed();
        let completions = &mut self.rare.as_mut()?.completions;
        let (end, _) = completions.front()?;
        if *end > flushed {
            return None;
        }
        completions.pop_front().map(|(_, done)| done)
    }

    /// Answers all writes that have not left with `reason`.
    pub(crate) fn fail_completions(&mut self, reason: CloseReason, stats: &WorkerStats) {
        let Some(rare) = &mut self.rare else { return };
        for (_, done) in std::mem::take(&mut rare.completions) {
            if !done.complete(Err(reason)) {
                stats.panics.add(1);
            }
        }
    }

    pub(crate) fn next_timeout(&self) -> Option<Instant> {
        self.timers.next()
    }

    /// From now on the bytes of the connection pay to `bucket` too, until `owner` goes.
    pub(crate) fn add_toll(&mut self, owner: u32, way: Way, bucket: &Arc<Bucket>) {
        self.rare().valve.add(owner, way, bucket);
    }

    /// Bytes that may be read or written in one piece.
    #[inline]
    pub(crate) fn piece(&self, way: Way) -> usize {
        match &self.rare {
            Some(rare) => rare.valve.piece(way),
            None => usize::MAX,
        }
    }

    /// So many bytes have arrived.
    #[inline]
    pub(crate) fn note_read(&mut self, turn: &Turn, count: usize) {
        self.pulse.note_read(turn.stamp);
        if self.rare.is_some() {
            self.pay(Way::In, turn, count);
        }
    }

    /// Pays for bytes that have passed; the next wait where they were too fast.
    pub(crate) fn pay(&mut self, way: Way, turn: &Turn, count: usize) {
        let Some(at) = self
            .rare_ref()
            .and_then(|rare| rare.valve.pay(way, turn.now, count))
        else {
            return;
        };
        self.timers.arm(at, OWNER_LIBRARY, Due::Open(way));
        match way {
            Way::In => self.pause(Pause::SHAPED),
            Way::Out => self.output_held = true,
        }
    }
}
