//! The office: everything that is said or asked goes over its desk, and one job at a time works it off.
//!
//! ```text
//!   connections ──orders──> [ desk ] ──up to 512──> one change of the store ──> deliveries, answers
//! ```
//! A message is on the disk before anybody hears of it, and the flush is shared by all that came meanwhile. Since
//! there is one such job and never two, messages have one order everywhere, and whoever comes, reads what was
//! missed, and then hears what is new, has no gap in between and nothing twice.
//!
//! The store is where messages wait: for receivers who are away, and for those who read too slowly. What is sent
//! to a connection is bounded, and the rest is read from the store when there is room: what is in an inbox, and what
//! was missed in a room, which one hears from the moment on in which nothing is missing any more. Only answers wait
//! nowhere: who does not take them is closed.

mod backlog;
mod hall;
mod note;
mod order;
mod refused;
mod rooms;
mod seat;
mod visitor;

pub use order::{Command, Order};
pub use visitor::{Device, Visitor};

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, Weak};

use log::error;
use netwheel::Executor;

use crate::limits::{
    DESK_BYTES_MAX, DESK_NEWS_MAX, DESK_ORDERS_MAX, DESK_ORDERS_PER_SESSION_MAX, ORDERS_PER_COMMIT,
};
use crate::lock;
use crate::store::Store;
use hall::Hall;

/// How the office does what it does.
#[derive(Clone, Copy, Debug)]
pub struct OfficeOptions {
    /// Whether a sender's other devices get a copy; they do unless told otherwise.
    pub copies: bool,
    /// Milliseconds since 1970, for the time of messages.
    pub clock: fn() -> u64,
}

/// Who is there, and what goes to whom. A clone is the same office.
///
/// Threads: any. Cost: a lock and a push; the work is done on a thread of its own. Limit:
/// [`DESK_ORDERS_MAX`] orders and [`DESK_BYTES_MAX`] wait.
#[derive(Clone)]
pub struct Office {
    shared: Arc<Shared>,
}

/// An office that may be gone.
#[derive(Clone)]
pub(crate) struct WeakOffice(Weak<Shared>);

struct Shared {
    /// One thread, so that nothing else delays the orders.
    pool: Executor,
    desk: Mutex<Desk>,
    /// Held by the one job that works.
    hall: Mutex<Hall>,
}

#[derive(Default)]
struct Desk {
    orders: VecDeque<Order>,
    /// Of these, how many count for the bound, and their bytes.
    counted: usize,
    bytes: usize,
    /// Whether a job works on them, or is about to.
    worked_on: bool,
}

/// Nothing was done: the office has too much to do, or one connection asks too much of it. The order comes back.
#[derive(Debug)]
pub struct Busy(pub Order);

