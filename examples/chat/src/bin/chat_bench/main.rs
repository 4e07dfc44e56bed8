//! Load for the chat: users who talk to each other and in rooms, every message checked.
//!
//! ```sh
//! cargo run --release -p chat --bin chat_server -- --listen 127.0.0.1:7000
//! cargo run --release -p chat --bin chat_bench -- --connect 127.0.0.1:7000 --users 1000
//! ```

#[path = "../../../../support/mod.rs"]
mod support;

mod crowd;
mod report;
mod user;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use chat::protocol::{HeadContent, Packet};
use clap::Parser;
use crowd::Crowd;
use netwheel::{Client, ConnectionHandle, Pipeline, Reactor};
use report::{memory_bytes, report};
use support::{Outcome, Progress};
use user::User;

const EXAMPLES: &str = "\
Try it, against chat_server:
  cargo run --release -p chat --bin chat_bench -- --connect 127.0.0.1:7000 --users 1000 --rate 500
  cargo run --release -p chat --bin chat_bench -- --connect 127.0.0.1:7000 --users 1000 --room-share 1 --rate 52
There is nothing to type: it prints a table.";

/// How long a login, a join, or the last messages may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// Users who talk; each message arrives once and in the order of its sender, or the program fails.
#[derive(Parser)]
#[command(name = "chat_bench", after_help = EXAMPLES)]
struct Flags {
    /// The server
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:7000")]
    connect: String,

    /// Users online, each with a connection; u0, u1, ..., with their names as passwords
    #[arg(long, value_name = "N", default_value_t = 1000)]
    users: usize,

    /// Of these, how many talk; the others listen
    #[arg(long, value_name = "N", default_value_t = 100)]
    talkers: usize,

    /// Messages a second, of all talkers together
    #[arg(long, value_name = "PER_SECOND", default_value_t = 500.0)]
    rate: f64,

    /// Share of the messages that go to a room; the others go from user to user
    #[arg(long, value_name = "0..1", default_value_t = 0.0)]
    room_share: f64,

    /// Members of each room; every user is in one
    #[arg(long, value_name = "N", default_value_t = 1000)]
    room_members: usize,

    /// Bytes of a message's text
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    size: usize,

    /// How long they talk
    #[arg(long, value_name = "SECONDS", default_value_t = 10.0)]
    seconds: f64,

    /// Time between two heartbeats of each user
    #[arg(long, value_name = "SECONDS", default_value_t = 50.0)]
    heartbeat_secs: f64,

    /// I/O threads
    #[arg(long, value_name = "N", default_value_t = 1)]
    workers: usize,

    /// The server's process, for its memory
    #[arg(long, value_name = "PID")]
    server_pid: Option<u32>,

    /// Prints one line of JSON
    #[arg(long)]
    json: bool,
}

fn main() -> ExitCode {
    let flags: Flags = support::flags::parse();
    if flags.users < 2 || flags.talkers == 0 || flags.talkers > flags.users || flags.rate <= 0.0 {
        support::flags::refuse(
            "there are 2 --users at least, 1 to --users --talkers, and a --rate above 0",
        );
    }
    support::run(|| bench(flags))
}

fn bench(flags: Flags) -> Outcome {
    let reactor = Reactor::builder().workers(flags.workers).start()?;
    let crowd = Arc::new(Crowd::new(flags));
    let clock = crowd.clock.clone();
    let flags = &crowd.flags;
    let login_start = clock.now();
    let handles = log_in(&crowd, &reactor)?;
    let login_time = clock.now().since(login_start);
    if crowd.in_rooms() {
        wait(&crowd, "users are in their rooms", || {
            crowd.joined.load(Ordering::Relaxed) == flags.users
        })?;
    }
    crowd.talking.store(true, Ordering::Relaxed);
    let talk_start = clock.now();
    let talk = Duration::from_secs_f64(flags.seconds);
    let mut progress = Progress::new(talk.as_secs());
    while clock.now().since(talk_start) < talk && !crowd.over.load(Ordering::Relaxed) {
        thread::park_timeout(Progress::INTERVAL);
        let text = format!("{} delivered", crowd.delivered.load(Ordering::Relaxed));
        progress.update(clock.now().since(talk_start), &text);
    }
    progress.finish();
    crowd.talking.store(false, Ordering::Relaxed);
    let delivered_in_time = crowd.delivered.load(Ordering::Relaxed);
    let talk_time = clock.now().since(talk_start);
    let memory = flags.server_pid.map(memory_bytes).transpose()?;
    let all = wait(&crowd, "everything said has arrived", || {
        crowd.delivered.load(Ordering::Relaxed) >= crowd.due.load(Ordering::Relaxed)
            && crowd.kept.load(Ordering::Relaxed) + crowd.refused.load(Ordering::Relaxed)
                >= crowd.said.load(Ordering::Relaxed)
    });
    // Before the connections end, which is no fault then.
    let verdict = crowd.verdict();
    handles.iter().for_each(ConnectionHandle::close);
    reactor.shutdown(PATIENCE);
    report(&crowd, login_time, talk_time, delivered_in_time, memory);
    verdict?;
    all
}

/// Users who log in at the same time.
const AT_ONCE: usize = 256;

/// Logs all users in, not so many at once that the backlog overflows.
fn log_in(crowd: &Arc<Crowd>, reactor: &Reactor) -> Outcome<Vec<ConnectionHandle<Packet>>> {
    let count = crowd.flags.users;
    let mut progress = Progress::new(PATIENCE.as_secs());
    let start = crowd.clock.now();
    let mut handles = Vec::with_capacity(count);
    for nth in 0..count {
        let own = Arc::clone(crowd);
        let client = Client::on(reactor)
            .pipeline(move || Pipeline::new(HeadContent).handler(User::new(&own, nth)));
        handles.push(client.connect(&*crowd.flags.connect)?);
        wait(crowd, "users are logged in", || {
            give_up_if_closed(crowd, &handles);
            nth < crowd.logged_in.load(Ordering::Relaxed) + AT_ONCE
        })?;
        let text = format!(
            "{} of {count} logged in",
            crowd.logged_in.load(Ordering::Relaxed)
        );
        progress.update(crowd.clock.now().since(start), &text);
    }
    progress.finish();
    wait(crowd, "users are logged in", || {
        give_up_if_closed(crowd, &handles);
        crowd.logged_in.load(Ordering::Relaxed) == count
    })?;
    Ok(handles)
}

/// A connection that never was has no user to tell of it.
fn give_up_if_closed(crowd: &Crowd, handles: &[ConnectionHandle<Packet>]) {
    let last = handles.iter().rev().take(AT_ONCE);
    if let Some(reason) = last.filter_map(ConnectionHandle::closed).next()
        && !crowd.over.load(Ordering::Relaxed)
    {
        let address = &crowd.flags.connect;
        crowd.give_up(format!("no connection to {address}, or no more: {reason}"));
    }
}

fn wait(crowd: &Crowd, what: &str, done: impl Fn() -> bool) -> Outcome {
    let start = crowd.clock.now();
    while !done() {
        if crowd.over.load(Ordering::Relaxed) {
            crowd.verdict()?;
        }
        if crowd.clock.now().since(start) > PATIENCE {
            return Err(format!("not after {PATIENCE:?}: {what}").into());
        }
        thread::park_timeout(Duration::from_millis(1));
    }
    Ok(())
}
