//! A Caviar client to talk with: requests, callbacks, pushes as they come, and each state as it happens.
//!
//! ```sh
//! cargo run --release --features caviar --example caviar_client -- --connect 127.0.0.1:7001
//! ```
//! A line is a request, and its answer comes by callback, so that lines may be typed while others wait. `sync TEXT`
//! waits for the answer, `login NAME` and `logout` say who you are, `stats` what waits. Kill the server and type on:
//! the client waits and comes back, and what was typed meanwhile is answered. `quit` ends it. On a terminal the arrows
//! walk through what was typed before; without one it takes plain lines, and `--wait` lets it end by itself once all
//! are answered.

mod support;

use std::process::ExitCode;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use clap::Parser;
use netwheel::caviar::{CaviarClient, CaviarError, ClientListener, RequestContext};
use netwheel::{Backoff, ClientState, Result, Target};
use support::Outcome;
use support::repl::{self, Screen};
use support::stdin::Typed;

const EXAMPLES: &str = "\
Try it, with or without a server, and kill and start that meanwhile:
  cargo run --release --features caviar --example caviar_server -- --listen 127.0.0.1:7001
  cargo run --release --features caviar --example caviar_client -- --connect 127.0.0.1:7001
and type hello, login ann, who, all hello to you, slow 2000, ask who are you; or without a terminal:
  printf 'login ann\\nhello\\n' | caviar_client --connect 127.0.0.1:7001 --wait";

/// Sends the lines of stdin as requests, shows what comes, and comes back when the server is lost.
#[derive(Parser)]
#[command(name = "caviar_client", after_help = EXAMPLES)]
struct Flags {
    /// Where the server is
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7001")]
    connect: Target,

    /// Time for a connect, and for each answer, the wait for a connection included
    #[arg(long, value_name = "MILLIS", default_value_t = 30_000)]
    timeout: u64,

    /// Time before each dial once the connection is lost
    #[arg(long, value_name = "MILLIS", default_value_t = 2000)]
    interval: u64,

    /// Asks again over the next connection what was under way when one broke
    #[arg(long)]
    resend: bool,

    /// Fails at once when there is no server, rather than waiting for one
    #[arg(long)]
    require: bool,

    /// Ends after the last line of stdin, once every request has ended
    #[arg(long)]
    wait: bool,
}

fn main() -> ExitCode {
    let flags: Flags = support::flags::parse();
    support::run(|| talk(&flags))
}

fn talk(flags: &Flags) -> Outcome {
    let (mut typing, screen) = repl::start()?;
    let desk = Desk {
        screen,
        name: Arc::default(),
        client: Arc::default(),
        open: Arc::default(),
    };
    let client = connect(flags, &desk)?;
    let _ = desk.client.set(client.clone());
    let mut ended = false;
    loop {
        match typing.next() {
            Typed::Line(line) if line.trim() == "quit" => break,
            Typed::Line(line) => desk.handle(&client, line.trim()),
            Typed::Stop(_) => break,
            Typed::End if desk.screen.is_typed_at() => break,
            Typed::End => ended = true,
            Typed::Pause => {}
        }
        if ended && flags.wait && desk.open.load(Ordering::Acquire) == 0 {
            break;
        }
    }
    client.close();
    Ok(())
}

fn connect(flags: &Flags, desk: &Desk) -> Outcome<CaviarClient> {
    let told = desk.clone();
    let builder = CaviarClient::builder()
        .timeout(Duration::from_millis(flags.timeout))
        .reconnect(Backoff::every(Duration::from_millis(flags.interval)))
        .listener(desk.clone())
        .on_state(move |state| told.tell(state));
    let client = if flags.require {
        builder.connect(&flags.connect)?
    } else {
        builder.start(&flags.connect)?
    };
    Ok(if flags.resend {
        client.resending()
    } else {
        client
    })
}

/// What is typed, told and answered.
#[derive(Clone)]
struct Desk {
    screen: Screen,
    /// The name of the last login, which a server forgets with its connection.
    name: Arc<Mutex<Option<String>>>,
    client: Arc<OnceLock<CaviarClient>>,
    /// Requests that have not ended.
    open: Arc<AtomicUsize>,
}

impl Desk {
    fn handle(&self, client: &CaviarClient, line: &str) {
        let (command, rest) = line.split_once(' ').unwrap_or((line, ""));
        match command {
            "" => {}
            "sync" => self.show(&client.send_sync(rest.to_owned())),
            "login" => {
                self.remember(Some(rest.to_owned()));
                self.show(&client.login(rest.to_owned()));
            }
            "logout" => {
                self.remember(None);
                self.show(&client.logout(Bytes::new()));
            }
            "stats" => {
                let stats = client.stats();
                let (kept, calls, rtt) = (stats.kept, stats.calls, stats.rtt);
                let text =
                    format!("stats: {kept} to send, {calls} to be answered, round trip {rtt:?}");
                self.screen.say(text);
            }
            _ => self.ask(client, line),
        }
    }

    fn ask(&self, client: &CaviarClient, line: &str) {
        self.open.fetch_add(1, Ordering::AcqRel);
        let desk = self.clone();
        let done = move |outcome: std::result::Result<Bytes, CaviarError>| {
            desk.show(&outcome);
            desk.open.fetch_sub(1, Ordering::AcqRel);
        };
        if let Err(error) = client.send_async(line.to_owned(), done) {
            self.open.fetch_sub(1, Ordering::AcqRel);
            self.screen.say(format_args!("not sent: {error}"));
        }
    }

    /// Tells of a state, and logs in again when the client has come back.
    fn tell(&self, state: &ClientState) {
        self.screen.say(state);
        let name = self.name.lock().ok().and_then(|name| name.clone());
        if let (ClientState::Up { .. }, Some(name), Some(client)) = (state, name, self.client.get())
        {
            let desk = self.clone();
            let done = move |outcome: std::result::Result<Bytes, CaviarError>| desk.show(&outcome);
            let _ = client.login_async(name, done);
        }
    }

    fn remember(&self, name: Option<String>) {
        if let Ok(mut kept) = self.name.lock() {
            *kept = name;
        }
    }

    fn show(&self, outcome: &std::result::Result<Bytes, CaviarError>) {
        match outcome {
            Ok(body) => self.screen.say(format_args!("answer: {}", printable(body))),
            Err(error) => self.screen.say(format_args!("failed: {error}")),
        }
    }
}

impl ClientListener for Desk {
    fn on_push(&self, body: Bytes) -> Result<()> {
        self.screen.say(format_args!("push: {}", printable(&body)));
        Ok(())
    }

    fn on_request(&self, request: RequestContext) -> Result<()> {
        let question = printable(request.body());
        self.screen.say(format_args!("asked: {question}"));
        Ok(request.respond(format!("yes to {question}"))?)
    }
}

/// Text for a terminal, whatever somebody else has sent.
fn printable(body: &[u8]) -> String {
    String::from_utf8_lossy(body).escape_debug().to_string()
}