impl Office {
    /// An office over a store, whose work `pool` does: a pool of its own, of one thread, that has room for a job of
    /// each connection beside the office's one.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn new(pool: Executor, store: Arc<dyn Store>, options: OfficeOptions) -> io::Result<Self> {
        Ok(Self {
            shared: Arc::new(Shared {
                pool,
                desk: Mutex::default(),
                hall: Mutex::new(Hall::new(store, options)?),
            }),
        })
    }

    /// Puts something that a visitor wants on the desk; the answer goes to the visitor's connection.
    ///
    /// # Errors
    ///
    /// [`Busy`] gives the order back when too much waits.
    pub fn ask(&self, order: Order) -> Result<(), Box<Busy>> {
        let waiting = order.visitor().waiting();
        let mut desk = lock(&self.shared.desk);
        let full = desk.counted >= DESK_ORDERS_MAX || desk.bytes >= DESK_BYTES_MAX;
        if full || waiting >= DESK_ORDERS_PER_SESSION_MAX {
            return Err(Box::new(Busy(order)));
        }
        desk.counted += 1;
        desk.bytes += order.bytes();
        order.visitor().count_in();
        self.push(desk, order);
        Ok(())
    }

    /// Whether so much waits that nobody more is to be let in.
    #[must_use]
    pub fn is_full(&self) -> bool {
        lock(&self.shared.desk).orders.len() >= DESK_NEWS_MAX
    }

    /// Puts news of a connection on the desk: never refused. There are three for each session at the most, that it
    /// has come, that it is to be looked at, and that it has gone; and no session begins while the office
    /// [is full](Self::is_full).
    pub fn tell(&self, order: Order) {
        self.push(lock(&self.shared.desk), order);
    }

    /// The pool that does the work: a job there runs when what lies on the desk now is done.
    pub(crate) fn pool(&self) -> &Executor {
        &self.shared.pool
    }

    pub(crate) fn downgrade(&self) -> WeakOffice {
        WeakOffice(Arc::downgrade(&self.shared))
    }

    fn push(&self, mut desk: MutexGuard<'_, Desk>, order: Order) {
        desk.orders.push_back(order);
        if !std::mem::replace(&mut desk.worked_on, true) {
            drop(desk);
            self.call();
        }
    }

    /// Sets a job to work.
    fn call(&self) {
        let shared = Arc::clone(&self.shared);
        if self.shared.pool.try_execute(move || shared.work()).is_err() {
            // There is one job and never two, so the pool has room. The next order tries again.
            error!("the office's pool is full");
            lock(&self.shared.desk).worked_on = false;
        }
    }
}

impl WeakOffice {
    pub(crate) fn upgrade(&self) -> Option<Office> {
        self.0.upgrade().map(|shared| Office { shared })
    }
}

impl fmt::Debug for WeakOffice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Office")
    }
}

impl Shared {
    /// Works until the desk is empty.
    fn work(&self) {
        let leave = Leave(&self.desk);
        let mut hall = lock(&self.hall);
        while let Some(orders) = self.take() {
            hall.serve(orders);
        }
        // It was empty under the lock, and somebody else may be at work by now.
        std::mem::forget(leave);
    }

    fn take(&self) -> Option<Vec<Order>> {
        let mut desk = lock(&self.desk);
        let count = desk.orders.len().min(ORDERS_PER_COMMIT);
        let orders: Vec<_> = desk.orders.drain(..count).collect();
        desk.worked_on = !orders.is_empty();
        desk.bytes -= orders.iter().map(Order::bytes).sum::<usize>();
        let counted = orders.iter().filter(|order| order.is_counted());
        desk.counted -= counted.map(|order| order.visitor().count_out()).count();
        desk.worked_on.then_some(orders)
    }
}

/// Lets the next order call a new job, should this one panic.
struct Leave<'a>(&'a Mutex<Desk>);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        lock(self.0).worked_on = false;
    }
}

impl fmt::Debug for Office {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Office")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use netwheel::sim::World;
    use netwheel::{Client, Pipeline, RunningServer, Server};

    use super::*;
    use crate::protocol::{Frame, HeadContent};
    use crate::store::MemoryStore;

    /// A visitor on a connection of a world that stands still, and the other end.
    pub(super) fn visitor(world: &World, at: &str) -> (Arc<Visitor>, RunningServer) {
        let silent = || Pipeline::new(HeadContent).handle(|_, _: Frame| Ok(()));
        let server = Server::on(world).pipeline(move |_peer| silent());
        let server = server.listen(at).expect("its own address");
        let server = server.start().expect("a network");
        let client = Client::on(world).pipeline(silent);
        let handle = client.connect(at).expect("an address");
        assert!(world.run_until(Duration::from_secs(10), || server.connections() == 1));
        let options = OfficeOptions {
            copies: true,
            clock: || 0,
        };
        let pool = world.net().executor(1);
        let office = Office::new(pool, Arc::new(MemoryStore::default()), options);
        let office = office.expect("a new store");
        let visitor = Visitor::new(&office, Device::new("ann", 0), handle);
        (visitor, server)
    }
}
