//! The server that promises are put to the test with: echoes frames.

use std::ffi::OsString;
use std::io::{BufRead, Write, stdin, stdout};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;
use std::{iter, process, thread};

use bytes::Bytes;
use clap::Parser;
use netwheel::codec::LengthField;
use netwheel::limits::ConnectionLimits;
use netwheel::stages::ReadTimeout;
use netwheel::{
    CloseReason, Context, Executor, Flow, Pipeline, Reactor, Result, RunningServer, Server, Stage,
};
use signal_hook::consts::SIGTERM;
use signal_hook::iterator::Signals;

/// The first argument of this program that makes it the server.
pub(crate) const ROLE: &str = "serve";

#[derive(Parser)]
struct Flags {
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    #[arg(long, default_value_t = 1)]
    workers: usize,
    #[arg(long, default_value_t = 65_536)]
    connections_max: usize,
    #[arg(long)]
    reuse_port: bool,
    /// What is no ping is handled on a pool, and takes so long
    #[arg(long, value_name = "MS")]
    sleep: Option<u64>,
    #[arg(long, value_name = "MS")]
    frame_timeout: Option<u64>,
    #[arg(long, value_name = "MS")]
    read_timeout: Option<u64>,
    #[arg(long, value_name = "MS")]
    write_stall: Option<u64>,
    /// A node of the stack, which lets others in
    #[cfg(feature = "stack")]
    #[arg(long)]
    links: bool,
    /// How long a shutdown may take
    #[arg(long, value_name = "MS", default_value_t = 5_000)]
    drain: u64,
}

/// Answers pings on the worker; the rest goes on.
struct Heartbeat;

impl Stage<Bytes, Bytes> for Heartbeat {
    fn on_inbound(
        &mut self,
        cx: &mut Context<'_, Bytes, Bytes>,
        frame: &mut Bytes,
    ) -> Result<Flow> {
        if !frame.starts_with(b"ping") {
            return Ok(Flow::Next);
        }
        cx.write(frame.clone())?;
        Ok(Flow::Stop)
    }
}

pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    let flags = Flags::parse_from(iter::once(ROLE.into()).chain(arguments));
    let _ = env_logger::try_init();
    let drain = Duration::from_millis(flags.drain);
    #[cfg(feature = "stack")]
    if flags.links {
        let reactor = Reactor::builder().workers(flags.workers).start();
        let reactor = reactor.expect("the reactor starts");
        return run(crate::nodes::serve(&reactor, flags.listen), drain);
    }
    run(start(&flags), drain)
}

/// Tells where it listens, and answers the parent until it is told to end.
fn run(server: RunningServer, drain: Duration) -> ExitCode {
    // First, so that whoever is told finds all descriptors open, and may send a signal.
    let orders = orders();
    tell(server.address());
    tell(process::id());
    for order in orders {
        match order {
            Order::Tell(name) => tell(figure(&server, &name)),
            Order::Stop => {
                let report = server.shutdown(drain);
                return ExitCode::from(u8::from(report.aborted > 0));
            }
        }
    }
    ExitCode::FAILURE
}

fn start(flags: &Flags) -> RunningServer {
    let mut limits = ConnectionLimits::default();
    if let Some(millis) = flags.write_stall {
        limits.write_stall_timeout = Duration::from_millis(millis);
    }
    let pool = flags
        .sleep
        .map(|millis| (Executor::new(4), Duration::from_millis(millis)));
    if let Some(millis) = flags.frame_timeout {
        limits.frame_timeout = Duration::from_millis(millis);
    }
    let read_timeout = flags.read_timeout.map(Duration::from_millis);
    Server::new()
        .reactor(Reactor::builder().connections_max(flags.connections_max))
        .workers(flags.workers)
        .reuse_port(flags.reuse_port)
        .limits(limits)
        .pipeline(move |_| {
            let mut pipeline = Pipeline::new(LengthField::u32());
            if let Some(time) = read_timeout {
                pipeline = pipeline.stage("read timeout", ReadTimeout::after(time));
            }
            let Some((pool, sleep)) = pool.clone() else {
                return pipeline.handle(|cx, frame| cx.write(frame));
            };
            pipeline
                .stage("heartbeat", Heartbeat)
                .handle_on(&pool, move |cx, frame| {
                    thread::sleep(sleep);
                    cx.write(frame)
                })
        })
        .listen(flags.listen)
        .and_then(Server::start)
        .expect("the server starts")
}

/// What the parent asks for, a word a line.
fn figure(server: &RunningServer, name: &str) -> u64 {
    let stats = server.stats();
    match name {
        "active" => server.connections() as u64,
        "accepted" => stats.accepted,
        "closed" => stats.closed,
        "messages" => stats.messages_in,
        "panics" => stats.panics,
        "accept_errors" => stats.accept_errors,
        "queued" => stats.pool_queued,
        "turns" => stats.loop_turns,
        name => CloseReason::ALL
            .iter()
            .find(|reason| reason.name() == name)
            .map_or(0, |reason| stats.closes(*reason)),
    }
}

/// What this program is told to do.
enum Order {
    Tell(String),
    Stop,
}

/// Lines of stdin, until its end, and SIGTERM.
fn orders() -> mpsc::Receiver<Order> {
    let (orders, all) = mpsc::channel();
    let mut signals = Signals::new([SIGTERM]).expect("a signal");
    let stop = orders.clone();
    thread::spawn(move || {
        for _ in signals.forever() {
            let _ = stop.send(Order::Stop);
        }
    });
    thread::spawn(move || {
        for line in stdin().lock().lines().map_while(std::result::Result::ok) {
            let _ = orders.send(Order::Tell(line));
        }
        // Whoever started this has gone.
        process::exit(1);
    });
    all
}

fn tell(what: impl std::fmt::Display) {
    let mut out = stdout().lock();
    let _ = writeln!(out, "{what}");
    let _ = out.flush();
}
