//! What happens to a connection besides messages.

use std::any::Any;
use std::fmt;

use super::TimerKey;

/// Something that happened to a connection, told to its stages first to last and then to the handler.
#[non_exhaustive]
pub enum Event {
    /// A timer that this stage or handler armed is due; told to nobody else.
    Timer(TimerKey),
    /// A write has left output above the high water mark: what is written now waits behind it.
    Unwritable,
    /// Output has come down to the low water mark.
    Writable,
    /// The peer has sent its FIN; only told where `half_open` was asked for, otherwise the connection
    /// answers what it has read and closes.
    ReadClosed,
    /// The server is shutting down: what is written now is flushed, then the connection closes.
    ShuttingDown,
    /// An event of a stage's own, see [`Context::fire`](crate::Context::fire).
    User(Box<dyn Any>),
}

impl Event {
    /// The stage's own event, where it is one of type `T`.
    #[must_use]
    pub fn user<T: 'static>(&self) -> Option<&T> {
        match self {
            Self::User(event) => event.downcast_ref(),
            _ => None,
        }
    }
}

impl fmt::Debug for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Timer(key) => f.debug_tuple("Timer").field(key).finish(),
            Self::Unwritable => f.write_str("Unwritable"),
            Self::Writable => f.write_str("Writable"),
            Self::ReadClosed => f.write_str("ReadClosed"),
            Self::ShuttingDown => f.write_str("ShuttingDown"),
            Self::User(_) => f.write_str("User(..)"),
        }
    }
}
