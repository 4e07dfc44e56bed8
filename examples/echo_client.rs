//! A load and latency tool for echo servers, on this crate's own client: checks every byte that comes
//! back, and tells rates and latencies.
//!
//! ```sh
//! cargo run --release --example echo_server -- --listen 127.0.0.1:7000
//! cargo run --release --example echo_client -- --connect 127.0.0.1:7000 --connections 50 --depth 32
//! ```
//! Without `--rate` a connection sends its next message when an earlier one has come back, so a server
//! that stalls is asked less just then. With `--rate` each message has its time, in steps of a
//! millisecond, and its latency counts from that, also when it could not leave: a stall is seen in full
//! (no "coordinated omission"). Ctrl-C ends the measurement, and the figures so far are printed.

mod support;

use std::process::ExitCode;

use clap::{Parser, value_parser};
use netwheel::Place;
use netwheel::codec::FRAME_BYTES_MAX;
use netwheel::limits::workers_default;
use support::flags::{SpinFlags, parse, refuse};
use support::load::{self, Report, Settings};
use support::say;

const EXAMPLES: &str = "\
MB are 1,000,000 bytes of messages, in each direction. A latency ends when the program has the message
back. With --rate it begins when the message should have left, which a worker that sleeps notices up to
a millisecond late: add --busy-poll 2000 where that matters and there are cores to spare.

Try it:
  cargo run --release --example echo_server -- --listen 127.0.0.1:7000
  cargo run --release --example echo_client -- --connect 127.0.0.1:7000 --connections 50 --depth 32
The server talks to nc, too:
  nc 127.0.0.1 7000                                  (type lines, get them back)";

/// Loads an echo server, checks every byte, and prints messages/s, MB/s and latencies.
#[derive(Parser)]
#[command(name = "echo_client", after_help = EXAMPLES)]
struct Flags {
    /// Where the server listens
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7000")]
    connect: Place,

    /// Connections
    #[arg(long, value_name = "C", default_value_t = 1, value_parser = value_parser!(u32).range(1..))]
    connections: u32,

    /// Bytes of a message, without its length
    #[arg(long, value_name = "BYTES", default_value_t = 64,
        value_parser = value_parser!(u32).range(..=67_108_864))]
    size: u32,

    /// Messages on their way at once, on each connection
    #[arg(long, value_name = "D", default_value_t = 1,
        value_parser = value_parser!(u32).range(1..=65_536))]
    depth: u32,

    /// How long to measure, once all connections are open
    #[arg(long, value_name = "S", default_value_t = 5, value_parser = value_parser!(u64).range(1..))]
    seconds: u64,

    /// Sends frames: a length of 4 bytes, high byte first, then the message
    #[arg(long)]
    framed: bool,

    /// Messages a second over all connections; without it, as many as come back
    #[arg(long, value_name = "R", value_parser = value_parser!(u32).range(1..))]
    rate: Option<u32>,

    /// Prints the figures as one line of JSON
    #[arg(long)]
    json: bool,

    /// I/O threads; 0 means one a core
    #[arg(long, value_name = "N", default_value_t = 0)]
    workers: usize,

    #[command(flatten)]
    spin: SpinFlags,
}

impl Flags {
    fn settings(&self) -> Settings {
        if self.framed && self.size as usize > FRAME_BYTES_MAX {
            refuse("a frame holds at most 1048576 bytes; give a smaller --size");
        }
        if !self.framed && self.size == 0 {
            refuse("a message without bytes needs a frame; give a larger --size, or --framed");
        }
        Settings {
            connections: self.connections as usize,
            size: self.size as usize,
            depth: self.depth as usize,
            framed: self.framed,
            rate: self.rate,
        }
    }
}

fn main() -> ExitCode {
    let flags: Flags = parse();
    let settings = flags.settings();
    support::run(|| {
        let workers = match flags.workers {
            0 => workers_default(),
            count => count,
        };
        let reactor = flags.spin.reactor(workers).start()?;
        let report = load::run(settings, &flags.connect, flags.seconds, reactor, workers)?;
        if flags.json {
            say(json(&flags, &report));
        } else {
            say(report);
        }
        Ok(())
    })
}

fn json(flags: &Flags, report: &Report) -> String {
    let rate = flags
        .rate
        .map_or_else(|| "null".to_owned(), |rate| rate.to_string());
    format!(
        "{{\"connections\":{},\"size\":{},\"depth\":{},\"framed\":{},\"rate\":{rate},{}}}",
        flags.connections,
        flags.size,
        flags.depth,
        flags.framed,
        report.json(),
    )
}
