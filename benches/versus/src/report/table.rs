//! Rows and columns, for a terminal and for Markdown.

use crate::metric::Metric;
use crate::outcome::{Entry, Outcome, Verdict};
use crate::statistics::Interval;

/// A table whose first column is text and whose others are figures.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    fn new(heading: Vec<String>) -> Self {
        Self {
            rows: vec![heading],
        }
    }

    /// Aligned columns, indented by two.
    pub fn text(&self) -> String {
        let width = |column: usize| {
            let cells = self.rows.iter().map(|row| row[column].chars().count());
            cells.max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.rows[0].len()).map(width).collect();
        let line = |row: &Vec<String>| {
            let cells = row.iter().zip(&widths).enumerate();
            let cells = cells.map(|(column, (cell, &width))| match column {
                0 => format!("{cell:<width$}"),
                _ => format!("{cell:>width$}"),
            });
            format!("  {}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
        };
        self.rows.iter().map(line).collect()
    }

    pub fn markdown(&self) -> String {
        let line = |row: &Vec<String>| format!("| {} |\n", row.join(" | "));
        let rule = format!("|---|{}\n", "---:|".repeat(self.rows[0].len() - 1));
        let body: String = self.rows[1..].iter().map(line).collect();
        line(&self.rows[0]) + &rule + &body
    }
}

/// The columns of a case, in order; a column that no server has is left out.
const COLUMNS: [Metric; 11] = [
    Metric::Cpu,
    Metric::Memory,
    Metric::Syscalls,
    Metric::Instructions,
    Metric::Rate,
    Metric::P50,
    Metric::P99,
    Metric::P999,
    Metric::Max,
    Metric::Slowest,
    Metric::LoadBusy,
];

/// The medians of all servers of a case, with the spread and the ratio of its main metric.
pub fn runs(outcome: &Outcome) -> Table {
    let main = outcome.main_metric();
    let measured = |metric: &Metric| {
        let mut entries = outcome.entries.iter();
        entries.any(|entry| entry.median(*metric).is_some())
    };
    let columns: Vec<Metric> = COLUMNS.into_iter().filter(measured).collect();
    let mut heading = vec!["server".to_owned()];
    for &metric in &columns {
        heading.push(metric.title().to_owned());
        if metric == main {
            heading.push("quartiles".to_owned());
            heading.push(format!("x {}", outcome.baseline));
        }
    }
    let mut table = Table::new(heading);
    for entry in &outcome.entries {
        let mut row = vec![entry.server.to_owned()];
        for &metric in &columns {
            row.push(show(entry.median(metric), metric));
            if metric == main {
                row.push(spread(entry, metric));
                row.push(ratio(outcome.ratio(entry.server, metric)));
            }
        }
        table.rows.push(row);
    }
    table
}

fn show(value: Option<f64>, metric: Metric) -> String {
    value.map_or_else(String::new, |value| metric.show(value))
}

fn spread(entry: &Entry, metric: Metric) -> String {
    let Some((low, high)) = entry.quartiles(metric) else {
        return String::new();
    };
    format!("{} to {}", metric.show(low), metric.show(high))
}

fn ratio(interval: Option<Interval>) -> String {
    let Some(Interval { low, median, high }) = interval else {
        return String::new();
    };
    format!("{median:.2} ({low:.2} to {high:.2})")
}

/// The goals of the cases, each with what came of it.
pub fn goals<'a>(outcomes: impl IntoIterator<Item = &'a Outcome>) -> Table {
    let heading = [
        "case",
        "of",
        "goal",
        "measured (90 % interval)",
        "",
        "others, elsewhere",
    ];
    let mut table = Table::new(heading.map(str::to_owned).to_vec());
    for outcome in outcomes {
        for verdict in &outcome.verdicts {
            table.rows.push(goal_row(outcome, verdict));
        }
    }
    table
}

fn goal_row(outcome: &Outcome, verdict: &Verdict) -> Vec<String> {
    let goal = &verdict.goal;
    let measured = verdict.interval.map(|interval| {
        let [low, median, high] =
            [interval.low, interval.median, interval.high].map(|value| goal.show(value));
        format!("{median} ({low} to {high})")
    });
    let word = match verdict.is_reached {
        Some(true) => "reached",
        Some(false) => "MISSED",
        None => "not measured",
    };
    vec![
        outcome.case.to_owned(),
        goal.of.to_owned(),
        goal.words(),
        measured.unwrap_or_default(),
        word.to_owned(),
        goal.reference.to_owned(),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_hold_every_cell() {
        let mut table = Table::new(vec!["server".to_owned(), "p50".to_owned()]);
        table.rows.push(vec!["c".to_owned(), "7.40 us".to_owned()]);
        assert_eq!(table.text(), "  server      p50\n  c       7.40 us\n");
        assert_eq!(
            table.markdown(),
            "| server | p50 |\n|---|---:|\n| c | 7.40 us |\n"
        );
    }
}
