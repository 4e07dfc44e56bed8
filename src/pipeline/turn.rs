//! What a worker lends to whatever runs during one turn.

use std::sync::Arc;

use super::pulse::Stamp;
use crate::buffer::Spare;
use crate::clock::{Clock, Instant};
use crate::executor::{Executor, RunLane};
use crate::fan_out::Board;
use crate::mailbox::Mailbox;
use crate::stats::WorkerStats;

/// The untyped, per-worker part of what callbacks see.
#[derive(Debug)]
pub(crate) struct Turn {
    /// When the turn began; read once, after the poll.
    pub(crate) now: Instant,
    /// The same in milliseconds, as connections keep it.
    pub(crate) stamp: Stamp,
    /// Which turn it is; wraps.
    pub(crate) number: u32,
    pub(crate) clock: Clock,
    pub(crate) mailbox: Arc<Mailbox>,
    /// Broadcasts to members of groups on this worker.
    pub(crate) board: Arc<Board>,
    /// The newest frame of the board that the members have.
    pub(crate) fanned_out: usize,
    pub(crate) stats: Arc<WorkerStats>,
    pub(crate) spare: Spare,
    /// Pools that were given work quietly in this turn, and how many lanes.
    called: Vec<(Executor, usize)>,
}

/// Lanes for which a pool's thread is called before the end of the turn: the pool may begin while the
/// worker is still reading, but not with a call for each connection.
const LANES_PER_CALL: usize = 32;

impl Turn {
    pub(crate) fn new(
        clock: Clock,
        mailbox: Arc<Mailbox>,
        stats: Arc<WorkerStats>,
        broadcast_bytes_max: usize,
    ) -> Self {
        let now = clock.now();
        Self {
            board: Arc::new(Board::new(Arc::clone(&mailbox), broadcast_bytes_max)),
            fanned_out: 0,
            now,
            stamp: Stamp::of(now),
            number: 0,
            clock,
            mailbox,
            stats,
            spare: Spare::default(),
            called: Vec::new(),
        }
    }

    /// The next turn begins.
    pub(crate) fn begin(&mut self) {
        self.read_clock();
        self.number = self.number.wrapping_add(1);
        self.stats.loop_turns.add(1);
        self.stats.whereabouts.begin_turn(self.now);
    }

    pub(crate) fn read_clock(&mut self) {
        self.now = self.clock.now();
        self.stamp = Stamp::of(self.now);
    }

    /// Whether broadcasts wait to be fanned out.
    pub(crate) fn has_broadcasts(&self) -> bool {
        self.board.issued() != self.fanned_out
    }

    /// Hands a lane to its pool; a thread is called for the turn's lanes together.
    pub(crate) fn submit_lane(&mut self, pool: &Executor, lane: Arc<dyn RunLane>) {
        pool.submit_lane_quietly(lane);
        let index = match self
            .called
            .iter()
            .position(|(called, _)| called.is_same(pool))
        {
            Some(index) => index,
            None => {
                self.called.push((pool.clone(), 0));
                self.called.len() - 1
            }
        };
        let lanes = &mut self.called[index].1;
        *lanes += 1;
        if lanes.is_multiple_of(LANES_PER_CALL) {
            pool.call();
        }
    }

    /// Calls the pools that were given work and not called yet.
    pub(crate) fn call_pools(&mut self) {
        if self.called.is_empty() {
            return;
        }
        for (pool, _) in self.called.drain(..) {
            pool.call();
        }
    }
}
