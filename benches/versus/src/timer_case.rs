//! The case without servers: what a timer costs in its life, by how many are armed.

use anyhow::Result;
use indicatif::ProgressBar;
use timers::{STRUCTURES, Steps, TIMERS_PER_STEP};

use crate::metric::{Metric, Sample};
use crate::outcome::{Entry, Outcome};
use crate::sys;

/// Timers armed, and the name of the outcome.
const COUNTS: [(usize, &str); 4] = [
    (1_000, "timers-1000"),
    (10_000, "timers-10000"),
    (100_000, "timers-100000"),
    (1_000_000, "timers-1000000"),
];

/// Steps of one run: a few milliseconds.
const STEPS: usize = 10_000;

/// Whether `name` is that of the case, or of a part of it, or its beginning.
pub fn is_named(name: &str) -> bool {
    COUNTS.iter().any(|(_, case)| case.starts_with(name))
}

/// The timers armed in an outcome of this case.
pub fn count(outcome: &Outcome) -> Option<usize> {
    let mut counts = COUNTS.iter();
    Some(counts.find(|(_, case)| *case == outcome.case)?.0)
}

/// How many runs so many rounds are.
pub const fn runs(rounds: usize) -> usize {
    COUNTS.len() * STRUCTURES.len() * rounds
}

/// Runs all of it on `core`, interleaved as servers are.
pub fn run(rounds: usize, core: usize, bar: &ProgressBar) -> Result<Vec<Outcome>> {
    sys::pin_current_thread(&[core])?;
    let mut outcomes = Vec::new();
    for (count, case) in COUNTS {
        bar.set_message(case);
        outcomes.push(run_count(count, case, rounds, bar)?);
    }
    Ok(outcomes)
}

fn run_count(
    count: usize,
    case: &'static str,
    rounds: usize,
    bar: &ProgressBar,
) -> Result<Outcome> {
    let mut services = STRUCTURES.map(|structure| (structure.start)(count));
    let mut outcome = outcome(case);
    for round in 0..rounds {
        for turn in 0..services.len() {
            let index = (turn + round) % services.len();
            let sample = sample(&mut services[index])?;
            outcome.entries[index].rounds.push(Some(sample));
            bar.inc(1);
        }
    }
    Ok(outcome)
}

fn sample(step: &mut Steps) -> Result<Sample> {
    let start = sys::thread_cpu_time()?;
    for _ in 0..STEPS {
        step();
    }
    let nanos = (sys::thread_cpu_time()? - start).as_nanos() as f64;
    let mut sample = Sample::default();
    sample.set(Metric::Cpu, nanos / (STEPS * TIMERS_PER_STEP) as f64);
    Ok(sample)
}

fn outcome(case: &'static str) -> Outcome {
    Outcome {
        case,
        title: "timers armed in one thread; a message is a timer, from arming to its end",
        note: "Nine of ten timers are due in a minute and cancelled after half of it, the tenth fires.",
        baseline: STRUCTURES[0].name,
        rate: None,
        entries: STRUCTURES
            .map(|structure| Entry {
                server: structure.name,
                about: structure.about,
                rounds: Vec::new(),
                counts: Sample::default(),
            })
            .into(),
        skipped: Vec::new(),
        failures: Vec::new(),
        verdicts: Vec::new(),
    }
}
