//! The cases: one kind of work each, who enters it, and the figures to reach.

use std::time::Duration;

use crate::goal::Goal;
use crate::load::Load;
use crate::metric::Metric;
use crate::server::Mode;

/// The work of a case.
#[derive(Debug, Clone, Copy)]
pub enum Work {
    Load(Load),
    /// An open loop at half of what the baseline carries at most, found before the first round.
    HalfOfBaseline {
        connections: usize,
    },
}

/// Which cores the server and the load generator may use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cores {
    /// One each.
    Pinned,
    /// Both share both.
    Shared,
}

#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub name: &'static str,
    pub title: &'static str,
    /// What a reader should know before the figures; may be empty.
    pub note: &'static str,
    pub work: Work,
    pub bytes: usize,
    pub mode: Mode,
    pub cores: Cores,
    pub workers: usize,
    /// The first is the baseline that all are divided by.
    pub servers: &'static [&'static str],
    /// More options for every server.
    pub options: &'static [&'static str],
    pub goals: &'static [Goal],
    /// The number of connections, where the case is a point of the growth charts.
    pub growth: Option<usize>,
    /// Rounds beyond which the figure does not move.
    pub rounds_max: usize,
    /// Warm-up and window last at least so long: what happens once in a while happens in each.
    pub period: Duration,
    /// Too long for `--quick`.
    pub is_long: bool,
}

impl Case {
    pub fn baseline(&self) -> &'static str {
        self.servers[0]
    }

    /// Whether `server` is part of a quick look: the baseline, the limit, ours, and whom a goal names.
    pub fn is_essential(&self, server: &str, ours: &str) -> bool {
        let named = |goal: &Goal| goal.against == Some(server) || goal.of == server;
        let always = [self.baseline(), "c", "c-spin", ours];
        always.contains(&server) || self.goals.iter().any(named)
    }
}

const fn closed(connections: usize, depth: u64) -> Work {
    Work::Load(Load::Closed {
        connections,
        idle: 0,
        depth,
        sliding: false,
        spin: false,
    })
}

const fn broadcast(connections: usize, depth: u64) -> Work {
    Work::Load(Load::Broadcast { connections, depth })
}

const PLAIN: Case = Case {
    name: "",
    title: "",
    note: "",
    work: closed(50, 1),
    bytes: 64,
    mode: Mode::Raw,
    cores: Cores::Pinned,
    workers: 1,
    servers: RAW,
    options: &[],
    goals: &[],
    growth: None,
    rounds_max: usize::MAX,
    period: Duration::ZERO,
    is_long: false,
};

const RAW: &[&str] = &[
    "tokio",
    "tokio-64k",
    "tokio-current",
    "c",
    "netwheel",
    "libuv",
    "netty",
    "go",
];
const STREAM: &[&str] = &[
    "tokio",
    "tokio-64k",
    "tokio-current-64k",
    "c",
    "netwheel",
    "libuv",
    "netty",
    "go",
];
const FRAMED: &[&str] = &[
    "tokio",
    "tokio-current",
    "tokio-batch",
    "c",
    "netwheel",
    "netty",
    "go",
];
const POOL: &[&str] = &["tokio", "tokio-crossbeam", "c", "netwheel", "netty", "go"];
const SEALED: &[&str] = &["tokio", "tokio-64k", "tokio-current", "netwheel"];
const FEW: &[&str] = &["tokio", "c", "netwheel"];

const HEARTBEAT: Duration = Duration::from_secs(5);
/// Three heartbeats may be missed: so long it takes until each link has been looked at.
const WATCHED: Duration = Duration::from_secs(15);
const CALLS_NOTE: &str = "Each call is followed by another when it is answered. tokio-batch: the same wire by hand on \
                          tokio_util. tarpc: another wire and its own client, of which only the server's CPU time counts.";
const CALLS: &[&str] = &["tokio-batch", "tokio", "tarpc", "c", "netwheel"];

/// What the project asks of links: beside tokio by hand, and beside what its users take.
const fn call_goals(by_hand: f64) -> [Goal; 2] {
    [
        Goal::faster(CPU, "tokio-batch", by_hand, ""),
        Goal::faster(CPU, "tarpc", 2.0, ""),
    ]
}

const ONE_CALL: [Goal; 2] = call_goals(1.05);
const MANY_CALLS: [Goal; 2] = call_goals(1.3);

const fn calls(in_flight: u64) -> Work {
    Work::Load(Load::Closed {
        connections: 1,
        idle: 0,
        depth: in_flight,
        sliding: true,
        spin: false,
    })
}

const ROOM: &[&str] = &["tokio", "tokio-batch", "tokio-current", "netwheel"];

const CPU: Metric = Metric::Cpu;
const P99: Metric = Metric::P99;

