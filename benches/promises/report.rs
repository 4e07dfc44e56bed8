//! Runs promises, says how far it is, and shows what came of them.

use std::fmt::Write;
use std::io::{IsTerminal, stderr};
use std::process::Command;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};

use crate::promise::{Outcome, Promise, Scale};

/// Tries of a promise: a machine with other work may miss one and two.
const TRIES: u32 = 3;

pub(crate) struct Report {
    rows: Vec<Row>,
    scale: Scale,
    took: Duration,
}

struct Row {
    name: &'static str,
    says: &'static str,
    outcome: Outcome,
    tries: u32,
}

impl Report {
    /// Runs them, one after the other.
    pub(crate) fn of(promises: &[Promise], scale: Scale) -> Self {
        let start = Instant::now();
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {elapsed} {msg}");
            ProgressBar::new(promises.len() as u64)
                .with_style(style.expect("the template is sound"))
        });
        let rows = promises.iter().map(|promise| {
            if let Some(bar) = &bar {
                bar.set_message(promise.name);
                bar.enable_steady_tick(Duration::from_millis(200));
            }
            let row = try_it(promise, scale);
            match &bar {
                Some(bar) => bar.inc(1),
                None => eprintln!(
                    "{}: {} ({})",
                    row.name,
                    row.outcome.word(),
                    row.outcome.text()
                ),
            }
            row
        });
        let rows = rows.collect();
        if let Some(bar) = bar {
            bar.finish_and_clear();
        }
        let took = start.elapsed();
        Self { rows, scale, took }
    }

    pub(crate) fn count(&self, which: impl Fn(&Outcome) -> bool) -> usize {
        self.rows.iter().filter(|row| which(&row.outcome)).count()
    }

    fn summary(&self) -> String {
        let held = self.count(|outcome| matches!(outcome, Outcome::Held(_)));
        let missed = self.count(|outcome| matches!(outcome, Outcome::Missed(_)));
        let skipped = self.count(|outcome| matches!(outcome, Outcome::Skipped(_)));
        let form = self.scale.of("short form, ", "");
        format!(
            "{held} held, {missed} missed, {skipped} skipped; {form}{:.0} s",
            self.took.as_secs_f64()
        )
    }

    /// For a terminal.
    pub(crate) fn table(&self) -> String {
        let mut text = String::new();
        for row in &self.rows {
            let _ = writeln!(
                text,
                "{:22} {:8} {}",
                row.name,
                row.outcome.word(),
                row.says
            );
            let tries = if row.tries > 1 {
                format!(" (try {} of {TRIES})", row.tries)
            } else {
                String::new()
            };
            let _ = writeln!(text, "{:31} {}{tries}", "", row.outcome.text());
        }
        let _ = writeln!(text, "{}", self.summary());
        text
    }

    /// For a page.
    pub(crate) fn markdown(&self) -> String {
        let mut text = format!(
            "# Promises, measured\n\n{}. {}\n\n",
            machine(),
            self.summary()
        );
        text.push_str("| promise | | measured |\n|---|---|---|\n");
        for row in &self.rows {
            let tries = if row.tries > 1 {
                format!(", try {}", row.tries)
            } else {
                String::new()
            };
            let _ = writeln!(
                text,
                "| {} (`{}`) | {}{tries} | {} |",
                row.says,
                row.name,
                row.outcome.word(),
                row.outcome.text()
            );
        }
        text
    }
}

/// Up to three times, until it holds. What ends with an error is missed, with the error.
fn try_it(promise: &Promise, scale: Scale) -> Row {
    let mut tries = 0;
    loop {
        tries += 1;
        let outcome =
            (promise.run)(scale).unwrap_or_else(|error| Outcome::Missed(error.to_string()));
        if tries == TRIES || !matches!(outcome, Outcome::Missed(_)) {
            return Row {
                name: promise.name,
                says: promise.says,
                outcome,
                tries,
            };
        }
    }
}

fn machine() -> String {
    let ask = |program: &str, arguments: &[&str]| {
        let output = Command::new(program).args(arguments).output().ok()?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let system = ask("uname", &["-sr"]).unwrap_or_default();
    let day = ask("date", &["+%F"]).unwrap_or_default();
    let commit = ask("git", &["rev-parse", "--short", "HEAD"]).unwrap_or_default();
    format!("{day}, commit {commit}, {cores} cores, {system}")
}
