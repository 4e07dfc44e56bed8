//! A door that knows addresses.

use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use log::debug;
use slab::Slab;

use super::ip_rules::{IpRules, Verdict};
use crate::error::{CloseReason, Error, Result};
use crate::handle::{Announce, CloseRequest};
use crate::pipeline::{Context, Stage};
use crate::sync::lock;

/// Lets connections in by the peer's address; the rules may change while it runs.
///
/// Clones are one door: made once, cloned into each pipeline, and kept by whoever changes the rules. Whom it turns
/// away is closed with [`CloseReason::Refused`] before anything behind it is told. Where it
/// [closes open ones](Self::closing_open), new rules also end the connections that they would not let in. Peers
/// without an IP address (Unix sockets) pass.
///
/// Threads: any. Cost: a lock and a look through the rules at each open; nothing a message. A door that closes open
/// connections keeps a handle of each.
///
/// ```
/// use netwheel::{Pipeline, Server, stages::IpFilter};
///
/// # fn main() -> netwheel::Result<()> {
/// let door = IpFilter::parse("allow 127.0.0.0/8\ndeny all")?.closing_open();
/// let keys = door.clone();
/// let server = Server::new().pipeline(move |_peer| {
///     Pipeline::raw().stage("door", door.clone()).handle(|cx, bytes| cx.write(bytes))
/// });
/// keys.reload("deny 127.0.0.66\nallow 127.0.0.0/8\ndeny all".parse()?); // at any time, from any thread
/// # let _ = server;
/// # Ok(())
/// # }
/// ```
#[must_use]
pub struct IpFilter {
    door: Arc<Door>,
    closes_open: bool,
    seat: Option<Seat>,
}

struct Door {
    rules: Mutex<Arc<IpRules>>,
    seats: Mutex<Slab<(IpAddr, Arc<dyn Announce>)>>,
    refused: AtomicU64,
}

/// A connection's place among those that new rules may end; given up when it is dropped, however it ends.
struct Seat {
    door: Arc<Door>,
    number: usize,
}

impl IpFilter {
    /// A door with these rules.
    pub fn new(rules: IpRules) -> Self {
        Self {
            door: Arc::new(Door {
                rules: Mutex::new(Arc::new(rules)),
                seats: Mutex::default(),
                refused: AtomicU64::new(0),
            }),
            closes_open: false,
            seat: None,
        }
    }

    /// A door with rules as they are written in a file, see [`IpRules`].
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`](crate::ErrorKind::Config), with the line that is wrong.
    pub fn parse(rules: &str) -> Result<Self, Error> {
        rules.parse().map(Self::new)
    }

    /// New rules also close connections that are open and that they would not let in.
    pub fn closing_open(mut self) -> Self {
        self.closes_open = true;
        self
    }

    /// Puts new rules in the place of the old.
    pub fn reload(&self, rules: IpRules) {
        let rules = Arc::new(rules);
        *lock(&self.door.rules) = Arc::clone(&rules);
        let seats = lock(&self.door.seats);
        for (_, (address, handle)) in &*seats {
            if rules.verdict(*address) == Verdict::Deny {
                handle.request_close(CloseRequest::Now(CloseReason::Refused));
            }
        }
    }

    /// Connections that were turned away as they opened.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.door.refused.load(Ordering::Relaxed)
    }
}

impl Door {
    fn verdict(&self, address: IpAddr) -> Verdict {
        let rules = Arc::clone(&lock(&self.rules));
        rules.verdict(address)
    }
}

impl Seat {
    fn take(door: &Arc<Door>, address: IpAddr, handle: Arc<dyn Announce>) -> Self {
        let number = lock(&door.seats).insert((address, handle));
        Self {
            door: Arc::clone(door),
            number,
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        lock(&self.door.seats).remove(self.number);
    }
}

/// A clone is for another connection, which has no seat yet.
impl Clone for IpFilter {
    fn clone(&self) -> Self {
        Self {
            door: Arc::clone(&self.door),
            closes_open: self.closes_open,
            seat: None,
        }
    }
}

impl<In: 'static, Out: Send + 'static> Stage<In, Out> for IpFilter {
    fn on_open(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        let Some(address) = cx.peer().ip() else {
            return Ok(());
        };
        // Seated first: rules that come meanwhile see it, or are seen by it.
        if self.closes_open {
            self.seat = Some(Seat::take(&self.door, address, cx.announcer()));
        }
        if self.door.verdict(address) == Verdict::Deny {
            self.door.refused.fetch_add(1, Ordering::Relaxed);
            debug!(target: "netwheel::stages", "{} {address}: turned away", cx.id());
            cx.close(CloseReason::Refused);
        }
        Ok(())
    }

    fn on_removed(&mut self, _: &mut Context<'_, In, Out>) {
        self.seat = None;
    }

    fn on_close(&mut self, _: &mut Context<'_, In, Out>, _: CloseReason) {
        self.seat = None;
    }
}

impl fmt::Debug for IpFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IpFilter")
            .field("rules", &*lock(&self.door.rules))
            .field("refused", &self.refused())
            .finish_non_exhaustive()
    }
}
