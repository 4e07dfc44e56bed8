//! A server of records that all have the same length, as old protocols do.
//!
//! ```sh
//! cargo run --release --example fixed_server -- --length 5
//! printf 'aaaaabb   ccccccc' | nc -N 127.0.0.1 7000
//! ```
//! Each record comes back in capitals, filled up with spaces; what is no whole record yet waits for the rest.

mod support;

use std::process::ExitCode;

use clap::Parser;
use netwheel::codec::FixedLength;
use netwheel::{Pipeline, Server};

const EXAMPLES: &str = "\
Try it:
  cargo run --release --example fixed_server -- --length 5
  printf 'aaaaabb   ' | nc -N 127.0.0.1 7000         (AAAAABB, and three spaces)";

/// Sends every record back in capitals.
#[derive(Parser)]
#[command(name = "fixed_server", after_help = EXAMPLES)]
struct Flags {
    #[command(flatten)]
    server: support::ServerFlags,

    /// Bytes of a record
    #[arg(long, value_name = "BYTES", default_value_t = 5)]
    length: usize,
}

fn main() -> ExitCode {
    let flags: Flags = support::flags::parse();
    if flags.length == 0 {
        support::flags::refuse("--length 0: a record has at least one byte");
    }
    support::run(|| {
        let records = FixedLength::new(flags.length).pad_with(b' ');
        let server = Server::new().pipeline(move |_peer| {
            Pipeline::new(records.clone()).handle(|cx, record| {
                let text = record.trim_ascii_end();
                cx.write(text.to_ascii_uppercase().into())
            })
        });
        support::serve(&flags.server, server, |_stats| {})
    })
}
