//! Worlds in memory: whole servers and clients on one thread, in virtual time, by a seed.
//!
//! Test your service against a thousand bad networks in a second.
//!
//! ```text
//!            ┌───────────────────────── World ──────────────────────────┐
//!   Net ──>  │ node "store"           node "shop"         ...           │
//!            │ workers, pools, clock  workers, pools, clock             │ ──> trace_hash
//!   seed ──> │ fabric: sockets, bytes in flight, time, chance, faults   │     faults_fired
//!            └──────────────────────────────────────────────────────────┘
//! ```
//! A function that takes a [`Net`](crate::Net) runs unchanged on a reactor and in here: give it
//! [`World::net`], or that of a [`Node`]. What happens next is chosen by the seed: which worker turns, which
//! bytes arrive, when a pool runs, how short a read or write comes out, when a socket is full. Every choice is
//! one that a real network, kernel and scheduler may make too, so a test that fails under some seed has found
//! a bug; and the same seed makes the same choices, so it can be looked at as often as it takes.
//!
//! ```
//! use netwheel::sim::Runs;
//! use netwheel::{Client, Pipeline, Server};
//!
//! Runs::seeds(0..20).run(|world| {
//!     let server = Server::on(world)
//!         .pipeline(|_peer| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
//!         .listen("10.0.0.1:7000").unwrap()
//!         .start().unwrap();
//!     let (tx, rx) = std::sync::mpsc::channel();
//!     let client = Client::on(world)
//!         .pipeline(move || {
//!             let tx = tx.clone();
//!             Pipeline::raw().handle(move |_, bytes| Ok(tx.send(bytes)?))
//!         })
//!         .connect("10.0.0.1:7000").unwrap();
//!     client.try_send("hello".into()).unwrap();
//!     world.run_until_idle();
//!     let echo: Vec<u8> = rx.try_iter().flatten().collect();
//!     assert_eq!(echo, b"hello");
//!     server.shutdown(std::time::Duration::from_secs(1));
//! });
//! ```
//!
//! # Faults
//!
//! By default a world is [gentle](Faults::gentle): bytes come in scraps, late, and find sockets full, but they
//! come. With [`Faults::all`] connections break, FINs come that nobody sent, nodes do not reach each other for a
//! while, or in one direction only, crash and come back without their memory, and their clocks drift. The seed
//! draws how often each happens, and leaves some out. A test has three parts: programs that are put on
//! [nodes](World::node), a phase in which things go wrong, and a phase in which they do not any more, by the
//! end of which all must have recovered ([`World::drain`]).
//!
//! ```
//! use std::sync::atomic::{AtomicUsize, Ordering};
//! use std::sync::Arc;
//! use std::time::Duration;
//! use netwheel::codec::LengthField;
//! use netwheel::sim::{Faults, Runs};
//! use netwheel::{Backoff, Client, Pipeline, Server};
//!
//! let minute = Duration::from_secs(60);
//! let summary = Runs::seeds(0..30).faults(Faults::all()).run(|world| {
//!     let (store, shop) = (world.node("store"), world.node("shop"));
//!     store.start(|net| {
//!         Server::on(net)
//!             .pipeline(|_peer| Pipeline::new(LengthField::u16()).handle(|cx, frame| cx.write(frame)))
//!             .listen("0.0.0.0:7000").unwrap()
//!             .start().unwrap()
//!     });
//!     let opened = Arc::new(AtomicUsize::new(0)); // what outlives a crash of the shop
//!     let count = Arc::clone(&opened);
//!     shop.start(move |net| {
//!         let count = Arc::clone(&count);
//!         Client::on(net)
//!             .reconnect(Backoff::every(Duration::from_millis(100)))
//!             .pipeline(move || {
//!                 count.fetch_add(1, Ordering::Relaxed);
//!                 Pipeline::new(LengthField::u16()).handle(|_, _frame: bytes::Bytes| Ok(()))
//!             })
//!             .connect("store:7000").unwrap()
//!     });
//!     world.run_for(minute);
//!     world.drain(minute).unwrap(); // who still waits for what, if anybody does
//!     assert!(opened.load(Ordering::Relaxed) > 0);
//! });
//! println!("{summary}"); // a table: what went wrong how often, why connections ended, how fast it was
//! ```
//!
//! A test may do it by itself as well: [`Node::crash`], [`Node::restart`], [`World::partition`],
//! [`World::heal`], [`World::set_delay`], [`Node::set_drift`], [`World::set_faults`].
//! [Datagrams](crate::Udp) get lost, come twice and overtake each other, and sockets are full for a while.
//!
//! # What it asks of the program
//!
//! Everything comes from the world: the network ([`World::net`], [`Node::net`]), pools
//! ([`Net::executor`](crate::Net::executor)), time (timers, and [`Context::now`](crate::Context::now)).
//! There is one thread, so nothing may wait for anything: not a handler for another, and not the test for
//! a handle ([`wait_open`](crate::ConnectionHandle::wait_open) would wait in vain); run the world instead.
//! What the program takes from elsewhere, such as the order of a `HashMap`, does not follow the seed.
//!
//! # What it does not model
//!
//! - Threads: code runs one callback at a time, so races on the program's own shared memory do not show. The
//!   crate's own are explored by loom.
//! - Acknowledgements, congestion and retransmission of TCP: bytes are delayed and held back, never lost from
//!   the middle of a connection. So a one-way partition stops the bytes of one direction only, and no
//!   connection ends because its network was away for a quarter of an hour, or by keepalive.
//! - The end of resources: descriptors, ports, memory, the disk. What a program writes to a disk is its own
//!   affair, and what it shares with the test outlives its crash.
//! - The time of day: a node's clock is monotonic, and of its own pace. What callbacks do takes no time, but
//!   for [`Fault::SlowTurn`].
//! - Routing: an address belongs to one node; all others are of the world's own network.
//! - Connections of Unix sockets between nodes, and `sendfile`: files go through the output.

mod datagrams;
mod drift;
mod driver;
mod engine;
mod fabric;
mod faults;
mod host;
mod links;
mod listener;
mod misfortune;
mod network;
mod node;
mod pipe;
mod progress;
mod replay;
mod runs;
mod socket;
mod streams;
mod stuck;
mod summary;
mod temper;
mod world;

pub use faults::{Fault, Faults, FaultsFired};
pub use node::Node;
pub use runs::Runs;
pub use stuck::Stuck;
pub use summary::Summary;
pub use world::World;