/// Every case. The goals are those that the project set itself before it measured.
pub const CASES: &[Case] = &[
    Case {
        name: "raw-pingpong",
        title: "raw ping-pong, 50 connections, 64 B",
        goals: &[
            Goal::faster(CPU, "tokio", 1.02, "C 1.03 to 1.08"),
            Goal::faster(CPU, "c", 0.97, ""),
            Goal::at_most(Metric::Syscalls, 2.05, "C 2.02"),
        ],
        ..PLAIN
    },
    Case {
        name: "raw-pipeline",
        title: "raw pipeline, 50 connections x 32 deep, 64 B",
        work: closed(50, 32),
        goals: &[
            Goal::faster(CPU, "tokio", 1.0, "C 1.02"),
            Goal::faster(CPU, "c", 0.97, ""),
        ],
        ..PLAIN
    },
    Case {
        name: "stream",
        title: "stream, 4 connections x 64 KiB",
        work: Work::Load(Load::Closed {
            connections: 4,
            idle: 0,
            depth: 8,
            sliding: true,
            spin: false,
        }),
        bytes: 64 * 1024,
        servers: STREAM,
        goals: &[
            Goal::faster(CPU, "tokio", 5.0, "C 4.7, libuv 5.6, Netty 6.1"),
            Goal::faster(CPU, "tokio-64k", 1.15, "Netty 1.25"),
        ],
        ..PLAIN
    },
    Case {
        name: "churn",
        title: "connect, one echo, close; 50 at a time",
        work: Work::Load(Load::Churn { at_once: 50 }),
        goals: &[Goal::faster(CPU, "tokio", 1.04, "C 1.05")],
        ..PLAIN
    },
    Case {
        name: "framed-pingpong",
        title: "framed ping-pong, 50 connections, 64 B",
        mode: Mode::Framed,
        servers: FRAMED,
        goals: &[
            Goal::faster(CPU, "tokio", 1.12, "C 1.18"),
            Goal::faster(CPU, "c", 0.96, ""),
        ],
        ..PLAIN
    },
    Case {
        name: "framed-pipeline",
        title: "framed pipeline, 50 connections x 32 deep, 64 B",
        work: closed(50, 32),
        mode: Mode::Framed,
        servers: FRAMED,
        goals: &[
            Goal::faster(CPU, "tokio", 25.0, "C 31"),
            Goal::faster(CPU, "tokio-batch", 1.4, "C 1.7"),
            Goal::at_most(Metric::Syscalls, 0.08, "C about 0.07"),
        ],
        ..PLAIN
    },
    Case {
        name: "pool-pingpong",
        title: "framed, business pool of 4, ping-pong, 50 connections",
        mode: Mode::Pool,
        servers: POOL,
        goals: &[
            Goal::faster(CPU, "tokio", 2.1, "C 2.4"),
            Goal::faster(CPU, "tokio-crossbeam", 1.15, "C 1.29"),
        ],
        ..PLAIN
    },
    Case {
        name: "pool-pipeline",
        title: "framed, business pool of 4, 50 connections x 32 deep",
        work: closed(50, 32),
        mode: Mode::Pool,
        servers: POOL,
        goals: &[
            Goal::faster(CPU, "tokio", 6.0, "C 8"),
            Goal::faster(CPU, "tokio-crossbeam", 2.0, "C 2.9"),
        ],
        ..PLAIN
    },
    Case {
        name: "broadcast-one",
        title: "broadcast to 1,000 connections, 64 B, one message at a time",
        note: "A message counts once for each who hears it. tokio: a `tokio::sync::broadcast` channel of frames encoded \
               once, a task a connection.",
        work: broadcast(1000, 1),
        mode: Mode::Broadcast,
        servers: ROOM,
        goals: &[Goal::faster(CPU, "tokio", 1.1, "")],
        ..PLAIN
    },
    Case {
        name: "broadcast-burst",
        title: "broadcast to 1,000 connections, 64 B, bursts of 32 messages",
        note: "tokio writes each message that it receives; tokio-batch gathers all that are there for one write.",
        work: broadcast(1000, 32),
        mode: Mode::Broadcast,
        servers: ROOM,
        goals: &[Goal::faster(CPU, "tokio", 3.0, "")],
        ..PLAIN
    },
    Case {
        name: "tls-pingpong",
        title: "ping-pong under TLS 1.3, 50 connections, 64 B",
        mode: Mode::Tls,
        servers: SEALED,
        goals: &[Goal::faster(CPU, "tokio", 1.1, "")],
        ..PLAIN
    },
    Case {
        name: "tls-16k",
        title: "ping-pong under TLS 1.3, 50 connections, 16 KiB",
        mode: Mode::Tls,
        bytes: 16 * 1024,
        servers: SEALED,
        goals: &[
            Goal::faster(CPU, "tokio", 1.1, ""),
            Goal::faster(CPU, "tokio-64k", 1.1, ""),
        ],
        ..PLAIN
    },
    Case {
        name: "udp-pingpong",
        title: "UDP ping-pong, one socket, 50 peers, 64 B",
        work: Work::Load(Load::Datagrams { peers: 50 }),
        mode: Mode::Udp,
        servers: &["tokio", "tokio-current", "c", "netwheel"],
        goals: &[
            Goal::faster(CPU, "tokio", 1.0, ""),
            Goal::faster(CPU, "c", 0.95, ""),
        ],
        ..PLAIN
    },
    Case {
        name: "link-calls-1",
        title: "two-way calls on one link, 64 B, 1 in flight",
        note: CALLS_NOTE,
        work: calls(1),
        mode: Mode::Link,
        servers: CALLS,
        goals: &ONE_CALL,
        ..PLAIN
    },
    Case {
        name: "link-calls-64",
        title: "two-way calls on one link, 64 B, 64 in flight",
        note: CALLS_NOTE,
        work: calls(64),
        mode: Mode::Link,
        servers: CALLS,
        goals: &MANY_CALLS,
        ..PLAIN
    },
    Case {
        name: "link-calls-1024",
        title: "two-way calls on one link, 64 B, 1,024 in flight",
        note: CALLS_NOTE,
        work: calls(1024),
        mode: Mode::Link,
        servers: CALLS,
        goals: &MANY_CALLS,
        ..PLAIN
    },
    Case {
        name: "link-one-way",
        title: "messages that want no answer, on one link, 64 B",
        note: "Bursts of 255 and a question of how many have come, four bursts under way. tarpc has no such messages.",
        work: Work::Load(Load::OneWay { burst: 255 }),
        mode: Mode::Link,
        servers: &["tokio-batch", "tokio", "c", "netwheel"],
        ..PLAIN
    },
    Case {
        name: "link-heartbeats",
        title: "10,000 links, each pings once in 5 s",
        note: "The C loop answers pings and watches over nobody. The others look for silent peers too: tokio each \
               5 s, netwheel each 15 s, which is the least that the window takes.",
        work: Work::Load(Load::Heartbeats {
            links: 10_000,
            every: HEARTBEAT,
        }),
        mode: Mode::Link,
        servers: &["c", "tokio-batch", "netwheel"],
        goals: &[Goal::within(CPU, "c", 1.2, "")],
        rounds_max: 3,
        period: WATCHED,
        is_long: true,
        ..PLAIN
    },
    Case {
        name: "thousand",
        title: "raw ping-pong, 1,000 connections, 64 B",
        note: "tokio's multi-thread runtime starves connections beyond about 256 ready ones in some runs and not in \
               others: its p99 is shown, and nothing is divided by it.",
        work: closed(1000, 1),
        growth: Some(1000),
        goals: &[
            Goal::within(P99, "c", 1.5, ""),
            Goal::at_most(Metric::Tail, 1.6, ""),
            Goal::at_least(Metric::Slowest, 0.5, ""),
        ],
        ..PLAIN
    },
    Case {
        name: "open-loop",
        title: "open loop at half of tokio's saturation, 100 connections, 64 B",
        work: Work::HalfOfBaseline { connections: 100 },
        goals: &[
            Goal::faster(CPU, "tokio", 1.05, "C 1.06"),
            Goal::faster(P99, "tokio", 1.0, ""),
        ],
        ..PLAIN
    },
    Case {
        name: "shared-raw",
        title: "not pinned: 2 workers and the load on the same 2 cores, raw, 50 connections",
        note: "A preempted worker strands the connections that are fixed to it; a work-stealing runtime moves on.",
        cores: Cores::Shared,
        workers: 2,
        servers: &[
            "tokio",
            "c",
            "netwheel",
            "netwheel-pin",
            "netwheel-one",
            "netty",
            "go",
        ],
        goals: &[
            Goal::faster(CPU, "tokio", 1.0, "C 0.93"),
            Goal::faster(P99, "tokio", 1.0, "C 0.23"),
        ],
        ..PLAIN
    },
    Case {
        name: "shared-pool",
        title: "not pinned: 2 workers, business pool of 4 and the load on the same 2 cores, 50 connections",
        mode: Mode::Pool,
        cores: Cores::Shared,
        workers: 2,
        servers: &[
            "tokio",
            "tokio-crossbeam",
            "c",
            "netwheel",
            "netwheel-pin",
            "netwheel-one",
        ],
        goals: &[
            Goal::faster(
                CPU,
                "tokio-crossbeam",
                1.0,
                "against spawn_blocking: C 1.31, crossbeam 1.88",
            ),
            Goal::faster(P99, "tokio-crossbeam", 1.0, ""),
        ],
        ..PLAIN
    },
    Case {
        name: "one-spinning",
        title: "one connection, ping-pong, the client spinning",
        work: Work::Load(Load::Closed {
            connections: 1,
            idle: 0,
            depth: 1,
            sliding: false,
            spin: true,
        }),
        servers: &["tokio", "c", "c-spin", "netwheel", "netwheel-spin"],
        goals: &[Goal::at_most(Metric::P50, 8.0, "C 7.4, sleeping servers 20").of("netwheel-spin")],
        ..PLAIN
    },
    Case {
        name: "idle-memory",
        title: "user memory per idle connection: slope from 1,000 to 10,000, framed, one idle deadline armed",
        work: Work::Load(Load::Idle {
            few: 1000,
            many: 10_000,
        }),
        mode: Mode::Framed,
        servers: &["tokio", "c", "netwheel", "netty", "go"],
        note: "Of the rivals none arms the deadline, which favours them.",
        options: &["--idle", "600"],
        goals: &[Goal::at_most(
            Metric::Memory,
            512.0,
            "C 240; 256 is the moonshot",
        )],
        rounds_max: 3,
        ..PLAIN
    },
    Case {
        name: "idle-memory-raw",
        title: "user memory per idle connection: slope from 1,000 to 10,000, raw",
        work: Work::Load(Load::Idle {
            few: 1000,
            many: 10_000,
        }),
        servers: &[
            "tokio",
            "tokio-64k",
            "c",
            "netwheel",
            "libuv",
            "netty",
            "go",
        ],
        rounds_max: 3,
        is_long: true,
        ..PLAIN
    },
    Case {
        name: "idle-beside-active",
        title: "raw ping-pong on 10 connections, 9,990 idle beside them",
        work: Work::Load(Load::Closed {
            connections: 10,
            idle: 9990,
            depth: 1,
            sliding: false,
            spin: false,
        }),
        servers: FEW,
        is_long: true,
        ..PLAIN
    },
    Case {
        name: "connections-1",
        title: "raw ping-pong, 1 connection, 64 B",
        work: closed(1, 1),
        servers: FEW,
        growth: Some(1),
        is_long: true,
        ..PLAIN
    },
    Case {
        name: "connections-10",
        title: "raw ping-pong, 10 connections, 64 B",
        work: closed(10, 1),
        servers: FEW,
        growth: Some(10),
        is_long: true,
        ..PLAIN
    },
    Case {
        name: "connections-100",
        title: "raw ping-pong, 100 connections, 64 B",
        work: closed(100, 1),
        servers: FEW,
        growth: Some(100),
        is_long: true,
        ..PLAIN
    },
    Case {
        name: "connections-10000",
        title: "raw ping-pong, 10,000 connections, 64 B",
        work: closed(10_000, 1),
        servers: FEW,
        growth: Some(10_000),
        is_long: true,
        ..PLAIN
    },
    Case {
        name: "option-buffer",
        title: "what the read buffer gives: stream, 4 connections x 64 KiB",
        work: Work::Load(Load::Closed {
            connections: 4,
            idle: 0,
            depth: 8,
            sliding: true,
            spin: false,
        }),
        bytes: 64 * 1024,
        servers: &["netwheel", "netwheel-8k", "netwheel-256k"],
        is_long: true,
        ..PLAIN
    },
    Case {
        name: "option-turn",
        title: "what fairness costs: stream, 4 connections x 64 KiB",
        note: "Who stays with one connection finds its bytes in the cache, and lets the others wait.",
        work: Work::Load(Load::Closed {
            connections: 4,
            idle: 0,
            depth: 8,
            sliding: true,
            spin: false,
        }),
        bytes: 64 * 1024,
        servers: &["netwheel", "netwheel-64k-turn", "netwheel-1m-turn", "c"],
        is_long: true,
        ..PLAIN
    },
    Case {
        name: "option-idle",
        title: "what the stage that closes idle peers costs: raw ping-pong, 50 connections, 64 B",
        servers: &["netwheel", "netwheel-idle", "c"],
        is_long: true,
        ..PLAIN
    },
    Case {
        name: "option-spin",
        title: "what spinning before sleeping costs: open loop at half of saturation, 100 connections",
        work: Work::HalfOfBaseline { connections: 100 },
        servers: &["netwheel", "netwheel-spin"],
        is_long: true,
        ..PLAIN
    },
    Case {
        name: "option-accept",
        title: "what a listener per worker gives: churn with 2 workers, not pinned",
        work: Work::Load(Load::Churn { at_once: 50 }),
        cores: Cores::Shared,
        workers: 2,
        servers: &["netwheel", "netwheel-reuseport", "tokio", "c"],
        is_long: true,
        ..PLAIN
    },
];
