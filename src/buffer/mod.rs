//! Buffers: what was read and not yet decoded, and what is queued and not yet written.
//!
//! Both belong to a worker rather than to a connection: an idle connection holds neither.

mod inbox;
mod output;
mod spare;

pub(crate) use inbox::{Inbox, Room};
pub(crate) use output::Queued;
pub use output::{Output, SHARED_BYTES_MIN};
pub(crate) use spare::Spare;
