//! Tells the time to whoever connects, in four bytes, and closes: RFC 868.
//!
//! ```sh
//! cargo run --release --example time_server
//! nc 127.0.0.1 7000 | od -An -t u4 --endian=big
//! ```
//! The number is that of the seconds since 1900, which four bytes hold until 2036.

mod support;

use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use clap::Parser;
use netwheel::{CloseReason, Context, Handler, Pipeline, Result, Server};

/// Seconds from 1900 to 1970, seventeen leap days among them.
const SECONDS_TO_UNIX: u64 = (70 * 365 + 17) * 24 * 60 * 60;

const EXAMPLES: &str = "\
Try it:
  cargo run --release --example time_server
  nc 127.0.0.1 7000 | od -An -t u4 --endian=big      (seconds since 1900)";

/// Sends the time and closes.
#[derive(Parser)]
#[command(name = "time_server", after_help = EXAMPLES)]
struct Flags {
    #[command(flatten)]
    server: support::ServerFlags,
}

/// Answers before it is asked.
struct Time;

impl Handler<Bytes, Bytes> for Time {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result<()> {
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
        let [.., a, b, c, d] = (since_1970 + SECONDS_TO_UNIX).to_be_bytes();
        cx.write(Bytes::copy_from_slice(&[a, b, c, d]))?;
        cx.close_after_flush(CloseReason::Local); // behind the last byte, not before
        Ok(())
    }

    fn on_message(&mut self, _: &mut Context<'_, Bytes, Bytes>, _: Bytes) -> Result<()> {
        Ok(()) // who talks to a clock is not listened to
    }
}

fn main() -> ExitCode {
    let flags: Flags = support::flags::parse();
    support::run(|| {
        let server = Server::new().pipeline(|_peer| Pipeline::raw().handler(Time));
        support::serve(&flags.server, server, |_stats| {})
    })
}
