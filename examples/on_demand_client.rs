//! A client that is connected only while it is used: it dials for the first line, hangs up when nothing was
//! said for a while, and dials again for the next.
//!
//! ```sh
//! cargo run --release --example on_demand_client -- --connect 127.0.0.1:7000 --idle-secs 5
//! ```

mod support;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, value_parser};
use netwheel::codec::{Framing, Lines, Utf8};
use netwheel::{Client, Pipeline, Reactor, Target};
use support::Outcome;
use support::stdin::{Typed, Typing};

const EXAMPLES: &str = "\
Try it, with a server:
  cargo run --release --example echo_server -- --listen 127.0.0.1:7000
from another terminal, and type a line, wait, and type another:
  cargo run --release --example on_demand_client -- --connect 127.0.0.1:7000 --idle-secs 5
or be the server yourself: nc -lk 127.0.0.1 7000";

/// Sends the lines of stdin over a connection that is there only while it is used.
#[derive(Parser)]
#[command(name = "on_demand_client", after_help = EXAMPLES)]
struct Flags {
    /// Where to connect to
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7000")]
    connect: Target,

    /// Hangs up when nothing was said for so long
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = value_parser!(u64).range(1..))]
    idle_secs: u64,
}

fn main() -> ExitCode {
    let flags: Flags = support::flags::parse();
    support::run(|| talk(&flags))
}

fn talk(flags: &Flags) -> Outcome {
    let reactor = Reactor::builder().workers(1).start()?;
    let client = Client::on(&reactor)
        .on_demand(Duration::from_secs(flags.idle_secs))
        .on_state(|state| support::say(state))
        .pipeline(|| {
            Pipeline::new(Lines::new().then(Utf8::lossy())).handle(|_, line| {
                support::say(format_args!("received: {}", line.escape_debug()));
                Ok(())
            })
        })
        .connect(&flags.connect)?;

    let mut typing = Typing::new()?;
    loop {
        match typing.next() {
            Typed::Line(line) => {
                if let Err(refused) = client.try_send(line) {
                    support::say(format_args!("not sent: {refused}"));
                }
            }
            Typed::Stop(_) => break,
            Typed::Pause | Typed::End => {}
        }
    }
    client.close_after_flush();
    reactor.shutdown(Duration::from_secs(5));
    Ok(())
}
