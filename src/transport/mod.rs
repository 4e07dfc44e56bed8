//! The transport: sockets, and the loop that serves them.
//!
//! [`Worker`], [`Entry`](entry::Entry) and [`Endpoints`](endpoints::Endpoints) are generic over a [`Driver`], which supplies sockets, time
//! and the wait; `system` is the driver on mio. Nothing above or below this folder is generic over it.

mod driver;
mod endpoints;
mod entry;
pub(crate) mod system;
#[cfg(test)]
mod tests;
mod worker;

pub(crate) use driver::{Arrival, Driver, EndpointArrival, Readiness};
pub(crate) use worker::{Worker, WorkerSeed};
