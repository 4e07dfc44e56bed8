//! A node of the private stack that lets others in, answers their questions, and pushes to them.
//!
//! ```sh
//! cargo run --release --features stack,auth --example stack_server -- --listen 127.0.0.1:7000
//! cargo run --release --features stack,auth --example stack_client -- --connect 127.0.0.1:7000
//! ```
//! Questions come back in capital letters; messages that want no answer are logged. With `--push-secs` every node
//! that has ever come in gets the time, also those that are away: they find it when they come back.

mod support;

use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use clap::Parser;
use log::{info, warn};
use netwheel::link::{OutboxRules, SharedSecret};
use netwheel::stack::{
    Access, AccessList, Message, MessageType, Node, Profile, StackLink, StackWire,
};
use netwheel::{Executor, Result};
use support::Outcome;

const EXAMPLES: &str = "\
Try it:
  cargo run --release --features stack,auth --example stack_server
  printf '\\xab\\xef\\1\\1\\0\\0\\0\\26\\0\\0\\0\\0\\0\\0\\0\\0\\3\\0\\0\\0\\0\\0' | nc 127.0.0.1 7000 | od -An -t x1
which logs in by hand: 23 bytes come back, the last of them 00.";

/// A node that answers questions in capital letters.
#[derive(Parser)]
#[command(name = "stack_server", after_help = EXAMPLES)]
struct Flags {
    #[command(flatten)]
    server: support::ServerFlags,

    /// Business threads; 0 answers on the I/O threads
    #[arg(long, value_name = "N", default_value_t = 0)]
    pool: usize,

    /// The name of this node
    #[arg(long, value_name = "NAME", default_value = "server")]
    node: String,

    /// T: the silence after which heartbeats count as missed
    #[arg(long, value_name = "MILLIS", default_value_t = 5000)]
    heartbeat: u64,

    /// N: heartbeats that may be missed
    #[arg(long, value_name = "N", default_value_t = 3)]
    missed: u32,

    /// Keeps messages until they are acknowledged; the client must do so too
    #[arg(long)]
    acknowledged: bool,

    /// Frames as the code of the book has them; the client must have them too
    #[arg(long)]
    book: bool,

    /// Lets in only who knows this secret
    #[arg(long, value_name = "TEXT")]
    secret: Option<String>,

    /// Addresses that may not come: 10.0.0.1, 10.0.0.0/8, 10.0.0.1-10.0.0.9, 10.0.0.*
    #[arg(long, value_name = "LIST", default_value = "")]
    deny: String,

    /// Addresses that may come, and no others; empty: all
    #[arg(long, value_name = "LIST", default_value = "")]
    allow: String,

    /// Pushes a message to every known node so often; 0: never
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    push_secs: u64,
}

fn main() -> ExitCode {
    let flags: Flags = support::flags::parse();
    support::run(|| run(&flags))
}

fn run(flags: &Flags) -> Outcome {
    let reactor = flags.server.reactor().start()?;
    let node = node(flags, &reactor)?;
    let (stop, stopped) = channel::<()>();
    let pushing = (flags.push_secs > 0).then(|| {
        let (node, every) = (node.clone(), Duration::from_secs(flags.push_secs));
        thread::spawn(move || {
            while stopped.recv_timeout(every) == Err(RecvTimeoutError::Timeout) {
                push(&node);
            }
        })
    });
    let outcome = support::serve(&flags.server, node.server(), |_stats| {});
    drop(stop);
    if let Some(pushing) = pushing {
        let _ = pushing.join();
    }
    outcome
}

fn node(flags: &Flags, reactor: &netwheel::Reactor) -> Outcome<Node> {
    let profile = if flags.book {
        Profile::Book
    } else {
        Profile::Spec
    };
    let mut builder = Node::on(reactor, &flags.node)?
        .wire(StackWire::new(profile).tell_reasons(false))
        .access(Access::new(AccessList::new(&flags.deny, &flags.allow)?))
        .heartbeat(Duration::from_millis(flags.heartbeat), flags.missed)
        .outbox(OutboxRules::default().acknowledged(flags.acknowledged));
    if let Some(secret) = &flags.secret {
        builder = builder.authenticator(SharedSecret::new(secret.clone()));
    }
    Ok(match flags.pool {
        0 => builder.serve(answer)?,
        threads => builder.serve_on(&Executor::new(threads), answer)?,
    })
}

fn answer(link: &StackLink, message: Message) -> Result<()> {
    if message.kind() == MessageType::Request {
        link.send(message.answer(message.body().to_ascii_uppercase()))?;
    } else {
        info!("{}: {}", link.name(), message.body().escape_ascii());
    }
    Ok(())
}

/// Whoever is away gets it later, as long as there is room.
fn push(node: &Node) {
    for (peer, link) in node.listener().links() {
        let text = format!("{} nodes are here", node.listener().online());
        if let Err(refused) = link.send(Message::one_way(text)) {
            warn!("{peer}: not pushed: {refused}");
        }
    }
}
