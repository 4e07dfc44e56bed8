//! The transport: sockets, and the loop that serves them.
//!
//! [`Worker`] and [`Entry`](entry::Entry) are generic over a [`Driver`], which supplies sockets, time
//! and the wait; `system` is the driver on mio. Nothing above or below this folder is generic over it.

mod driver;
mod entry;
pub(crate) mod system;
#[cfg(test)]
mod tests;
mod worker;

pub(crate) use driver::{Arrival, Driver, Readiness};
pub(crate) use worker::{Worker, WorkerSeed};
