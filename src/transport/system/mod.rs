//! The driver on the operating system; the only folder that names mio and socket2.

mod accept_error;
mod acceptor;
mod admission;
mod affinity;
mod datagrams;
mod driver;
#[cfg(unix)]
mod handed_over;
mod open_listener;
#[cfg(unix)]
mod receive;
mod reserve;
mod resolver;
mod send_file;
mod socket;

pub(crate) use acceptor::{Acceptor, AcceptorHandle, Order, WorkerDoor};
pub(crate) use admission::Admission;
pub(crate) use affinity::pin_to;
pub(crate) use datagrams::BoundDatagrams;
pub(crate) use driver::{Inbound, SystemDriver};
#[cfg(unix)]
pub(crate) use handed_over::{adopt, take as take_handed_over};
pub(crate) use resolver::Resolver;
pub(crate) use socket::{Bound, Plug, begin_connect, descriptor_limit};
