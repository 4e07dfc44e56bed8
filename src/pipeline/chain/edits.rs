//! Edits of a chain: stages that come and go.

use log::debug;

use super::Chain;
use crate::codec::Codec;
use crate::error::Result;
use crate::pipeline::Stage;
use crate::pipeline::handler::Terminal;
use crate::pipeline::stage::Slot;
use crate::pipeline::state::State;
use crate::pipeline::tail::{Edit, Place};
use crate::pipeline::turn::Turn;

impl<C: Codec, T: Terminal<C::In, C::Out>> Chain<C, T> {
    fn find(&self, name: &str) -> Option<usize> {
        self.slots.iter().position(|slot| slot.name == name)
    }

    pub(super) fn edit(
        &mut self,
        state: &mut State,
        turn: &mut Turn,
        edit: Edit<C::In, C::Out>,
    ) -> Result<()> {
        match edit {
            Edit::Remove { name } => {
                self.remove(state, turn, name);
                Ok(())
            }
            Edit::Replace { old, name, stage } => match self.remove(state, turn, old) {
                Some(index) => self.insert(state, turn, index, name, stage),
                None => Ok(()),
            },
            Edit::Add { at, name, stage } => {
                let index = match self.find(name) {
                    Some(_) => self.remove(state, turn, name).unwrap_or_default(),
                    None => self.place(state, at),
                };
                self.insert(state, turn, index, name, stage)
            }
        }
    }

    fn place(&self, state: &State, at: Place) -> usize {
        let missing = |name| {
            debug!(target: "netwheel::pipeline", "{}: no stage {name} to add next to", state.id);
        };
        match at {
            Place::First => 0,
            Place::Last => self.slots.len(),
            Place::Before(name) => self.find(name).unwrap_or_else(|| {
                missing(name);
                0
            }),
            Place::After(name) => self.find(name).map_or_else(
                || {
                    missing(name);
                    self.slots.len()
                },
                |index| index + 1,
            ),
        }
    }

    fn insert(
        &mut self,
        state: &mut State,
        turn: &mut Turn,
        index: usize,
        name: &'static str,
        stage: Box<dyn Stage<C::In, C::Out>>,
    ) -> Result<()> {
        self.slots.insert(
            index,
            Slot {
                name,
                key: state.new_owner(),
                label: turn.stats.whereabouts.label_of(name),
                stage,
            },
        );
        self.at_stage(index, state, turn, |stage, cx| stage.on_open(cx))
    }

    fn remove(&mut self, state: &mut State, turn: &mut Turn, name: &str) -> Option<usize> {
        let Some(index) = self.find(name) else {
            debug!(target: "netwheel::pipeline", "{}: no stage {name} to take out", state.id);
            return None;
        };
        self.at_stage(index, state, turn, |stage, cx| stage.on_removed(cx));
        let slot = self.slots.remove(index);
        state.leave_stage(slot.key, turn.stamp);
        self.tail.orphan_jobs(slot.key);
        Some(index)
    }
}
