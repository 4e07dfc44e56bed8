//! A client that comes back: it shows each state as it happens, and sends the lines that are typed.
//!
//! ```sh
//! cargo run --release --example reconnecting_client -- --connect 127.0.0.1:7000
//! ```
//! Start it before the server, stop the server, start it again: the client is refused, waits, is up, is down,
//! waits, is up. With `--queue` the lines typed meanwhile are kept and sent once it is up. With several
//! `--connect` each try goes to the next address; a name is looked up at each try.

mod support;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use netwheel::codec::{Framing, Lines, Utf8};
use netwheel::{
    Backoff, Client, ClientState, ClosedCause, Pipeline, Reactor, Target, TrySendError, WhileDown,
};
use support::Outcome;
use support::stdin::{Typed, Typing};

const EXAMPLES: &str = "\
Try it, before there is a server:
  cargo run --release --example reconnecting_client -- --connect 127.0.0.1:7000
then, from another terminal, start, stop and start again:
  cargo run --release --example echo_server -- --listen 127.0.0.1:7000
and type lines into the first; or be the server yourself: nc -lk 127.0.0.1 7000";

/// Sends the lines of stdin, and comes back whenever the connection is lost.
#[derive(Parser)]
#[command(name = "reconnecting_client", after_help = EXAMPLES)]
struct Flags {
    /// Where to connect to; given several times, the addresses are tried in turn
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7000")]
    connect: Vec<Target>,

    /// Time before the first retry
    #[arg(long, value_name = "MILLIS", default_value_t = 1000)]
    interval: u64,

    /// Doubles the time with each retry, up to this one
    #[arg(long, value_name = "MILLIS")]
    up_to: Option<u64>,

    /// Makes each time longer or shorter by up to this share of it
    #[arg(long, value_name = "SHARE", default_value_t = 0.2)]
    jitter: f64,

    /// Gives up after so many tries in a row have failed
    #[arg(long, value_name = "N")]
    tries: Option<u32>,

    /// Keeps lines that are typed while there is no connection
    #[arg(long)]
    queue: bool,
}

fn main() -> ExitCode {
    let flags: Flags = support::flags::parse();
    support::run(|| talk(&flags))
}

fn talk(flags: &Flags) -> Outcome {
    let reactor = Reactor::builder().workers(1).start()?;
    let client = Client::on(&reactor)
        .reconnect(backoff(flags))
        .while_down(if flags.queue {
            WhileDown::queue()
        } else {
            WhileDown::Refuse
        })
        .on_state(|state| support::say(state))
        .pipeline(|| {
            Pipeline::new(Lines::new().then(Utf8::lossy())).handle(|_, line| {
                support::say(format_args!("received: {}", line.escape_debug()));
                Ok(())
            })
        })
        .connect_any(&flags.connect)?;

    let mut typing = Typing::new()?;
    loop {
        match typing.next() {
            Typed::Line(line) => match client.try_send(line) {
                Ok(()) => {}
                Err(TrySendError::Closed(_)) => break,
                Err(refused) => support::say(format_args!("not sent: {refused}")),
            },
            Typed::Stop(_) => break,
            Typed::Pause | Typed::End => {}
        }
        if let ClientState::Closed(_) = client.state() {
            break;
        }
    }
    let state = client.state();
    client.close_after_flush();
    reactor.shutdown(Duration::from_secs(5));
    match state {
        ClientState::Closed(cause @ ClosedCause::TriesUsedUp) => {
            Err(format!("gave up: {cause}; is the server running?").into())
        }
        _ => Ok(()),
    }
}

fn backoff(flags: &Flags) -> Backoff {
    let mut backoff = Backoff::every(Duration::from_millis(flags.interval)).jitter(flags.jitter);
    if let Some(millis) = flags.up_to {
        backoff = backoff.up_to(Duration::from_millis(millis));
    }
    if let Some(count) = flags.tries {
        backoff = backoff.tries_max(count);
    }
    backoff
}
