//! A connection that sends files: what its worker asks before it writes, and tells behind it.

use log::error;

use super::Connection;
use crate::error::{CloseReason, Result};
use crate::file_region::FileRegion;
use crate::panics::contain;
use crate::pipeline::{Closing, Parcels, State, Turn};
use crate::whereabouts::Label;

impl Connection {
    /// Makes the output ready to be written: copies of the file whose turn it is, unless that goes straight to the
    /// socket (`direct`), and passes the filters.
    #[inline]
    pub(crate) fn prepare(&mut self, turn: &mut Turn, direct: bool) {
        if self.sends_file() && !(direct && self.filters.is_none()) {
            self.with_parcels(turn, |parcels, state| {
                parcels.copy(&mut state.output, state.options.limits.low_water_bytes)
            });
        }
        self.seal(turn);
    }

    /// Whether a file is on its way.
    #[inline]
    fn sends_file(&self) -> bool {
        self.state
            .rare_ref()
            .is_some_and(|rare| !rare.parcels.is_empty())
    }

    /// Whether nothing but a file is left to send, and more of it may go.
    pub(crate) fn wants_more_of_file(&self) -> bool {
        self.state.output.is_empty() && self.sends_file()
    }

    /// The file that is to go straight to the socket now.
    pub(crate) fn file(&self) -> Option<&FileRegion> {
        let rare = self.state.rare_ref()?;
        rare.parcels
            .first()
            .filter(|_| self.state.output.is_empty())
    }

    /// The socket has taken so many bytes of the file.
    pub(crate) fn advance_file(&mut self, turn: &Turn, count: usize) {
        self.with_parcels(turn, |parcels, state| {
            parcels.advance(count, &mut state.output);
            Ok(())
        });
    }

    /// Calls what may call the program (its progress is told) or fail; that ends this connection only.
    fn with_parcels(
        &mut self,
        turn: &Turn,
        call: impl FnOnce(&mut Parcels, &mut State) -> Result<()>,
    ) {
        let state = &mut self.state;
        let mut parcels = std::mem::take(&mut state.rare().parcels);
        state.enter(&turn.stats, Label::COMPLETION);
        let outcome = contain(|| call(&mut parcels, state));
        turn.stats.whereabouts.leave();
        match outcome {
            Ok(Ok(())) => state.rare().parcels = parcels,
            // What follows would stand where the rest of the file belongs.
            Ok(Err(failure)) => {
                state.fail(failure);
                state.close(Closing::Now(CloseReason::IoError));
            }
            Err(_) => {
                error!(target: "netwheel::connection", "{} {}: the progress of a file panicked",
                    state.id, state.peer().address);
                turn.stats.panics.add(1);
                state.close(Closing::Now(CloseReason::Panic));
            }
        }
    }
}
