//! A Caviar server: logins with names, requests that are answered in upper case, pushes and broadcasts.
//!
//! ```sh
//! cargo run --release --features caviar --example caviar_server -- --listen 127.0.0.1:7001
//! ```
//! A request is answered with its text in capitals. `all TEXT` tells every client, `tell NAME TEXT` the one that has
//! logged in by that name, `who` lists the names, `slow MILLIS` takes its time, `ask TEXT` asks the client back.
//! A name is had by one session; a second login is refused, or with `--kick-old` ends the first.

mod support;

use std::process::ExitCode;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use clap::Parser;
use log::info;
use netwheel::caviar::{
    CaviarServer, CaviarSessions, RequestContext, ServerListener, SessionContext,
};
use netwheel::{CloseReason, Duplicate, Result};
use support::{Outcome, ServerFlags};

const EXAMPLES: &str = "\
Try it:
  cargo run --release --features caviar --example caviar_server -- --listen 127.0.0.1:7001
then, from another terminal or two, and type hello, login ann, all hello:
  cargo run --release --features caviar --example caviar_client -- --connect 127.0.0.1:7001
or a ping by hand, whose answer is a pong of the same id:
  printf '\\0\\0\\0\\0\\0\\0\\0\\1\\377\\377\\377\\377\\377\\377\\377\\377\\0\\0\\0\\1\\0\\0\\43\\51\\0\\0\\0\\0\\0\\0\\0\\4ping' | \
nc -N 127.0.0.1 7001 | xxd";

/// How long a client has for the answer to what it is asked.
const ASK_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest nap that `slow` takes.
const NAP_MILLIS_MAX: u64 = 60_000;

/// Answers requests in capitals, and passes messages on.
#[derive(Parser)]
#[command(name = "caviar_server", after_help = EXAMPLES)]
struct Flags {
    #[command(flatten)]
    server: ServerFlags,

    /// Business threads; 0 means twice the cores and at least four
    #[arg(long, value_name = "N", default_value_t = 0)]
    pool: usize,

    /// Handles the requests of one client at once, in no order
    #[arg(long)]
    concurrent: bool,

    /// Ends the session that has a name, rather than refusing the second one
    #[arg(long)]
    kick_old: bool,
}

fn main() -> ExitCode {
    let flags: Flags = support::flags::parse();
    support::run(|| serve(&flags))
}

fn serve(flags: &Flags) -> Outcome {
    let reactor = flags.server.reactor().start()?;
    let desk = Desk::default();
    let duplicate = if flags.kick_old {
        Duplicate::KickOld
    } else {
        Duplicate::RejectNew
    };
    let (server, sessions) = CaviarServer::new(desk.clone())
        .threads(flags.pool)
        .concurrent(flags.concurrent)
        .duplicate(duplicate)
        .into_server(&reactor)?;
    let _ = desk.0.set(sessions);
    support::serve(&flags.server, server, |_| {})
}

/// Knows everybody who is connected, once the server is made.
#[derive(Clone, Default)]
struct Desk(Arc<OnceLock<CaviarSessions>>);

impl ServerListener for Desk {
    fn on_open(&self, session: &SessionContext) {
        info!(
            "session {} from {}",
            session.session_index(),
            session.remote_addr()
        );
    }

    fn on_login(&self, session: &SessionContext, request: RequestContext) -> Result<()> {
        let name = text(&request);
        let answer = match session.log_in(name.trim()) {
            Ok(()) => format!("welcome, {}", name.trim()),
            Err(error) => format!("not you: {error}"),
        };
        Ok(request.respond(answer)?)
    }

    fn on_message(&self, session: &SessionContext, request: RequestContext) -> Result<()> {
        let line = text(&request);
        let (command, rest) = line.split_once(' ').unwrap_or((&line, ""));
        let answer = match (command, self.0.get()) {
            ("all", Some(sessions)) => {
                let told = sessions.broadcast(format!("{}: {rest}", name_of(session)));
                format!("told {}", told.taken)
            }
            ("tell", Some(sessions)) => tell(sessions, session, rest),
            ("who", Some(sessions)) => names(sessions),
            ("slow", _) => nap(rest),
            ("ask", _) => match session.ask_and_wait(rest.to_owned(), ASK_TIMEOUT) {
                Ok(answer) => format!("you say {}", String::from_utf8_lossy(&answer)),
                Err(error) => format!("you do not say: {error}"),
            },
            _ => line.to_uppercase(),
        };
        Ok(request.respond(answer)?)
    }

    fn on_close(&self, session: &SessionContext, reason: CloseReason) {
        info!("session {} has ended: {reason}", session.session_index());
    }
}

fn text(request: &RequestContext) -> String {
    String::from_utf8_lossy(request.body()).into_owned()
}

fn name_of(session: &SessionContext) -> String {
    let unnamed = || format!("session {}", session.session_index());
    session.user().map_or_else(unnamed, |name| name.to_string())
}

fn tell(sessions: &CaviarSessions, from: &SessionContext, rest: &str) -> String {
    let (name, words) = rest.split_once(' ').unwrap_or((rest, ""));
    let Some(session) = sessions.of_user(name) else {
        return format!("nobody has logged in as {name}");
    };
    match session.push(format!("{}: {words}", name_of(from))) {
        Ok(()) => format!("told {name}"),
        Err(error) => format!("not told: {error}"),
    }
}

fn names(sessions: &CaviarSessions) -> String {
    let mut names: Vec<_> = sessions.all().iter().map(name_of).collect();
    names.sort_unstable();
    names.join(", ")
}

#[expect(
    clippy::disallowed_methods,
    reason = "a slow handler is what it shows, on a thread that may block"
)]
fn nap(millis: &str) -> String {
    let millis = millis.trim().parse().unwrap_or(1000).min(NAP_MILLIS_MAX);
    std::thread::sleep(Duration::from_millis(millis));
    format!("slept {millis} ms")
}
