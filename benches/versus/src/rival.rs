//! The servers that can be measured, and how each is started.

use std::env;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Result, bail};

use crate::server::{self, Mode};

/// Where a server's program comes from.
#[derive(Debug, Clone, Copy)]
enum Program {
    /// `versus serve NAME`.
    Own(&'static str),
    /// Built by `build.rs`: its path, or why it is missing.
    Built {
        path: &'static str,
        missing: &'static str,
    },
    /// `java -cp PATH NettyServer`, likewise.
    Java {
        path: &'static str,
        missing: &'static str,
    },
}

/// A server under a name of its own: a program and its fixed options.
#[derive(Debug, Clone, Copy)]
pub struct Rival {
    pub name: &'static str,
    pub about: &'static str,
    program: Program,
    options: &'static [&'static str],
    modes: &'static [Mode],
    /// A JIT compiler must be done before the measured window.
    pub warm_up_min: Duration,
}

const ALL: &[Mode] = &[Mode::Raw, Mode::Framed, Mode::Pool];
const OWN: &[Mode] = &[
    Mode::Raw,
    Mode::Framed,
    Mode::Pool,
    Mode::Tls,
    Mode::Broadcast,
    Mode::Udp,
    Mode::Link,
];
const EVERY_C: &[Mode] = &[Mode::Raw, Mode::Framed, Mode::Pool, Mode::Udp, Mode::Link];

const C: Program = Program::Built {
    path: env!("RIVAL_C"),
    missing: env!("RIVAL_C_MISSING"),
};
const LIBUV: Program = Program::Built {
    path: env!("RIVAL_LIBUV"),
    missing: env!("RIVAL_LIBUV_MISSING"),
};
const GO: Program = Program::Built {
    path: env!("RIVAL_GO"),
    missing: env!("RIVAL_GO_MISSING"),
};
const NETTY: Program = Program::Java {
    path: env!("RIVAL_NETTY"),
    missing: env!("RIVAL_NETTY_MISSING"),
};

const fn rival(
    name: &'static str,
    program: Program,
    options: &'static [&'static str],
    about: &'static str,
) -> Rival {
    Rival {
        name,
        about,
        program,
        options,
        modes: match program {
            Program::Own(_) => OWN,
            Program::Built { .. } | Program::Java { .. } => ALL,
        },
        warm_up_min: Duration::ZERO,
    }
}

const fn netwheel(
    name: &'static str,
    options: &'static [&'static str],
    about: &'static str,
) -> Rival {
    rival(name, Program::Own("netwheel"), options, about)
}

const TARPC: &str = "tarpc";

