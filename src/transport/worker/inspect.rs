//! The step of a turn that tells whoever asked of the worker's connections, some slots at a time.

use std::sync::Arc;

use super::Worker;
use crate::inspection::Inquiry;
use crate::limits::INSPECTED_PER_TURN;
use crate::transport::driver::Driver;

/// How far the worker has come with what it was asked.
#[derive(Debug, Default)]
pub(super) struct Inspection {
    /// Whether there may be something to do.
    wanted: bool,
    /// The inquiry in hand, and the slot to go on at.
    current: Option<(Arc<Inquiry>, usize)>,
}

impl Inspection {
    /// Something was put on the desk.
    pub(super) fn begin(&mut self) {
        self.wanted = true;
    }

    pub(super) fn is_busy(&self) -> bool {
        self.wanted
    }
}

impl<D: Driver> Worker<D> {
    /// Describes a piece of the connections, where somebody asked.
    #[inline]
    pub(super) fn inspect(&mut self) {
        if self.inspection.is_busy() {
            self.inspect_some();
        }
    }

    #[cold]
    fn inspect_some(&mut self) {
        let current = self.inspection.current.take();
        let current = current.or_else(|| Some((self.turn.stats.desk.take()?, 0)));
        let Some((inquiry, from)) = current else {
            self.inspection.wanted = false;
            return;
        };
        if inquiry.is_abandoned() {
            return;
        }
        let end = self.slots.slots_used().min(from + INSPECTED_PER_TURN);
        let entries = (from..end).filter_map(|slot| self.slots.at_slot(slot));
        inquiry.add(entries, |entry| entry.describe(self.turn.now));
        if end < self.slots.slots_used() {
            self.inspection.current = Some((inquiry, end));
        }
    }

    /// Lets go of what was not answered.
    pub(super) fn end_inspections(&mut self) {
        self.inspection = Inspection::default();
        self.turn.stats.desk.close();
    }
}
