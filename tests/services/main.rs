//! Servers and clients as wholes: how they start, whom they let in, what they survive, how they end.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod admission;
mod ends;
mod faults;
mod panics;
mod starts;
#[cfg(unix)]
mod unix;
#[path = "../util/mod.rs"]
mod util;

use std::net::{Ipv4Addr, SocketAddr};

use netwheel::{HasPipeline, Server};

/// Where a server listens that has not started: it says so in its last words.
fn address_of(server: &Server<HasPipeline>) -> SocketAddr {
    let words = format!("{server:?}");
    let port: String = words
        .chars()
        .skip(words.rfind(':').expect("a port") + 1)
        .take_while(char::is_ascii_digit)
        .collect();
    (Ipv4Addr::LOCALHOST, port.parse().expect("a port")).into()
}