/// Every server. **A new rival is a line here**, and its name in the cases that it enters.
pub const RIVALS: &[Rival] = &[
    netwheel(
        "netwheel",
        &["--buffer", "65536"],
        "ours, as its builder makes it",
    ),
    netwheel(
        "netwheel-spin",
        &["--buffer", "65536", "--spin", "1000"],
        "polls 1 ms before it sleeps",
    ),
    netwheel(
        "netwheel-pin",
        &["--buffer", "65536", "--pin", "1"],
        "each worker pinned to a core",
    ),
    netwheel(
        "netwheel-idle",
        &["--buffer", "65536", "--idle", "600"],
        "with the stage that closes idle peers",
    ),
    netwheel(
        "netwheel-one",
        &["--buffer", "65536", "--workers", "1"],
        "one worker, where others have two",
    ),
    netwheel(
        "netwheel-reuseport",
        &["--buffer", "65536", "--reuse-port", "1"],
        "a listener per worker",
    ),
    netwheel(
        "netwheel-8k",
        &["--buffer", "8192"],
        "shared read buffer of 8 KiB",
    ),
    netwheel(
        "netwheel-64k-turn",
        &["--buffer", "65536", "--turn", "65536"],
        "64 KiB of a connection, then the next",
    ),
    netwheel(
        "netwheel-1m-turn",
        &["--buffer", "65536", "--turn", "1048576"],
        "1 MiB of a connection, then the next",
    ),
    netwheel(
        "netwheel-256k",
        &["--buffer", "262144"],
        "shared read buffer of 256 KiB",
    ),
    rival(
        "tokio",
        Program::Own("tokio"),
        &["--buffer", "8192"],
        "multi-thread, 8 KiB buffer a connection; `send` per frame; spawn_blocking",
    ),
    rival(
        "tokio-64k",
        Program::Own("tokio"),
        &["--buffer", "65536"],
        "multi-thread, 64 KiB buffer a connection",
    ),
    rival(
        "tokio-current",
        Program::Own("tokio-current"),
        &["--buffer", "8192"],
        "current_thread, else as tokio",
    ),
    rival(
        "tokio-current-64k",
        Program::Own("tokio-current"),
        &["--buffer", "65536"],
        "current_thread, 64 KiB buffer a connection",
    ),
    rival(
        "tokio-batch",
        Program::Own("tokio-batch"),
        &["--buffer", "8192"],
        "multi-thread, all ready frames fed, one flush",
    ),
    rival(
        "tokio-crossbeam",
        Program::Own("tokio-crossbeam"),
        &["--buffer", "8192"],
        "multi-thread, business pool fed by crossbeam, answers by oneshot",
    ),
    Rival {
        modes: &[Mode::Link],
        ..rival(
            TARPC,
            Program::Own(TARPC),
            &[],
            "tarpc on tokio multi-thread, bincode, a task a call; its own wire, and its own client for the load",
        )
    },
    Rival {
        modes: EVERY_C,
        ..rival(
            "c",
            C,
            &["--buffer", "65536"],
            "hand-written C epoll loop: the limit",
        )
    },
    rival(
        "c-spin",
        C,
        &["--buffer", "65536", "--spin", "1000"],
        "polls 1 ms before it sleeps",
    ),
    Rival {
        modes: &[Mode::Raw],
        ..rival("libuv", LIBUV, &["--buffer", "65536"], "libuv, C")
    },
    rival(
        "go",
        GO,
        &["--buffer", "65536"],
        "Go's net, a goroutine a connection",
    ),
    Rival {
        warm_up_min: Duration::from_millis(2500),
        ..rival(
            "netty",
            NETTY,
            &[],
            "Netty NIO, its own adaptive read buffer",
        )
    },
];

/// The rival of that name.
pub fn find(name: &str) -> Result<&'static Rival> {
    match RIVALS.iter().find(|rival| rival.name == name) {
        Some(rival) => Ok(rival),
        None => bail!("there is no server {name}; --list shows them"),
    }
}

impl Rival {
    /// Why it cannot run here, or not in that mode.
    pub fn missing(&self, mode: Mode) -> Option<String> {
        if !self.modes.contains(&mode) {
            return Some(format!("has no mode {}", mode.word()));
        }
        match self.program {
            Program::Own(kind) => server::find(kind)
                .is_none()
                .then(|| format!("{kind} is not built into this program")),
            Program::Built { missing, .. } | Program::Java { missing, .. } => {
                (!missing.is_empty()).then(|| missing.to_owned())
            }
        }
    }

    /// Whether it speaks a wire of its own, and its own client makes the load.
    pub fn has_own_client(&self) -> bool {
        self.name == TARPC
    }

    /// Whether valgrind can count its instructions: a JIT or a foreign scheduler defeats it.
    pub fn is_native(&self) -> bool {
        !matches!(self.program, Program::Java { .. }) && self.name != "go"
    }

    /// The command line of the contract, run by `wrapper` when there is one.
    pub fn command(
        &self,
        wrapper: &[&str],
        mode: Mode,
        workers: usize,
        more: &[&str],
    ) -> Result<Command> {
        let own = env::current_exe()?;
        let (program, fixed): (&Path, Vec<&str>) = match self.program {
            Program::Own(kind) => (&own, vec!["serve", kind]),
            Program::Built { path, .. } => (Path::new(path), Vec::new()),
            Program::Java { path, .. } => {
                // What Netty 4.1.48 needs on a Java 17 for its direct buffers.
                let options = [
                    "--add-opens=java.base/jdk.internal.misc=ALL-UNNAMED",
                    "--add-opens=java.base/java.nio=ALL-UNNAMED",
                    "-Dio.netty.tryReflectionSetAccessible=true",
                    "-cp",
                    path,
                    "NettyServer",
                ];
                (Path::new("java"), options.to_vec())
            }
        };
        let mut command = match wrapper {
            [] => Command::new(program),
            [first, rest @ ..] => {
                let mut command = Command::new(first);
                command.args(rest).arg(program);
                command
            }
        };
        command.args(fixed).args(["--mode", mode.word()]);
        command.args(["--workers", &workers.to_string(), "--pool", "4"]);
        command.args(self.options).args(more);
        Ok(command)
    }
}
