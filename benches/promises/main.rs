//! `cargo bench --bench promises`: what the library promises and only real time can show.
//!
//! ```text
//!   main ──runs, up to three times──> Promise { says, run } ──starts──> a server, in a process of its own
//!     │                                     └── Outcome: held or missed with its figures, or skipped with a reason
//!     └── a table on stdout, and in a file
//! ```
//! The tests hold what needs no time: counts, orders, virtual seconds. Here sockets are real and clocks tick,
//! on whatever machine this is; so a latency is compared with a control of the same run, and a promise that
//! is missed is tried three times.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::unwrap_used,
    clippy::cast_precision_loss,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a program that measures real time and tells a person, and ends where the machine is not as it must be"
)]

mod child;
mod crowds;
mod descriptors;
mod ends;
mod fairness;
mod latency;
mod networks;
#[cfg(feature = "stack")]
mod nodes;
mod promise;
mod report;
mod serve;
mod syscalls;
mod timers;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::{env, fs};

use clap::Parser;

use promise::{Outcome, Promise, Scale};
use report::Report;

/// Measures what the library promises, against a server in a process of its own.
#[derive(Parser)]
#[command(name = "promises")]
struct Flags {
    /// In a minute or two: shorter and smaller, for a look before a change lands
    #[arg(long)]
    short: bool,

    /// Only promises whose name contains this; may be given several times
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,

    /// Prints the promises and ends
    #[arg(long)]
    list: bool,

    /// Writes the table, in Markdown, to this file
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,

    /// Exit code 1 when a promise is missed
    #[arg(long)]
    strict: bool,
}

fn promises() -> Vec<Promise> {
    let all = [
        fairness::promises(),
        crowds::promises(),
        timers::promises(),
        descriptors::promises(),
        ends::promises(),
        syscalls::promises(),
        networks::promises(),
    ];
    all.into_iter().flatten().collect()
}

fn main() -> ExitCode {
    let mut arguments: Vec<OsString> = env::args_os().collect();
    if arguments.get(1).is_some_and(|role| role == serve::ROLE) {
        return serve::main(arguments.split_off(2));
    }
    if arguments.get(1).is_some_and(|role| role == networks::ROLE) {
        return networks::peer(arguments.split_off(2));
    }
    let before = arguments.len();
    arguments.retain(|argument| argument != "--bench");
    // `cargo test --all-targets` runs benches too, without this mark.
    if arguments.len() == before {
        return ExitCode::SUCCESS;
    }
    let flags = Flags::parse_from(arguments);
    let chosen = promises().into_iter().filter(|promise| {
        flags.only.is_empty() || flags.only.iter().any(|part| promise.name.contains(part))
    });
    let chosen: Vec<Promise> = chosen.collect();
    if flags.list {
        for promise in &chosen {
            println!("{:22} {}", promise.name, promise.says);
        }
        return ExitCode::SUCCESS;
    }
    let scale = if flags.short {
        Scale::Short
    } else {
        Scale::Full
    };
    let report = Report::of(&chosen, scale);
    print!("{}", report.table());
    if let Some(file) = &flags.out {
        fs::write(file, report.markdown()).expect("the file can be written");
    }
    let missed = report.count(|outcome| matches!(outcome, Outcome::Missed(_)));
    if flags.strict && missed > 0 {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    }
}
