//! A world in memory: whole servers and clients on one thread, in virtual time, by a seed.
//!
//! ```text
//!            ┌───────────────────── World ─────────────────────┐
//!   Net ──>  │ worker 0, worker 1, ...   the same code as on a  │
//!            │ pools, acceptor           socket, one step at a  │ ──> trace_hash
//!   seed ──> │ fabric: sockets, bytes in flight, time, chance   │
//!            └──────────────────────────────────────────────────┘
//! ```
//! A function that takes a [`Net`](crate::Net) runs unchanged on a reactor and in here: give it
//! [`World::net`]. What happens next is chosen by the seed: which worker turns, which bytes arrive, when a
//! pool runs, how short a read or write comes out, when a socket is full. Every choice is one that a real
//! network, kernel and scheduler may make too, so a test that fails under some seed has found a bug; and
//! the same seed makes the same choices, so it can be looked at as often as it takes.
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
//! [Datagrams](crate::Udp) get lost, come twice and overtake each other, and sockets are full for a while.
//!
//! # What it asks of the program
//!
//! Everything comes from the world: the network ([`World::net`]), pools
//! ([`Net::executor`](crate::Net::executor)), time (timers, and [`Context::now`](crate::Context::now)).
//! There is one thread, so nothing may wait for anything: not a handler for another, and not the test for
//! a handle ([`wait_open`](crate::ConnectionHandle::wait_open) would wait in vain); run the world instead.
//! What the program takes from elsewhere, such as the order of a `HashMap`, does not follow the seed.

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
