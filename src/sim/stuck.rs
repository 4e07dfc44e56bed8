//! Who still waits, where a world should have come to rest.

use std::error::Error;
use std::fmt;

use super::engine::Engine;
use super::fabric::Fabric;
use super::host::Host;
use super::socket::{Phase, Socket};
use crate::sync::lock;

/// Lines of a list that is printed; the rest is counted.
const LINES_MAX: usize = 20;

/// The liveness phase has ended and something has not: who waits for what. Printed, it is a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    waits: Vec<String>,
}

impl Stuck {
    pub(super) fn new(mut waits: Vec<String>, done: bool) -> Self {
        if !done {
            waits.push("the test: what it waits for has not come".to_owned());
        }
        Self { waits }
    }

    /// A line for each that waits.
    #[must_use]
    pub fn waits(&self) -> &[String] {
        &self.waits
    }
}

impl Error for Stuck {}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the world has not come to rest; these wait:")?;
        for wait in self.waits.iter().take(LINES_MAX) {
            write!(f, "\n  {wait}")?;
        }
        match self.waits.len().saturating_sub(LINES_MAX) {
            0 => Ok(()),
            more => write!(f, "\n  and {more} more"),
        }
    }
}

/// All who wait, in a world that does nothing by itself at this moment.
pub(super) fn waits(engine: &Engine) -> Vec<String> {
    let fabric = lock(&engine.fabric);
    let mut waits = Vec::new();
    for host in &engine.hosts {
        if !host.is_up() {
            waits.push(format!("{}: it is down", host.face.name()));
            continue;
        }
        waits_of_host(host, &mut waits);
        let theirs = |socket: &&Socket| socket.node == host.face.id();
        let sockets = fabric.sockets.values().filter(theirs);
        let lines = sockets.filter_map(wait_of_socket);
        waits.extend(lines.map(|line| format!("{}: {line}", host.face.name())));
    }
    waits
}

fn waits_of_host(host: &Host, waits: &mut Vec<String>) {
    let (name, network) = (host.face.name(), &host.life.network);
    if let Some(at) = network.schedule.next() {
        let time = at.since(network.clock.now());
        waits.push(format!(
            "{name}: a client waits to dial, or for a name, for another {time:?}"
        ));
    }
    for (index, station) in host.life.stations.iter().enumerate() {
        if !station.mailbox.holds_no_messages() {
            waits.push(format!(
                "{name}: messages of handles wait for their connections, on worker {index}"
            ));
        }
    }
}

fn wait_of_socket(socket: &Socket) -> Option<String> {
    let what = socket.waiting()?;
    let peer = socket.addresses.address;
    Some(format!("the connection with {peer}: {what}"))
}

impl Socket {
    /// What keeps it from rest.
    fn waiting(&self) -> Option<String> {
        let (unread, carried) = (self.incoming.unread(), self.incoming.carried());
        if self.ghost {
            return None;
        }
        if self.phase == Phase::Connecting {
            return Some("it is being dialled".to_owned());
        }
        if unread > 0 {
            return Some(format!("{unread} bytes have arrived and are not read"));
        }
        (carried > 0).then(|| format!("{carried} bytes are on their way"))
    }
}

impl Fabric {
    /// Whether nothing is on its way and all that has arrived is read.
    pub(super) fn is_quiet(&self) -> bool {
        let mut sockets = self.sockets.values();
        self.next_due().is_none()
            && self.lookups.is_empty()
            && sockets.all(|socket| socket.waiting().is_none())
    }
}
