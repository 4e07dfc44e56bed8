//! A node of the private stack that dials another: it logs in, stays alive, comes back, and keeps what is typed.
//!
//! ```sh
//! cargo run --release --features stack,auth --example stack_client -- --connect 127.0.0.1:7000
//! ```
//! Each line is a question; its answer is printed when it comes. A line that begins with `!` wants no answer. Stop
//! the server, type, start it again: what was kept arrives, in order. On a terminal the arrows walk through what was
//! typed before, and `quit` or Ctrl-D ends it; without one it takes plain lines, and ends once all are answered.
//!
//! With `--calls N` it asks N questions as fast as it can, checks every answer, and ends. With the feature `spool` too,
//! `--node NAME --spool FILE` keeps what is typed over its own restarts: type `!later` while no server runs, kill it,
//! start the server, and start it again.

mod support;

use std::process::ExitCode;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use clap::Parser;
use netwheel::link::{CallError, OutboxRules, SendError, Service, SharedSecret};
use netwheel::stack::{Message, Node, Profile, StackLink, StackWire};
use netwheel::{Backoff, Clock, CloseReason, Reactor, Result, Target};
use support::Outcome;
use support::repl::{self, Screen};
use support::stdin::{Typed, Typing};

const EXAMPLES: &str = "\
Try it:
  cargo run --release --features stack,auth --example stack_server
  cargo run --release --features stack,auth --example stack_client
and type lines; or, for its speed:
  cargo run --release --features stack,auth --example stack_client -- --calls 200000";

/// Asks another node what is typed.
#[derive(Parser)]
#[command(name = "stack_client", after_help = EXAMPLES)]
struct Flags {
    /// Where the other node is; given several times, the addresses are tried in turn
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7000")]
    connect: Vec<Target>,

    /// The name of this node; by default one of its own for each process
    #[arg(long, value_name = "NAME")]
    node: Option<String>,

    /// Time before each further dial
    #[arg(long, value_name = "MILLIS", default_value_t = 1000)]
    interval: u64,

    /// T: the silence after which a ping goes
    #[arg(long, value_name = "MILLIS", default_value_t = 5000)]
    heartbeat: u64,

    /// N: heartbeats that may be missed
    #[arg(long, value_name = "N", default_value_t = 3)]
    missed: u32,

    /// Keeps messages until they are acknowledged; the server must do so too
    #[arg(long)]
    acknowledged: bool,

    /// Keeps messages in this file until they are acknowledged, over restarts; needs --node, by which the server knows
    /// this node again
    #[cfg(feature = "spool")]
    #[arg(long, value_name = "FILE", requires = "node")]
    spool: Option<std::path::PathBuf>,

    /// Frames as the code of the book has them; the server must have them too
    #[arg(long)]
    book: bool,

    /// The secret that the server asks for
    #[arg(long, value_name = "TEXT")]
    secret: Option<String>,

    /// Time for an answer
    #[arg(long, value_name = "MILLIS", default_value_t = 5000)]
    timeout: u64,

    /// Asks so many questions and ends, instead of reading lines
    #[arg(long, value_name = "N", default_value_t = 0)]
    calls: usize,
}

fn main() -> ExitCode {
    let flags: Flags = support::flags::parse();
    support::run(|| run(&flags))
}

/// Shows what comes unasked.
struct Show(Screen);

impl Service<StackWire> for Show {
    fn on_up(&self, link: &StackLink) {
        self.0.say(format_args!("up: {}", link.name()));
    }

    fn on_message(&self, link: &StackLink, message: Message) -> Result<()> {
        self.0.say(format_args!(
            "{}: {}",
            link.name(),
            message.body().escape_ascii()
        ));
        Ok(())
    }

    fn on_down(&self, link: &StackLink, reason: CloseReason) {
        self.0.say(format_args!("down: {}: {reason}", link.name()));
    }
}

