//! The chat on a console.
//!
//! ```sh
//! cargo run --release -p chat --bin chat_client -- --connect 127.0.0.1:7000 --user ann
//! ```
//! `/to bob hello`, `/join #tea`, `/who`, `/history bob`; a line without a slash goes where the last one went. `1` to
//! `4` are the menu: log in, chat, log out, commands.

#[path = "../../../../support/mod.rs"]
mod support;

mod console;
mod line;
mod session;
mod text;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use console::Console;
use netwheel::Reactor;
use session::Session;
use support::Outcome;

const EXAMPLES: &str = "\
Try it, against chat_server:
  cargo run --release -p chat --bin chat_client -- --connect 127.0.0.1:7000 --user ann
  /to bob hello        (then plain lines go to bob; /join #tea, /who, /history bob, /help)";

/// Chats: says what you type, shows what others say, comes back by itself.
#[derive(Parser)]
#[command(name = "chat_client", after_help = EXAMPLES)]
struct Flags {
    /// The server
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7000")]
    connect: String,

    /// Who you are; without it the menu asks
    #[arg(long, value_name = "NAME")]
    user: Option<String>,

    /// Your password, which others on this machine may see: rather set CHAT_PASSWORD, or type /login NAME. Without
    /// any it is your name, which will do for a server without users of its own
    #[arg(long, value_name = "PASSWORD")]
    password: Option<String>,

    /// On what: 0 windows, 1 mac, 2 android, 3 ios, 4 web, 5 other. A user may be once on each
    #[arg(long, value_name = "NUMBER", default_value_t = 5, value_parser = clap::value_parser!(u32).range(0..=5))]
    platform: u32,

    /// Remembers here what was seen and what is still to be sent; `none` remembers nothing
    #[arg(long, value_name = "PATH")]
    cursor_file: Option<PathBuf>,

    /// Time between two heartbeats
    #[arg(long, value_name = "SECONDS", default_value_t = 50.0)]
    heartbeat_secs: f64,

    /// Time between two tries to connect
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    reconnect_secs: f64,

    /// Reads commands from stdin as they are, without an editor, and prints plain lines
    #[arg(long)]
    script: bool,

    /// At the end, how long to wait for what is not acknowledged
    #[arg(long, value_name = "SECONDS", default_value_t = 5)]
    drain_secs: u64,
}

fn main() -> ExitCode {
    let flags: Flags = support::flags::parse();
    for (flag, secs) in [
        ("--heartbeat-secs", flags.heartbeat_secs),
        ("--reconnect-secs", flags.reconnect_secs),
    ] {
        if !Duration::try_from_secs_f64(secs).is_ok_and(|time| !time.is_zero()) {
            support::flags::refuse(&format!("{flag} {secs} is no time; give more than 0"));
        }
    }
    support::run(|| run(flags))
}

fn run(flags: Flags) -> Outcome {
    if std::env::var_os("RUST_LOG").is_none() {
        // The console says itself what happens to the connection.
        log::set_max_level(log::LevelFilter::Error);
    }
    let is_terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
    let (console, mut lines) = match is_terminal && !flags.script {
        true => Console::edited()?,
        false => Console::plain(),
    };
    let reactor = Reactor::builder().workers(1).start()?;
    let mut session = Session::new(&reactor, &flags, Arc::clone(&console));
    if let Some(user) = &flags.user {
        let variable = std::env::var("CHAT_PASSWORD").ok();
        let password = flags.password.as_ref().or(variable.as_ref());
        session.log_in(user, password.unwrap_or(user))?;
    } else {
        console.say(text::MENU);
    }
    while let Some(typed) = lines.next(session.prompt(), session.hides()) {
        if !session.take(typed.trim()) {
            break;
        }
    }
    session.end(Duration::from_secs(flags.drain_secs))?;
    Ok(())
}
