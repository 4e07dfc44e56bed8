//! The driver on the operating system; the only folder that names mio and socket2.

mod acceptor;
mod affinity;
mod driver;
mod socket;

pub(crate) use acceptor::{Acceptor, AcceptorHandle, Order, WorkerDoor};
pub(crate) use affinity::pin_to;
pub(crate) use driver::{Inbound, SystemDriver};
pub(crate) use socket::{Bound, begin_connect, descriptor_limit};
