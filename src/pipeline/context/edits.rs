//! Edits of the chain, as a callback asks for them.

use std::fmt;

use crate::pipeline::Stage;
use crate::pipeline::tail::{Action, Edit, Place, Tail};

/// Edits of the chain, to apply after the current message; each answers itself, so they can be strung together.
///
/// An edit that names a missing stage does nothing, but `add_before` and `add_after`, which then add
/// first and last; both are told in the log at debug level. Names are unique: adding one that is there
/// already replaces it in its place.
pub struct Edits<'a, In: 'static, Out: 'static> {
    pub(super) tail: &'a mut Tail<In, Out>,
}

impl<In: 'static, Out: 'static> fmt::Debug for Edits<'_, In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Edits")
    }
}

impl<In: 'static, Out: 'static> Edits<'_, In, Out> {
    /// Adds a stage next to the codec.
    pub fn add_first(&mut self, name: &'static str, stage: impl Stage<In, Out>) -> &mut Self {
        self.add(Place::First, name, Box::new(stage))
    }

    /// Adds a stage next to the handler.
    pub fn add_last(&mut self, name: &'static str, stage: impl Stage<In, Out>) -> &mut Self {
        self.add(Place::Last, name, Box::new(stage))
    }

    /// Adds a stage on the codec's side of `at`.
    pub fn add_before(
        &mut self,
        at: &'static str,
        name: &'static str,
        stage: impl Stage<In, Out>,
    ) -> &mut Self {
        self.add(Place::Before(at), name, Box::new(stage))
    }

    /// Adds a stage on the handler's side of `at`.
    pub fn add_after(
        &mut self,
        at: &'static str,
        name: &'static str,
        stage: impl Stage<In, Out>,
    ) -> &mut Self {
        self.add(Place::After(at), name, Box::new(stage))
    }

    /// Puts a stage in the place of `old`.
    pub fn replace(
        &mut self,
        old: &'static str,
        name: &'static str,
        stage: impl Stage<In, Out>,
    ) -> &mut Self {
        self.push(Edit::Replace {
            old,
            name,
            stage: Box::new(stage),
        })
    }

    /// Takes a stage out; its timers go with it.
    pub fn remove(&mut self, name: &'static str) -> &mut Self {
        self.push(Edit::Remove { name })
    }

    fn add(&mut self, at: Place, name: &'static str, stage: Box<dyn Stage<In, Out>>) -> &mut Self {
        self.push(Edit::Add { at, name, stage })
    }

    fn push(&mut self, edit: Edit<In, Out>) -> &mut Self {
        self.tail.deferred().actions.push_back(Action::Edit(edit));
        self
    }
}
