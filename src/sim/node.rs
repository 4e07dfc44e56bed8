//! A node from the outside.

use std::cell::RefCell;
use std::fmt;
use std::net::IpAddr;
use std::rc::Weak;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::engine::Engine;
use super::host::Life;
use super::links::{NodeId, address_of};
use super::network::MemoryNetwork;
use crate::net::Net;
use crate::sync::lock;

/// What may be known of a node while its world runs.
pub(super) struct Face {
    id: NodeId,
    name: String,
    up: AtomicBool,
    net: Mutex<Net>,
}

impl Face {
    pub(super) fn new(id: NodeId, name: &str, network: &Arc<MemoryNetwork>) -> Self {
        Self {
            id,
            name: name.to_owned(),
            up: AtomicBool::new(true),
            net: Mutex::new(Life::net(network)),
        }
    }

    pub(super) const fn id(&self) -> NodeId {
        self.id
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    pub(super) fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::Relaxed);
    }

    pub(super) fn net(&self) -> Net {
        lock(&self.net).clone()
    }

    /// Another life has begun.
    pub(super) fn live(&self, network: &Arc<MemoryNetwork>) {
        *lock(&self.net) = Life::net(network);
        self.set_up(true);
    }
}

/// A machine in a [world](crate::sim::World): workers, an address, a clock, and programs of its own.
///
/// Others dial it by its name, such as `client.connect("store:7000")`, or by its [address](Self::address); it
/// binds `0.0.0.0` or that address. A clone is the same node.
///
/// ```
/// use std::time::Duration;
/// use netwheel::sim::World;
/// use netwheel::{Client, Pipeline, Server};
///
/// let world = World::new(1);
/// let (store, shop) = (world.node("store"), world.node("shop"));
/// store.start(|net| {
///     Server::on(net)
///         .pipeline(|_peer| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
///         .listen("0.0.0.0:7000").unwrap()
///         .start().unwrap()
/// });
/// let client = Client::on(&shop.net())
///     .pipeline(|| Pipeline::raw().handle(|_, _| Ok(())))
///     .connect("store:7000").unwrap();
/// client.try_send("hello".into()).unwrap();
/// world.run_for(Duration::from_secs(1));
/// assert_eq!(store.net().stats().accepted, 1);
///
/// store.crash(); // nobody hears of it, until the client sends something to the node that is up again
/// store.restart();
/// client.try_send("anybody?".into()).unwrap();
/// world.run_for(Duration::from_secs(1));
/// assert_eq!(client.closed(), Some(netwheel::CloseReason::Reset));
/// ```
///
/// Threads: the world's. Limit: 65,535 nodes a world.
#[derive(Clone)]
pub struct Node {
    pub(super) face: Arc<Face>,
    pub(super) world: Weak<RefCell<Engine>>,
}

impl Node {
    /// Its name, by which others dial it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.face.name()
    }

    /// Its address: 10.1.0.1 for the first node, and so on.
    #[must_use]
    pub fn address(&self) -> IpAddr {
        address_of(self.face.id)
    }

    /// The network of its present life: what is put on it is gone after a crash, and so is the network,
    /// which refuses everything from then on.
    #[must_use]
    pub fn net(&self) -> Net {
        self.face.net()
    }

    /// Whether it is up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.face.is_up()
    }

    /// Starts a program: calls `setup` with the node's network, now and after each restart, and keeps what
    /// it returns, such as a running server or a client's handle, until the node crashes.
    ///
    /// What outlives a crash, as a disk does, is what `setup` shares with the test. It must not run the
    /// world: that runs it, when a restart comes in the middle of a run.
    pub fn start<T: 'static>(&self, mut setup: impl FnMut(&Net) -> T + 'static) {
        self.with(|engine| engine.start(self.face.id, Box::new(move |net| Box::new(setup(net)))));
    }

    /// Takes it down, unless it is, without a word to anybody: none of its callbacks is called any more, and
    /// no FIN leaves. Its peers hear nothing until they send something and it is up again: a reset then.
    ///
    /// What its programs had in memory stops where it was and is dropped with the world; what tells of that, such
    /// as a client's `on_state`, tells of it then. A handle that the test keeps of them does nothing any more.
    pub fn crash(&self) {
        self.with(|engine| engine.crash(self.face.id));
    }

    /// Brings it up, unless it is, with its programs set up anew.
    pub fn restart(&self) {
        self.with(|engine| engine.restart(self.face.id));
    }

    /// From now on its clock is fast by so many millionths of a second each second, or slow by them: its
    /// timers come early or late for everybody else.
    ///
    /// # Panics
    ///
    /// For -1,000,000 and less: time goes on.
    pub fn set_drift(&self, millionths: i32) {
        assert!(millionths > -1_000_000, "time does not stand still");
        self.with(|engine| {
            let now = engine.clock.now();
            engine.hosts[self.face.id].set_drift(now, millionths);
        });
    }

    fn with(&self, act: impl FnOnce(&mut Engine)) {
        let engine = self.world.upgrade();
        let engine = engine.expect("the world is there, since its nodes are spoken to");
        let mut engine = engine
            .try_borrow_mut()
            .expect("a world is not changed by what runs in it");
        act(&mut engine);
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node")
            .field("name", &self.name())
            .field("is_up", &self.is_up())
            .finish_non_exhaustive()
    }
}
