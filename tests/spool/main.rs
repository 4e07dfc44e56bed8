//! What outlives a process: links with a spool, receivers with a cursor, and processes that are killed.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

#[path = "../util/mod.rs"]
mod util;

mod crash;
mod files;
mod keeping;
mod memory;
mod nodes;
mod worlds;
