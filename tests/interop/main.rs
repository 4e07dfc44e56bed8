//! Frames and messages that other programs write and read, where they are installed.
//!
//! ```text
//! cargo test --all-features --test interop -- --nocapture
//! ```
//! What is not installed is skipped, and said so.
#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test, which says what it skips"
)]

mod netty;
#[cfg(all(feature = "gzip", feature = "json", feature = "protobuf"))]
mod python;
#[path = "../util/mod.rs"]
mod util;
