//! A server of texts that end with a delimiter of one's own choice.
//!
//! ```sh
//! cargo run --release --example delimiter_server -- --delimiter '$_'
//! printf 'bbbb$_cccc$_' | nc -N 127.0.0.1 7000
//! ```
//! Each text comes back. A peer that sends more than `--max` bytes without a delimiter is
//! closed, with the reason `over_limit`.

mod support;

use std::process::ExitCode;

use clap::Parser;
use netwheel::codec::{Delimiter, Utf8};
use netwheel::{Framing, Pipeline, Server};

const EXAMPLES: &str = "\
Try it:
  cargo run --release --example delimiter_server -- --delimiter '$_'
  printf 'bbbb$_cccc$_' | nc -N 127.0.0.1 7000       (bbbb$_cccc$_)
With two delimiters, the one that makes the shorter text ends it:
  cargo run --release --example delimiter_server -- --delimiter ';' --delimiter '--'";

/// Sends every text back.
#[derive(Parser)]
#[command(name = "delimiter_server", after_help = EXAMPLES)]
struct Flags {
    #[command(flatten)]
    server: support::ServerFlags,

    /// What ends a text; may be given several times. What comes back ends with the first
    #[arg(
        long,
        value_name = "TEXT",
        default_value = "$_",
        allow_hyphen_values = true
    )]
    delimiter: Vec<String>,

    /// The longest text, without its delimiter
    #[arg(long, value_name = "BYTES", default_value_t = 1024)]
    max: usize,
}

fn main() -> ExitCode {
    let flags: Flags = support::flags::parse();
    let texts = match Delimiter::any_of(&flags.delimiter) {
        Ok(delimiter) => delimiter.frame_bytes_max(flags.max),
        Err(error) => support::flags::refuse(&error.to_string()),
    };
    support::run(|| {
        let server = Server::new().pipeline(move |_peer| {
            let codec = texts.clone().then(Utf8::new());
            Pipeline::new(codec).handle(|cx, text| cx.write(text))
        });
        support::serve(&flags.server, server, |_stats| {})
    })
}
