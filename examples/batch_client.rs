//! Lines that are sent together: gathered by number or time, whichever comes first, and sent over a
//! connection that is there only while it is used.
//!
//! ```sh
//! seq 1000 | cargo run --release --example batch_client -- --connect 127.0.0.1:7000 --items 100
//! ```
//! A message holds a batch of lines, in a frame with a length before it. The program ends once the last
//! batch has left.

mod support;

use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use netwheel::codec::LengthField;
use netwheel::{Batch, Client, Pipeline, Reactor, Target};
use support::Outcome;
use support::stdin::{Typed, Typing};

const EXAMPLES: &str = "\
Try it, with a server:
  cargo run --release --example echo_server -- --listen 127.0.0.1:7000 --framed
from another terminal:
  seq 1000 | cargo run --release --example batch_client -- --connect 127.0.0.1:7000 --items 100
or look at the bytes: nc -l 127.0.0.1 7000 | xxd";

/// How long the last batch may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// Sends the lines of stdin in batches.
#[derive(Parser)]
#[command(name = "batch_client", after_help = EXAMPLES)]
struct Flags {
    /// Where to connect to
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7000")]
    connect: Target,

    /// Lines of a full batch
    #[arg(long, value_name = "N", default_value_t = 100)]
    items: usize,

    /// How long a line waits at most for others
    #[arg(long, value_name = "MILLIS", default_value_t = 200)]
    delay: u64,
}

fn main() -> ExitCode {
    let flags: Flags = support::flags::parse();
    support::run(|| send(&flags))
}

fn send(flags: &Flags) -> Outcome {
    let reactor = Reactor::builder().workers(1).start()?;
    let client = Client::on(&reactor)
        .on_demand(Duration::from_secs(60))
        .pipeline(|| {
            Pipeline::new(LengthField::u32()).handle(|_, frame: Bytes| {
                let lines = frame.split(|byte| *byte == b'\n').count();
                support::say(format_args!("answered: {lines} lines"));
                Ok(())
            })
        })
        .connect(&flags.connect)?;

    let (done, left) = mpsc::channel();
    let sender = client.clone();
    let batch = Batch::on(&reactor)
        .items_max(flags.items)
        .delay_max(Duration::from_millis(flags.delay))
        .start(move |lines: Vec<String>| {
            let (count, done) = (lines.len(), done.clone());
            let told = move |outcome| {
                let _ = done.send((count, outcome));
            };
            let message = Bytes::from(lines.join("\n"));
            sender.try_send_then(message, told).map_err(|_| lines)
        })?;

    let mut typing = Typing::new()?;
    let mut lines = 0;
    loop {
        match typing.next() {
            Typed::Line(line) => {
                lines += 1;
                batch
                    .push(line)
                    .map_err(|refused| format!("line {lines}: {refused}"))?;
            }
            Typed::Pause => {}
            Typed::End | Typed::Stop(_) => break,
        }
    }
    let refused = batch.close();
    let mut sent = 0;
    while sent + refused.len() < lines {
        let (count, outcome) = left.recv_timeout(PATIENCE).map_err(|_| {
            format!(
                "{sent} of {lines} lines have left; is {} up?",
                flags.connect
            )
        })?;
        outcome.map_err(|reason| format!("a batch of {count} lines was lost: {reason}"))?;
        support::say(format_args!("sent: {count} lines"));
        sent += count;
    }
    client.close_after_flush();
    reactor.shutdown(Duration::from_secs(5));
    match refused.len() {
        0 => Ok(()),
        count => Err(format!("{count} lines found no room; is {} up?", flags.connect).into()),
    }
}
