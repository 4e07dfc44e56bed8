//! What people read: tables on the terminal and in Markdown, charts, and JSON for machines.

mod chart;
mod table;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

use crate::machine::Machine;
use crate::outcome::Outcome;
use table::{goals, runs};

/// Everything of one run of the bench.
#[derive(Debug, Serialize)]
pub struct Report {
    pub machine: Machine,
    /// Rounds, seconds and cores in words.
    pub settings: String,
    pub outcomes: Vec<Outcome>,
}

/// The lines of one case for a terminal.
pub fn case_text(outcome: &Outcome) -> String {
    let mut text = format!("\n{}: {}{}\n", outcome.case, outcome.title, rate(outcome));
    if !outcome.note.is_empty() {
        text += &format!("  {}\n", outcome.note);
    }
    if !outcome.entries.is_empty() {
        text += &runs(outcome).text();
    }
    for (server, reason) in &outcome.skipped {
        text += &format!("  {server} skipped: {reason}\n");
    }
    for failure in &outcome.failures {
        text += &format!("  FAILED {failure}\n");
    }
    if outcome
        .verdicts
        .iter()
        .any(|verdict| verdict.interval.is_some())
    {
        text += &goals([outcome]).text();
    }
    text
}

fn rate(outcome: &Outcome) -> String {
    let rate = outcome.rate.map(|rate| format!(" ({rate:.0} messages/s)"));
    rate.unwrap_or_default()
}

impl Report {
    pub fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// Writes `versus.md`, `versus.json` and the charts into `folder`.
    pub fn write(&self, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("making {}", folder.display()))?;
        let charts = chart::draw_all(&self.outcomes, folder)?;
        fs::write(folder.join("versus.md"), self.markdown(&charts))?;
        fs::write(folder.join("versus.json"), self.json()?)?;
        Ok(())
    }

    fn markdown(&self, charts: &[&str]) -> String {
        let mut text = format!(
            "# netwheel beside its rivals\n\n{}\n\n{}\n\nHow to read it: `benches/versus/README.md`.\n",
            self.machine.words(),
            self.settings
        );
        text += "\n## Figures to reach\n\n";
        text += &goals(&self.outcomes).markdown();
        for chart in charts {
            text += &format!("\n![{chart}]({chart})\n");
        }
        for outcome in &self.outcomes {
            text += &format!(
                "\n## {}: {}{}\n\n",
                outcome.case,
                outcome.title,
                rate(outcome)
            );
            if !outcome.note.is_empty() {
                text += &format!("{}\n\n", outcome.note);
            }
            text += &runs(outcome).markdown();
            for (server, reason) in &outcome.skipped {
                text += &format!("\n{server} skipped: {reason}\n");
            }
            for failure in &outcome.failures {
                text += &format!("\n**Failed**: {failure}\n");
            }
        }
        text
    }
}
