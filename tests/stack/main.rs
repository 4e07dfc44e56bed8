//! Nodes of the private stack: scenarios over raw sockets, time rules and promises in simulated worlds.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

#[path = "../util/mod.rs"]
mod util;

#[cfg(feature = "tls")]
#[path = "../tls/authority.rs"]
#[allow(dead_code, unreachable_pub, reason = "another test's")]
mod authority;
mod calls;
mod heartbeats;
mod links;
mod logins;
mod nodes;
mod outages;
mod peer;
mod storms;
mod worlds;
