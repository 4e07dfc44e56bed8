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
//! (no "coordinated omission").

mod support;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use bytes::Bytes;
use clap::{Parser, value_parser};
use netwheel::codec::FRAME_BYTES_MAX;
use netwheel::limits::{CONNECT_TIMEOUT, workers_default};
use netwheel::{Client, Clock, ConnectionHandle, Place, Reactor};
use support::flags::{SpinFlags, parse, refuse};
use support::load::{Ending, Load, Phase, Report, Settings};
use support::{Outcome, Progress, say};

/// Connections that are opened at once: fewer than a server's backlog.
const CONNECT_BATCH: usize = 256;
/// How long messages that are on their way at the end may take.
const LAST_MESSAGES: Duration = Duration::from_secs(5);

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
        let report = measure(&flags, settings)?;
        if flags.json {
            say(json(&flags, &report));
        } else {
            say(report);
        }
        Ok(())
    })
}

fn measure(flags: &Flags, settings: Settings) -> Outcome<Report> {
    let workers = if flags.workers == 0 {
        workers_default()
    } else {
        flags.workers
    };
    let reactor = flags.spin.reactor(workers).start()?;
    let (load, endings) = Load::new(settings, workers);
    let _handles = connect(flags, &reactor, &load)?;
    load.enter(Phase::Measure);
    let (messages, elapsed) = watch(flags, &load, &endings)?;
    load.enter(Phase::End);
    await_last_messages(flags, &endings)?;
    reactor.shutdown(LAST_MESSAGES);
    Ok(Report {
        messages,
        elapsed,
        size: flags.size as usize,
        latencies: load.tallies.latencies(),
    })
}

/// Opens the connections, and no socket more.
fn connect(
    flags: &Flags,
    reactor: &Reactor,
    load: &Arc<Load>,
) -> Outcome<Vec<ConnectionHandle<Bytes>>> {
    let (place, load) = (&flags.connect, Arc::clone(load));
    let client = Client::on(reactor)
        // Both sides waiting with unread bytes until the other reads would wait for ever. What is on
        // its way is bounded by --depth here.
        .auto_pause(false)
        .pipeline(move || load.pipeline());
    let refused = |error| {
        format!(
            "cannot connect to {place}: {error}; start a server with: \
             cargo run --release --example echo_server -- --listen {place}"
        )
    };
    let mut handles = Vec::new();
    let mut left = flags.connections as usize;
    while left > 0 {
        let batch = left.min(CONNECT_BATCH);
        for _ in 0..batch {
            handles.push(client.connect(place).map_err(refused)?);
        }
        for handle in &handles[handles.len() - batch..] {
            handle.wait_open(CONNECT_TIMEOUT).map_err(refused)?;
        }
        left -= batch;
    }
    Ok(handles)
}

/// Watches a run for as long as it is measured; answers how many messages came back in what time.
fn watch(flags: &Flags, load: &Load, endings: &Receiver<Ending>) -> Outcome<(u64, Duration)> {
    let (clock, duration) = (Clock::system(), Duration::from_secs(flags.seconds));
    let start = clock.now();
    let mut progress = Progress::new(flags.seconds);
    loop {
        let elapsed = clock.now().since(start);
        let messages = load.tallies.messages();
        if elapsed >= duration {
            progress.finish();
            return Ok((messages, elapsed));
        }
        let rate = messages as f64 / elapsed.as_secs_f64();
        progress.update(elapsed, &format!("{rate:.0} messages/s"));
        if let Ok(ending) = endings.recv_timeout(Progress::INTERVAL.min(duration - elapsed)) {
            ending?;
        }
    }
}

fn await_last_messages(flags: &Flags, endings: &Receiver<Ending>) -> Outcome {
    let clock = Clock::system();
    let deadline = clock.now() + LAST_MESSAGES;
    for ended in 0..flags.connections {
        let left = deadline.since(clock.now());
        endings.recv_timeout(left).map_err(|_| {
            let waiting = flags.connections - ended;
            format!(
                "{waiting} connections still wait for messages to come back after \
                 {LAST_MESSAGES:?}; the server has stopped answering them"
            )
        })??;
    }
    Ok(())
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
