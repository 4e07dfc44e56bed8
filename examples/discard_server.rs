//! Reads everything, answers nothing, and counts what it threw away.
//!
//! ```sh
//! cargo run --release --example discard_server
//! head -c 100000000 /dev/zero | nc -N 127.0.0.1 7000
//! ```
//! `--stats-file` shows how much that was: `bytes_in`.

mod support;

use std::process::ExitCode;

use clap::Parser;
use netwheel::{Pipeline, Server};

const EXAMPLES: &str = "\
Try it:
  cargo run --release --example discard_server -- --stats-file /tmp/discard
  head -c 100000000 /dev/zero | nc -N 127.0.0.1 7000
  grep bytes_in /tmp/discard";

/// Throws away whatever it is sent.
#[derive(Parser)]
#[command(name = "discard_server", after_help = EXAMPLES)]
struct Flags {
    #[command(flatten)]
    server: support::ServerFlags,
}

fn main() -> ExitCode {
    let flags: Flags = support::flags::parse();
    support::run(|| {
        let server = Server::new().pipeline(|_peer| Pipeline::raw().handle(|_cx, _bytes| Ok(())));
        support::serve(&flags.server, server, |_stats| {})
    })
}
