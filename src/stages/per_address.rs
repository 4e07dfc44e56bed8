//! So many connections of one address.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use log::debug;

use crate::error::{CloseReason, Result};
use crate::pipeline::{Context, Stage};
use crate::sync::lock;

/// Lets in so many connections of one IP address at a time; those beyond are closed with
/// [`CloseReason::Refused`] before anything behind it is told.
///
/// Clones count together. An address is the peer's, without its port; IPv4 mapped into IPv6 is IPv4. Many users may
/// share one address (NAT), so a limit of one is for machines that are known. Unix sockets have no address and pass.
///
/// Threads: any. Cost: a lock and a look into a hash map at each open and close; nothing a message. Limit: the map
/// holds addresses that are connected, no others.
///
/// ```
/// use netwheel::{Pipeline, Server, stages::PerAddress};
///
/// let few = PerAddress::at_most(4);
/// let server = Server::new().pipeline(move |_peer| {
///     Pipeline::raw().stage("few", few.clone()).handle(|cx, bytes| cx.write(bytes))
/// });
/// # let _ = server;
/// ```
#[must_use]
pub struct PerAddress {
    counts: Arc<Counts>,
    seat: Option<Seat>,
}

struct Counts {
    most: usize,
    connections: Mutex<HashMap<IpAddr, usize>>,
    refused: AtomicU64,
}

/// A connection that is counted; no longer once it is dropped, however it ends.
struct Seat {
    counts: Arc<Counts>,
    address: IpAddr,
}

impl PerAddress {
    /// One connection an address (Netty's `UniqueIpFilter`).
    pub fn one() -> Self {
        Self::at_most(1)
    }

    /// So many connections an address.
    pub fn at_most(count: usize) -> Self {
        Self {
            counts: Arc::new(Counts {
                most: count,
                connections: Mutex::default(),
                refused: AtomicU64::new(0),
            }),
            seat: None,
        }
    }

    /// Connections of `address` at the moment.
    #[must_use]
    pub fn count(&self, address: IpAddr) -> usize {
        let connections = lock(&self.counts.connections);
        connections
            .get(&address.to_canonical())
            .copied()
            .unwrap_or(0)
    }

    /// Connections that were turned away.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.counts.refused.load(Ordering::Relaxed)
    }
}

impl Seat {
    fn take(counts: &Arc<Counts>, address: IpAddr) -> Option<Self> {
        let mut connections = lock(&counts.connections);
        let taken = connections.get(&address).copied().unwrap_or(0);
        if taken >= counts.most {
            return None;
        }
        connections.insert(address, taken + 1);
        drop(connections);
        Some(Self {
            counts: Arc::clone(counts),
            address,
        })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut connections = lock(&self.counts.connections);
        match connections.get_mut(&self.address) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(connections.remove(&self.address)),
        }
    }
}

/// A clone counts together with this one, and is for another connection.
impl Clone for PerAddress {
    fn clone(&self) -> Self {
        Self {
            counts: Arc::clone(&self.counts),
            seat: None,
        }
    }
}

impl<In: 'static, Out: 'static> Stage<In, Out> for PerAddress {
    fn on_open(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        let Some(address) = cx.peer().ip() else {
            return Ok(());
        };
        self.seat = Seat::take(&self.counts, address);
        if self.seat.is_none() {
            self.counts.refused.fetch_add(1, Ordering::Relaxed);
            debug!(target: "netwheel::stages", "{} {address}: has {} connections already",
                cx.id(), self.counts.most);
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

impl fmt::Debug for PerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerAddress")
            .field("most", &self.counts.most)
            .field("addresses", &lock(&self.counts.connections).len())
            .field("refused", &self.refused())
            .finish_non_exhaustive()
    }
}
