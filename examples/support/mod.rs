//! What the examples have in common, so that each can be read for what is its own: flags, signals, the
//! stats file, the drain, progress. It is plumbing for programs like these, and no part of the library.

#![allow(dead_code, unused_imports, reason = "no example uses all of it")]

pub(crate) mod flags;
pub(crate) mod load;
mod progress;
pub(crate) mod repl;
mod serve;
pub(crate) mod signals;
mod stats_file;
pub(crate) mod stdin;

use std::error::Error;
use std::io::Write;
use std::process::ExitCode;

pub(crate) use flags::ServerFlags;
pub(crate) use progress::Progress;
pub(crate) use serve::serve;
pub(crate) use stats_file::StatsFile;

/// What an example does, or why it could not: one line that names the culprit and says what to do.
pub(crate) type Outcome<T = ()> = Result<T, Box<dyn Error>>;

/// Runs an example: logs to stderr at level `info` unless `RUST_LOG` says otherwise, and ends with
/// status 0, or with `error: ..` and status 1.
pub(crate) fn run(example: impl FnOnce() -> Outcome) -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    match example() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&error.to_string());
            ExitCode::from(1)
        }
    }
}

/// One line on stderr; nothing is left to be done when not even that can be written.
fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "error: {text}");
}

/// One line on stdout, for whoever waits for it.
pub(crate) fn say(text: impl std::fmt::Display) {
    let mut stdout = std::io::stdout().lock();
    let _ = writeln!(stdout, "{text}").and_then(|()| stdout.flush());
}
