//! The chat's server.
//!
//! ```sh
//! cargo run --release -p chat --bin chat_server -- --listen 127.0.0.1:7000
//! cargo run --release -p chat --bin chat_client -- --connect 127.0.0.1:7000 --user ann
//! ```
//! Without `--users` everybody may log in, with the name as the password. Without `--data` messages are
//! forgotten with the process.

#[path = "../../../support/mod.rs"]
mod support;

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use chat::service::{Options, Service};
use chat::store::{DiskStore, MemoryStore, Store};
use chat::users::{Anybody, PasswordFile, Users, hash, is_name};
use chat::wall_clock;
use clap::{Parser, ValueEnum};
use netwheel::{Duplicate, Server};
use support::Outcome;

const EXAMPLES: &str = "\
Try it, from three terminals:
  cargo run --release -p chat --bin chat_server -- --listen 127.0.0.1:7000 --data /tmp/chat.db
  cargo run --release -p chat --bin chat_client -- --connect 127.0.0.1:7000 --user ann
  cargo run --release -p chat --bin chat_client -- --connect 127.0.0.1:7000 --user bob";

/// A chat for many users: rooms, several devices, messages that wait for who is away.
#[derive(Parser)]
#[command(name = "chat_server", after_help = EXAMPLES)]
struct Flags {
    #[command(flatten)]
    server: support::ServerFlags,

    /// Keeps messages in this file; without it they are gone with the process
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,

    /// Who may log in: lines `name:argon2-hash`; without it everybody, with the name as the password
    #[arg(long, value_name = "PATH")]
    users: Option<PathBuf>,

    /// Adds a user to the file of --users, and ends; without a password, which others on this machine may see here,
    /// it is read from CHAT_PASSWORD, or else from stdin
    #[arg(long, value_name = "NAME[:PASSWORD]", requires = "users")]
    add_user: Option<String>,

    /// Threads that check passwords; 0 means twice the cores
    #[arg(long, value_name = "N", default_value_t = 0)]
    pool: usize,

    /// Time to log in, before a newcomer is closed
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    login_secs: f64,

    /// Silence after which a client is given up; clients send a heartbeat three times as often
    #[arg(long, value_name = "SECONDS", default_value_t = 150.0)]
    idle_secs: f64,

    /// What becomes of a second login of a user on the same platform
    #[arg(long, value_enum, default_value_t = Second::Reject)]
    duplicate: Second,

    /// Sends no copies to the sender's other devices
    #[arg(long)]
    no_copies: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Second {
    /// It is refused
    Reject,
    /// The older session ends
    Kick,
}

fn main() -> ExitCode {
    let flags: Flags = support::flags::parse();
    for (flag, value) in [
        ("--login-secs", flags.login_secs),
        ("--idle-secs", flags.idle_secs),
    ] {
        if Duration::try_from_secs_f64(value).is_ok_and(|time| !time.is_zero()) {
            continue;
        }
        support::flags::refuse(&format!("{flag} {value} is no time; give more than 0"));
    }
    support::run(|| match (&flags.add_user, &flags.users) {
        (Some(user), Some(file)) => add_user(user, file),
        _ => serve(&flags),
    })
}

fn serve(flags: &Flags) -> Outcome {
    let users: Arc<dyn Users> = match &flags.users {
        Some(path) => Arc::new(PasswordFile::open(path).map_err(|error| {
            let path = path.display();
            format!("{path}: {error}; give --users a file made by --add-user")
        })?),
        None => Arc::new(Anybody),
    };
    let store: Arc<dyn Store> = match &flags.data {
        Some(path) => Arc::new(DiskStore::open(path).map_err(|error| {
            let path = path.display();
            format!("{path}: {error}; give --data a file that no other server uses")
        })?),
        None => Arc::new(MemoryStore::default()),
    };
    let mut options = Options::new(wall_clock);
    options.login_timeout = Duration::from_secs_f64(flags.login_secs);
    options.idle_timeout = Duration::from_secs_f64(flags.idle_secs);
    options.login_threads = flags.pool;
    options.office.copies = !flags.no_copies;
    options.duplicate = match flags.duplicate {
        Second::Reject => Duplicate::RejectNew,
        Second::Kick => Duplicate::KickOld,
    };
    let service = Service::own(store, users, options)?;
    let server = service.on(Server::new().keepalive(Duration::from_secs(7200)));
    support::serve(&flags.server, server, |_stats| {})
}

fn add_user(user: &str, file: &Path) -> Outcome {
    let (name, password) = match user.split_once(':') {
        Some((name, password)) => (name, password.to_owned()),
        None => (user, password()?),
    };
    if !is_name(name) || password.is_empty() {
        return Err("give --add-user NAME:PASSWORD, a name without spaces and a password".into());
    }
    if file.exists() && PasswordFile::open(file)?.exists(name) {
        return Err(format!("{name} is in {} already", file.display()).into());
    }
    let mut file = OpenOptions::new().create(true).append(true).open(file)?;
    writeln!(file, "{name}:{}", hash(&password)?)?;
    Ok(())
}

/// A password that stands on no command line.
fn password() -> Outcome<String> {
    if let Ok(password) = std::env::var("CHAT_PASSWORD") {
        return Ok(password);
    }
    let mut line = String::new();
    std::io::stdin().read_line(&mut line)?;
    Ok(line.trim_end_matches(['\r', '\n']).to_owned())
}
