//! Rounds of interleaved runs: in each, every server of a case once, in rotated order.

use std::io::{self, IsTerminal};
use std::time::Duration;

use anyhow::{Result, bail};
use indicatif::{ProgressBar, ProgressStyle};

use crate::case::{CASES, Case, Work};
use crate::load::{Load, Timing};
use crate::measure::{Bench, Run};
use crate::metric::{Metric, Sample};
use crate::outcome::{Entry, Outcome, Skipped};
use crate::probe::{Tool, callgrind_missing};
use crate::rival::{self, Rival};
use crate::statistics;
use crate::timer_case;

/// What is to be run.
#[derive(Debug)]
pub struct Plan {
    pub bench: Bench,
    pub rounds: usize,
    /// Names, or beginnings of names, of cases; all when empty.
    pub cases: Vec<String>,
    /// Names of servers; all when empty.
    pub servers: Vec<String>,
    pub is_quick: bool,
    /// Syscalls and instructions per message too.
    pub counts: bool,
    /// The server that the goals are for.
    pub ours: &'static str,
}

impl Plan {
    /// The cases that were asked for.
    pub fn cases(&self) -> Result<Vec<&'static Case>> {
        for name in &self.cases {
            let is_case = CASES
                .iter()
                .any(|case| case.name.starts_with(name.as_str()));
            if !is_case && !timer_case::is_named(name) {
                bail!("there is no case {name}; --list shows them");
            }
        }
        let asked = |case: &&Case| {
            let named = self
                .cases
                .iter()
                .any(|name| case.name.starts_with(name.as_str()));
            named || (self.cases.is_empty() && !(self.is_quick && case.is_long))
        };
        Ok(CASES.iter().filter(asked).collect())
    }

    /// The servers of a case that can run here, and those that cannot, with the reason.
    fn servers(&self, case: &Case) -> Result<(Vec<&'static Rival>, Vec<Skipped>)> {
        let (mut present, mut skipped) = (Vec::new(), Vec::new());
        for &name in case.servers {
            let asked = if self.servers.is_empty() {
                !self.is_quick || case.is_essential(name, self.ours)
            } else {
                self.servers.iter().any(|server| server == name) || name == case.baseline()
            };
            let rival = rival::find(name)?;
            match rival.missing(case.mode) {
                _ if !asked => {}
                Some(reason) => skipped.push((name, reason)),
                None => present.push(rival),
            }
        }
        Ok((present, skipped))
    }

    /// Whether the case without servers was asked for.
    fn has_timers(&self) -> bool {
        let is_whole = self.cases.is_empty() && self.servers.is_empty();
        is_whole || self.cases.iter().any(|name| timer_case::is_named(name))
    }

    fn rounds(&self, case: &Case) -> usize {
        self.rounds.min(case.rounds_max)
    }

    /// Seconds that the plan takes, roughly: a server's start and end take a tenth.
    pub fn seconds(&self) -> Result<f64> {
        let mut seconds = 0.0;
        for case in self.cases()? {
            let Timing {
                warm_up, window, ..
            } = self.bench.timing;
            for rival in self.servers(case)?.0 {
                let once = window.max(case.period)
                    + warm_up.max(rival.warm_up_min).max(case.period)
                    + Duration::from_millis(100);
                seconds += once.as_secs_f64() * self.rounds(case) as f64;
            }
        }
        Ok(seconds)
    }

    /// Runs all cases; `show` is called with each when it is done.
    pub fn run(&self, mut show: impl FnMut(&ProgressBar, &Outcome)) -> Result<Vec<Outcome>> {
        let cases = self.cases()?;
        let mut runs = 0;
        for case in &cases {
            runs += self.servers(case)?.0.len() * self.rounds(case);
        }
        if self.has_timers() {
            runs += timer_case::runs(self.rounds);
        }
        let bar = progress_bar(runs as u64);
        let mut outcomes = Vec::new();
        for case in cases {
            let outcome = self.run_case(case, &bar)?;
            show(&bar, &outcome);
            outcomes.push(outcome);
        }
        if self.has_timers() {
            for outcome in timer_case::run(self.rounds, self.bench.server_core, &bar)? {
                show(&bar, &outcome);
                outcomes.push(outcome);
            }
        }
        bar.finish_and_clear();
        Ok(outcomes)
    }

    fn run_case(&self, case: &'static Case, bar: &ProgressBar) -> Result<Outcome> {
        let (mut rivals, skipped) = self.servers(case)?;
        if rivals
            .first()
            .is_none_or(|rival| rival.name != case.baseline())
        {
            // Nothing to compare with.
            rivals.clear();
        }
        let entry = |rival: &&'static Rival| Entry {
            server: rival.name,
            about: rival.about,
            rounds: Vec::new(),
            counts: Sample::default(),
        };
        let mut outcome = Outcome {
            case: case.name,
            title: case.title,
            note: case.note,
            baseline: case.baseline(),
            rate: None,
            entries: rivals.iter().map(entry).collect(),
            skipped,
            failures: Vec::new(),
            verdicts: Vec::new(),
        };
        if rivals.is_empty() {
            return Ok(outcome);
        }
        let load = self.load(case, rivals[0], &mut outcome)?;
        let run = |rival| Run {
            bench: &self.bench,
            case,
            rival,
            load,
        };
        for round in 0..self.rounds(case) {
            for turn in 0..rivals.len() {
                let index = (turn + round) % rivals.len();
                let rival = rivals[index];
                bar.set_message(format!("{} round {} {}", case.name, round + 1, rival.name));
                let sample = run(rival).sample();
                let sample = sample
                    .map_err(|error| outcome.failures.push(format!("{error:#}")))
                    .ok();
                outcome.entries[index].rounds.push(sample);
                bar.inc(1);
            }
        }
        if self.counts && outcome.main_metric() == Metric::Cpu {
            for (index, rival) in rivals.iter().enumerate() {
                bar.set_message(format!("{} counting {}", case.name, rival.name));
                outcome.entries[index].counts = self.count(run(rival), &mut outcome.failures);
            }
        }
        outcome.judge(case, self.ours);
        Ok(outcome)
    }

    /// The load of a case; an open loop's rate is half of what the baseline carries in a closed loop.
    fn load(
        &self,
        case: &'static Case,
        baseline: &'static Rival,
        outcome: &mut Outcome,
    ) -> Result<Load> {
        let connections = match case.work {
            Work::Load(load) => return Ok(load),
            Work::HalfOfBaseline { connections } => connections,
        };
        let saturating = Run {
            bench: &self.bench,
            case,
            rival: baseline,
            load: Load::Closed {
                connections,
                idle: 0,
                depth: 1,
                sliding: false,
                spin: false,
            },
        };
        let mut rates = Vec::new();
        for _ in 0..3 {
            rates.extend(saturating.sample()?.get(Metric::Rate));
        }
        let rate = statistics::median(&rates).unwrap_or_default() / 2.0;
        outcome.rate = Some(rate);
        Ok(Load::Open { connections, rate })
    }

    fn count(&self, run: Run<'_>, failures: &mut Vec<String>) -> Sample {
        let mut sample = Sample::default();
        let mut keep = |metric, count: Result<f64>| match count {
            Ok(count) => sample.set(metric, count),
            Err(error) => failures.push(format!("{error:#}")),
        };
        if Tool::Strace.missing().is_none() {
            keep(Metric::Syscalls, run.count(Tool::Strace));
        }
        if Tool::Perf.missing().is_none() {
            keep(Metric::Instructions, run.count(Tool::Perf));
        } else if callgrind_missing().is_none()
            && run.rival.is_native()
            && run.load.connections() <= 1000
        {
            keep(Metric::Instructions, run.callgrind());
        }
        sample
    }
}

/// On a terminal a bar; elsewhere nothing, as each case prints its lines.
fn progress_bar(runs: u64) -> ProgressBar {
    if !io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(runs);
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} {msg} ({eta} left)");
    bar.set_style(style.expect("the template is a constant"));
    bar
}
