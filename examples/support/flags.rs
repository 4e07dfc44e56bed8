//! Flags, and what becomes of wrong ones: one line, status 2.

use std::path::PathBuf;
use std::process::exit;
use std::time::Duration;

use clap::error::ErrorKind;
use clap::{Args, Parser};
use netwheel::{Place, Reactor, ReactorBuilder};

use super::complain;

/// The flags of every server among the examples.
#[derive(Args, Debug)]
pub(crate) struct ServerFlags {
    /// Where to listen; may be given several times. Port 0 means any free one
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7000")]
    pub(crate) listen: Vec<Place>,

    /// I/O threads; 0 means one a core
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) workers: usize,

    /// Connections at a time; 0 means what the descriptor limit allows
    #[arg(long, value_name = "N", default_value_t = 0)]
    connections_max: usize,

    /// How long SIGINT and SIGTERM wait for what is still being answered
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    drain_secs: u64,

    /// Keeps figures in this file, as `key value` lines: new every second, and at the end
    #[arg(long, value_name = "PATH")]
    pub(crate) stats_file: Option<PathBuf>,

    /// Lets every worker accept by itself (SO_REUSEPORT), for many short connections
    #[arg(long)]
    pub(crate) reuse_port: bool,

    /// Shows metrics and connections to browsers and Prometheus at this address
    #[cfg(feature = "admin")]
    #[arg(long, value_name = "ADDR:PORT")]
    pub(crate) admin: Option<Place>,

    #[command(flatten)]
    pub(crate) spin: SpinFlags,
}

impl ServerFlags {
    /// The reactor that they describe.
    pub(crate) fn reactor(&self) -> ReactorBuilder {
        let reactor = self.spin.reactor(self.workers);
        match self.connections_max {
            0 => reactor,
            count => reactor.connections_max(count),
        }
    }

    /// The longest that a drain may take.
    pub(crate) fn drain(&self) -> Duration {
        Duration::from_secs(self.drain_secs)
    }
}

/// How a worker waits, for servers and clients alike.
#[derive(Args, Debug)]
pub(crate) struct SpinFlags {
    /// Polls on for so long before a worker sleeps: lower latency, for up to a whole core a worker
    #[arg(long, value_name = "MICROS", default_value_t = 0)]
    busy_poll: u64,
}

impl SpinFlags {
    /// A reactor of so many workers that wait like this.
    pub(crate) fn reactor(&self, workers: usize) -> ReactorBuilder {
        let spin = Duration::from_micros(self.busy_poll);
        Reactor::builder().workers(workers).busy_poll(spin)
    }
}

/// The program's flags; does not return when they are wrong, or ask for help.
pub(crate) fn parse<F: Parser>() -> F {
    F::try_parse().unwrap_or_else(|error| match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion => error.exit(),
        _ => refuse(&first_paragraph(&error.to_string())),
    })
}

/// Ends the program because its flags make no sense together.
pub(crate) fn refuse(text: &str) -> ! {
    complain(&format!("{text}; --help shows what is possible"));
    exit(2)
}

/// What is wrong, without clap's repetition of how it would be right.
fn first_paragraph(text: &str) -> String {
    let lines = text.lines().map(str::trim);
    let paragraph: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    paragraph.join(" ").trim_start_matches("error: ").to_owned()
}
