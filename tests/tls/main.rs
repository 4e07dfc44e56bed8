//! Pipelines under TLS: what passes, how it begins and how it ends, against rustls itself, in a world in
//! memory, and beside what others have built.
#![cfg(feature = "tls")]
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

#[path = "../util/mod.rs"]
mod util;

mod authority;
mod counterpart;
mod ends;
mod filters;
mod handshakes;
mod interop;
mod messages;
mod starttls;
mod worlds;
