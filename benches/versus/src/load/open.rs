//! Open loop: messages leave at a fixed rate, and latency counts from the time they were due.
//!
//! A server that pauses is charged for every message that should have been asked meanwhile, which a closed
//! loop omits (Gil Tene's coordinated omission).

use std::time::{Duration, Instant};

use anyhow::Result;

use super::crowd::{Crowd, Refill};
use super::{Phase, Probe, Started, Timing, Window};

/// Runs the warm-up, then the measured window; both end with every message answered.
pub fn run(mut crowd: Crowd, rate: f64, timing: Timing, probe: &mut dyn Probe) -> Result<Window> {
    ask_for(&mut crowd, rate, timing.warm_up())?;
    crowd.drain()?;
    crowd.forget();
    probe.begin()?;
    let started = Started::now()?;
    ask_for(&mut crowd, rate, timing.window())?;
    crowd.drain()?;
    let share = crowd.slowest_share();
    let window = started.window(crowd.answered(), crowd.latency().clone(), share)?;
    probe.end()?;
    Ok(window)
}

/// Spins between messages: sleeping would make the generator late.
fn ask_for(crowd: &mut Crowd, rate: f64, phase: Phase) -> Result<()> {
    let start = Instant::now();
    let mut next = 0_u64;
    loop {
        let elapsed = start.elapsed();
        if phase.is_over(elapsed, crowd.answered()) {
            return Ok(());
        }
        while next as f64 <= elapsed.as_secs_f64() * rate {
            let due = start + Duration::from_secs_f64(next as f64 / rate);
            crowd.ask((next % crowd.len() as u64) as usize, 1, due)?;
            next += 1;
        }
        crowd.turn(0, Refill::Nothing)?;
    }
}
