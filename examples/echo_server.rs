//! An echo server with everything that a server in production has: several addresses, figures,
//! signals, a drain, and a choice of where the work is done.
//!
//! ```sh
//! cargo run --release --example echo_server -- --listen 127.0.0.1:7000
//! nc 127.0.0.1 7000
//! ```
//! Type lines into `nc` and get them back; Ctrl-C ends the server. For load, see `echo_client`.

mod support;

use std::process::ExitCode;

use clap::Parser;
use netwheel::codec::{FRAME_BYTES_MAX, LengthField};
use netwheel::{AnyPipeline, Executor, Pipeline, Server};

const EXAMPLES: &str = "\
Try it:
  cargo run --release --example echo_server -- --listen 127.0.0.1:7000
  nc 127.0.0.1 7000                                  (type lines, get them back)
With --framed, a message of two bytes and its echo:
  printf '\\0\\0\\0\\2hi' | nc -N 127.0.0.1 7000 | xxd";

/// Sends every byte, or every frame, back to where it came from.
#[derive(Parser)]
#[command(name = "echo_server", after_help = EXAMPLES)]
struct Flags {
    #[command(flatten)]
    server: support::ServerFlags,

    /// Echoes frames: a length of 4 bytes, high byte first, then 0 to 1,048,576 bytes
    #[arg(long)]
    framed: bool,

    /// Echoes on N business threads; 0 echoes on the I/O threads
    #[arg(long, value_name = "N", default_value_t = 0)]
    pool: usize,
}

fn main() -> ExitCode {
    let flags: Flags = support::flags::parse();
    support::run(|| {
        let pool = (flags.pool > 0).then(|| Executor::new(flags.pool));
        let (framed, lanes) = (flags.framed, pool.clone());
        let server = Server::new().pipeline(move |_peer| echo(framed, lanes.as_ref()));
        support::serve(&flags.server, server, |stats| {
            stats.pool_queued = pool.as_ref().map_or(0, Executor::queued) as u64;
        })
    })
}

/// What one connection does. The four are the same to the library: a codec, and where the handler runs.
fn echo(framed: bool, pool: Option<&Executor>) -> AnyPipeline {
    let frames = LengthField::u32().frame_bytes_max(FRAME_BYTES_MAX);
    match (framed, pool) {
        (false, None) => Pipeline::raw().handle(|cx, bytes| cx.write(bytes)).into(),
        (false, Some(pool)) => Pipeline::raw()
            .handle_on(pool, |cx, bytes| cx.write(bytes))
            .into(),
        (true, None) => Pipeline::new(frames)
            .handle(|cx, frame| cx.write(frame))
            .into(),
        (true, Some(pool)) => Pipeline::new(frames)
            .handle_on(pool, |cx, frame| cx.write(frame))
            .into(),
    }
}
