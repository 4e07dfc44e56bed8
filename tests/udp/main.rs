//! UDP over loopback sockets: what arrives, what is told, what is survived, how it ends.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test, which says why it was skipped"
)]

mod datagrams;
mod ends;
mod errors;
mod groups;
mod misuse;
#[path = "../util/mod.rs"]
mod util;

use std::net::{SocketAddr, UdpSocket};

use netwheel::Reactor;
use util::{PATIENCE, any_port};

/// A reactor of so many workers.
fn reactor(workers: usize) -> Reactor {
    Reactor::builder().workers(workers).start().unwrap()
}

/// A plain socket, on which a read that hangs fails.
fn plain() -> UdpSocket {
    plain_at(any_port())
}

fn plain_at(address: &str) -> UdpSocket {
    let socket = UdpSocket::bind(address).unwrap();
    socket.set_read_timeout(Some(PATIENCE)).unwrap();
    socket
}

/// Sends a datagram and takes the next that arrives.
fn ask(socket: &UdpSocket, to: SocketAddr, question: &[u8]) -> Vec<u8> {
    socket.send_to(question, to).unwrap();
    take(socket).0
}

fn take(socket: &UdpSocket) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 65_536];
    let (len, peer) = socket.recv_from(&mut buffer).unwrap();
    buffer.truncate(len);
    (buffer, peer)
}
