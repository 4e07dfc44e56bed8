//! Values that stages and handlers keep with a connection.

use std::any::{Any, TypeId};
use std::fmt;

/// Typed values of one connection, at most one of each type.
///
/// Threads: the connection's worker, so the values need not be `Send`. Cost: a look at each value's
/// type; meant for a handful. Memory on first use only.
#[derive(Default)]
pub struct Attributes {
    values: Vec<(TypeId, Box<dyn Any>)>,
}

impl Attributes {
    /// Keeps `value`; answers the one of the same type that it replaces.
    pub fn insert<T: 'static>(&mut self, value: T) -> Option<T> {
        let before = self.remove::<T>();
        self.values.push((TypeId::of::<T>(), Box::new(value)));
        before
    }

    /// The value of type `T`.
    #[must_use]
    pub fn get<T: 'static>(&self) -> Option<&T> {
        self.values
            .iter()
            .find_map(|(_, value)| value.downcast_ref())
    }

    /// The value of type `T`, to change it.
    #[must_use]
    pub fn get_mut<T: 'static>(&mut self) -> Option<&mut T> {
        self.values
            .iter_mut()
            .find_map(|(_, value)| value.downcast_mut())
    }

    /// Takes the value of type `T` out.
    pub fn remove<T: 'static>(&mut self) -> Option<T> {
        let index = self
            .values
            .iter()
            .position(|(id, _)| *id == TypeId::of::<T>())?;
        let (_, value) = self.values.swap_remove(index);
        value.downcast().ok().map(|value| *value)
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Attributes")
            .field("len", &self.values.len())
            .finish()
    }
}
