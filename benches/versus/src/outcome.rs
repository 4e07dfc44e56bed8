//! What the rounds of a case have shown.

use serde::Serialize;

use crate::case::Case;
use crate::goal::{Goal, OURS};
use crate::metric::{Metric, Sample};
use crate::statistics::{self, Interval};

/// All runs of one server in one case.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    pub server: &'static str,
    pub about: &'static str,
    /// By round; a run that failed is `None`.
    pub rounds: Vec<Option<Sample>>,
    /// Counted once, in untimed runs.
    pub counts: Sample,
}

impl Entry {
    /// The values of all rounds; a count stands for every round.
    pub fn values(&self, metric: Metric) -> Vec<f64> {
        match self.counts.get(metric) {
            Some(count) => vec![count],
            None => self
                .rounds
                .iter()
                .flatten()
                .filter_map(|sample| sample.get(metric))
                .collect(),
        }
    }

    pub fn median(&self, metric: Metric) -> Option<f64> {
        statistics::median(&self.values(metric))
    }

    pub fn quartiles(&self, metric: Metric) -> Option<(f64, f64)> {
        statistics::quartiles(&self.values(metric))
    }
}

/// A goal, and what came of it.
#[derive(Debug, Clone, Serialize)]
pub struct Verdict {
    pub goal: Goal,
    /// `None`: a server of it, or the count, was not measured.
    pub interval: Option<Interval>,
    pub is_reached: Option<bool>,
}

/// A server that was left out, and why.
pub type Skipped = (&'static str, String);

/// A case and the runs of all its servers.
#[derive(Debug, Clone, Serialize)]
pub struct Outcome {
    pub case: &'static str,
    pub title: &'static str,
    pub note: &'static str,
    pub baseline: &'static str,
    /// Messages per second of an open loop.
    pub rate: Option<f64>,
    pub entries: Vec<Entry>,
    pub skipped: Vec<Skipped>,
    pub failures: Vec<String>,
    pub verdicts: Vec<Verdict>,
}

impl Outcome {
    pub fn entry(&self, server: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.server == server)
    }

    /// The metric that the servers of this case are compared by.
    pub fn main_metric(&self) -> Metric {
        let has_memory = |entry: &Entry| !entry.values(Metric::Memory).is_empty();
        if self.entries.iter().any(has_memory) {
            Metric::Memory
        } else {
            Metric::Cpu
        }
    }

    /// The baseline's figure divided by the server's, pair by pair: above 1, the server is better.
    pub fn ratio(&self, server: &str, metric: Metric) -> Option<Interval> {
        let theirs = self.entry(self.baseline)?;
        self.pairs(self.entry(server)?, Some(theirs), metric, |ours, theirs| {
            Some(theirs? / ours)
        })
    }

    /// Judges the goals; those for our plain server are for `ours` instead.
    pub fn judge(&mut self, case: &Case, ours: &'static str) {
        let judged = case.goals.iter().map(|goal| {
            let of = if goal.of == OURS { ours } else { goal.of };
            self.verdict(goal.of(of))
        });
        self.verdicts = judged.collect();
    }

    fn verdict(&self, goal: Goal) -> Verdict {
        let interval = self.goal_interval(&goal);
        Verdict {
            goal,
            interval,
            is_reached: interval.map(|interval| goal.is_reached(&interval)),
        }
    }

    fn goal_interval(&self, goal: &Goal) -> Option<Interval> {
        let ours = self.entry(goal.of)?;
        let theirs = match goal.against {
            Some(against) => Some(self.entry(against)?),
            None => None,
        };
        self.pairs(ours, theirs, goal.metric, |ours, theirs| {
            goal.quantity(ours, theirs)
        })
    }

    /// The quantity of each round in which both servers ran, and the interval of its median.
    fn pairs(
        &self,
        ours: &Entry,
        theirs: Option<&Entry>,
        metric: Metric,
        quantity: impl Fn(f64, Option<f64>) -> Option<f64>,
    ) -> Option<Interval> {
        if let Some(count) = ours.counts.get(metric) {
            let theirs = theirs.and_then(|entry| entry.counts.get(metric));
            return statistics::interval(&[quantity(count, theirs)?]);
        }
        let rounds = ours.rounds.iter().enumerate();
        let values: Vec<f64> = rounds
            .filter_map(|(round, sample)| {
                let theirs =
                    theirs.and_then(|entry| entry.rounds.get(round)?.as_ref()?.get(metric));
                quantity(sample.as_ref()?.get(metric)?, theirs)
            })
            .collect();
        statistics::interval(&values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(server: &'static str, cpu: &[Option<f64>]) -> Entry {
        let rounds = cpu.iter().map(|cpu| {
            cpu.map(|cpu| {
                let mut sample = Sample::default();
                sample.set(Metric::Cpu, cpu);
                sample
            })
        });
        Entry {
            server,
            about: "",
            rounds: rounds.collect(),
            counts: Sample::default(),
        }
    }

    fn outcome(entries: Vec<Entry>) -> Outcome {
        Outcome {
            case: "",
            title: "",
            note: "",
            baseline: "tokio",
            rate: None,
            entries,
            skipped: Vec::new(),
            failures: Vec::new(),
            verdicts: Vec::new(),
        }
    }

    #[test]
    fn ratios_are_of_pairs_and_a_failed_run_breaks_only_its_pair() {
        let outcome = outcome(vec![
            entry("tokio", &[Some(10.0), Some(40.0), None, Some(20.0)]),
            entry("c", &[Some(5.0), Some(20.0), Some(1.0), None]),
        ]);
        let ratio = outcome.ratio("c", Metric::Cpu).expect("two pairs");
        assert_eq!((ratio.low, ratio.median, ratio.high), (2.0, 2.0, 2.0));
    }

    #[test]
    fn a_goal_without_its_servers_is_open() {
        let outcome = outcome(vec![entry("tokio", &[Some(1.0)])]);
        let verdict = outcome.verdict(Goal::faster(Metric::Cpu, "tokio", 1.0, ""));
        assert_eq!(verdict.is_reached, None);
    }
}