fn run(flags: &Flags) -> Outcome {
    let (typing, screen) = match flags.calls {
        0 => repl::start().map(|(typing, screen)| (Some(typing), screen))?,
        _ => (None, Screen::plain()),
    };
    let reactor = Reactor::builder().workers(1).start()?;
    let name = flags.node.clone();
    let name = name.unwrap_or_else(|| format!("client-{}", std::process::id()));
    let profile = if flags.book {
        Profile::Book
    } else {
        Profile::Spec
    };
    let mut builder = Node::on(&reactor, &name)?
        .wire(StackWire::new(profile))
        .heartbeat(Duration::from_millis(flags.heartbeat), flags.missed)
        .reconnect(Backoff::every(Duration::from_millis(flags.interval)))
        .outbox(OutboxRules::default().acknowledged(flags.acknowledged));
    if let Some(secret) = &flags.secret {
        builder = builder.credentials(SharedSecret::new(secret.clone()));
    }
    #[cfg(feature = "spool")]
    if let Some(path) = &flags.spool {
        builder = builder
            .outbox(OutboxRules::default().acknowledged(true))
            .spool_file(&netwheel::link::SpoolFile::open(path)?);
    }
    let node = builder.serve(Show(screen.clone()))?;
    for at in &flags.connect {
        node.know("server", at)?;
    }
    let link = node.get_or_connect("server")?;
    let owed = link.stats().kept;
    if owed > 0 {
        screen.say(format_args!("owed from before: {owed}"));
    }
    let timeout = Duration::from_millis(flags.timeout);
    let outcome = match typing {
        Some(typing) => talk(&link, timeout, typing, &screen),
        None => measure(&link, timeout, flags.calls),
    };
    link.close_after_flush();
    reactor.shutdown(Duration::from_secs(5));
    outcome
}

fn talk(link: &StackLink, timeout: Duration, mut typing: Typing, screen: &Screen) -> Outcome {
    let mut ended = false;
    loop {
        match typing.next() {
            Typed::Line(line) => say(link, &line, timeout, screen),
            Typed::Stop(_) => return Ok(()),
            Typed::End if screen.is_typed_at() => return Ok(()),
            Typed::End => ended = true,
            Typed::Pause => {}
        }
        // What was piped in has left, and is answered.
        if ended && link.stats().kept + link.stats().calls == 0 {
            return Ok(());
        }
    }
}

fn say(link: &StackLink, line: &str, timeout: Duration, screen: &Screen) {
    let sent = match line.strip_prefix('!') {
        Some(text) => link
            .send(Message::one_way(text.to_owned()))
            .map(|()| screen.say("accepted")),
        None => {
            let screen = screen.clone();
            let done = move |answer: std::result::Result<Message, CallError>| match answer {
                Ok(answer) => screen.say(answer.body().escape_ascii()),
                Err(error) => screen.say(error),
            };
            link.call(Message::request(line.to_owned()), timeout, done)
        }
    };
    if let Err(refused) = sent {
        screen.say(format_args!("not sent: {refused}"));
    }
}

type Answer = (usize, std::result::Result<Message, CallError>);

/// As many questions at once as the outbox has places for.
fn measure(link: &StackLink, timeout: Duration, count: usize) -> Outcome {
    link.wait_up(timeout)?;
    let (clock, (tell, told)) = (Clock::system(), channel::<Answer>());
    let (mut asked, mut answered) = (0, 0);
    while answered < count {
        if asked < count {
            let (tell, number) = (tell.clone(), asked);
            let done = move |answer| {
                let _ = tell.send((number, answer));
            };
            match link.call(Message::request(format!("question {asked}")), timeout, done) {
                Ok(()) => {
                    asked += 1;
                    continue;
                }
                Err(SendError::Full(_)) => {}
                Err(refused) => return Err(refused.to_string().into()),
            }
        }
        answered += check(&told, timeout)?;
    }
    let seconds = clock.now().since(netwheel::Instant::START).as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "a rate to be read by people")]
    let rate = count as f64 / seconds;
    support::say(format_args!(
        "{count} answers in {seconds:.2} s, {rate:.0} a second"
    ));
    Ok(())
}

/// Checks the answers that are there, of which one is waited for.
fn check(told: &Receiver<Answer>, timeout: Duration) -> Outcome<usize> {
    let first = told.recv_timeout(2 * timeout)?;
    let mut count = 0;
    for (number, answer) in std::iter::once(first).chain(told.try_iter()) {
        let answer = answer.map_err(|error| format!("question {number}: {error}"))?;
        if answer.body() != &format!("QUESTION {number}") {
            return Err(format!("a wrong answer to question {number}").into());
        }
        count += 1;
    }
    Ok(count)
}
