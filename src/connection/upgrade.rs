//! A pipeline that takes the place of another.

use super::{Connection, drop_quietly};
use crate::pipeline::{AnyPipeline, Turn};

impl Connection {
    pub(super) fn swap_all(&mut self, turn: &mut Turn) {
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
}
