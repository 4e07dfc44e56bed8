//! The step of a turn that writes broadcasts into the outputs of the members of groups.
//!
//! ```text
//!   board ─> frames of one group in a row, joined ─> for each member: output, write
//! ```
//! Each member is written at once, while the buffer that its output was lent is in the processor's cache: a
//! thousand members need one buffer, and not a thousand. One that is on the list of those to be flushed at
//! the end of the turn anyway is left to that.

use bytes::{Bytes, BytesMut};

use super::Worker;
use crate::fan_out::{Frame, Member, SlowMember};
use crate::id::Key;
use crate::transport::driver::Driver;
use crate::transport::entry::{Entry, Io, Phase};

/// What is being fanned out, and to whom; only the memory stays between two turns.
#[derive(Default)]
pub(super) struct Fan {
    frames: Vec<Frame>,
    members: Vec<Member>,
}

/// Frames of one group, one behind the other on the board, at least one.
struct Run<'a> {
    frames: &'a [Frame],
    joined: Bytes,
    /// Whom some frame is not for.
    excepted: Vec<Key>,
    /// Whether no message waits that a frame has to keep its order with; saves a look at each member's
    /// outbox, which is in nobody's cache.
    alone: bool,
}

/// What came of a run, once for each member and frame.
#[derive(Default)]
struct Outcome {
    queued: u64,
    dropped: u64,
    closed: u64,
}

impl<'a> Run<'a> {
    fn new(frames: &'a [Frame], alone: bool) -> Self {
        let joined = match frames {
            [only] => only.bytes.clone(),
            _ => {
                let len = frames.iter().map(|frame| frame.bytes.len()).sum();
                let mut joined = BytesMut::with_capacity(len);
                for frame in frames {
                    joined.extend_from_slice(&frame.bytes);
                }
                joined.freeze()
            }
        };
        let mut excepted: Vec<_> = frames.iter().filter_map(|frame| frame.except).collect();
        excepted.sort_unstable();
        Self {
            frames,
            joined,
            excepted,
            alone,
        }
    }

    fn slow(&self) -> SlowMember {
        self.frames[0].audience.slow
    }

    fn last(&self) -> usize {
        self.frames[self.frames.len() - 1].number
    }

    /// Whether every frame is for this member.
    fn is_all_for(&self, member: Member) -> bool {
        member.since < self.frames[0].number && self.excepted.binary_search(&member.key).is_err()
    }
}

impl<D: Driver> Worker<D> {
    /// Fans out what waits on the board, as much as a turn may.
    pub(super) fn fan_out(&mut self) {
        if !self.turn.has_broadcasts() {
            return;
        }
        self.last_event = self.turn.now;
        let mut fan = std::mem::take(&mut self.fan);
        let bytes_max = self.limits.broadcast_bytes_per_turn;
        self.turn.board.take(&mut fan.frames, bytes_max);
        let same = |one: &Frame, other: &Frame| one.is_for_same(other);
        for frames in fan.frames.chunk_by(same) {
            let run = Run::new(frames, self.turn.mailbox.holds_no_messages());
            self.fan_out_run(&run, &mut fan.members);
            self.turn.fanned_out = run.last();
        }
        fan.frames.clear();
        self.fan = fan;
    }

    fn fan_out_run(&mut self, run: &Run<'_>, members: &mut Vec<Member>) {
        let audience = &run.frames[0].audience;
        audience.list(members);
        let mut outcome = Outcome::default();
        for member in members.drain(..) {
            // Nobody else named it, so one that a callback has just closed is no stale event.
            if self.slots.get_mut(member.key).is_none() {
                continue;
            }
            let Some((entry, mut io)) = self.entry(member.key) else {
                continue;
            };
            entry.hear(run, member, &mut io, &mut outcome);
            self.settle(member.key);
        }
        let tally = &audience.tally;
        tally.queued.add(outcome.queued);
        tally.dropped.add(outcome.dropped);
        tally.closed.add(outcome.closed);
    }
}

impl<S> Entry<S> {
    /// Queues a run for one member, and writes it.
    fn hear<D: Driver<Stream = S>>(
        &mut self,
        run: &Run<'_>,
        member: Member,
        io: &mut Io<'_, D>,
        outcome: &mut Outcome,
    ) {
        if self.phase != Phase::Open || !self.connection.hears_broadcasts() {
            return;
        }
        let behind = !run.alone && self.connection.is_behind();
        let fits = self.connection.stays_below_mark(run.joined.len());
        if fits && !behind && run.is_all_for(member) {
            let count = run.frames.len() as u64;
            self.connection
                .push_frames(io.turn, run.joined.clone(), count);
            outcome.queued += count;
        } else {
            self.hear_each(run, member, io, outcome);
        }
        if self.wants_flush() {
            if !self.in_dirty {
                self.flush(io);
            }
        } else {
            self.connection.broadcasts_queued(io.turn);
        }
    }

    /// Frame by frame, for a member that is not to get them all, has other messages waiting that come before or
    /// between them, or may not have room for all.
    fn hear_each<D: Driver<Stream = S>>(
        &mut self,
        run: &Run<'_>,
        member: Member,
        io: &mut Io<'_, D>,
        outcome: &mut Outcome,
    ) {
        let fanned_out = io.turn.fanned_out;
        for frame in run.frames {
            if frame.number <= member.since || frame.except == Some(member.key) {
                continue;
            }
            io.turn.fanned_out = frame.number - 1;
            if self.connection.is_behind() {
                self.connection.catch_up(io.turn);
            }
            if !self.connection.hears_broadcasts() {
                break;
            }
            self.hear_one(frame, run.slow(), io, outcome);
        }
        io.turn.fanned_out = fanned_out;
    }

    /// One frame, after what was accepted before it; what is over the marks is up to the group.
    fn hear_one<D: Driver<Stream = S>>(
        &mut self,
        frame: &Frame,
        slow: SlowMember,
        io: &mut Io<'_, D>,
        outcome: &mut Outcome,
    ) {
        if !self.connection.keeps_up() && self.wants_flush() {
            self.flush(io);
            if self.connection.is_behind() {
                self.connection.catch_up(io.turn);
            }
        }
        let len = frame.bytes.len();
        // One that is only out of budget for this turn is not slow.
        let may_queue = slow == SlowMember::Queue || !self.is_blocked();
        if !self.connection.keeps_up() && may_queue && self.connection.is_behind() {
            self.connection.catch_up_fully(io.turn);
        }
        let connection = &self.connection;
        let fits = connection.keeps_up() || (may_queue && connection.takes(len));
        if !self.connection.hears_broadcasts() {
            return;
        }
        if fits {
            self.connection.push_frames(io.turn, frame.bytes.clone(), 1);
            outcome.queued += 1;
        } else if slow == SlowMember::Close {
            self.connection.end_slow();
            outcome.closed += 1;
        } else {
            outcome.dropped += 1;
        }
    }
}
