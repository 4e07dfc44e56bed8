//! One speaks, all hear: bursts of `depth` messages, the next when everybody has the last.

use std::time::Instant;

use anyhow::Result;

use super::crowd::{Crowd, Refill};
use super::{Phase, Probe, Started, Timing, Window};

/// Runs the warm-up, then the measured window; a message counts once for each who has heard it.
pub fn run(mut crowd: Crowd, depth: u64, timing: Timing, probe: &mut dyn Probe) -> Result<Window> {
    crowd.tune();
    speak(&mut crowd, depth, timing.warm_up())?;
    crowd.forget();
    probe.begin()?;
    let started = Started::now()?;
    speak(&mut crowd, depth, timing.window())?;
    let share = crowd.slowest_share();
    let window = started.window(crowd.answered(), crowd.latency().clone(), share)?;
    probe.end()?;
    Ok(window)
}

fn speak(crowd: &mut Crowd, depth: u64, phase: Phase) -> Result<()> {
    let start = Instant::now();
    while !phase.is_over(start.elapsed(), crowd.answered()) {
        crowd.speak(depth, Instant::now())?;
        while !crowd.is_quiet() {
            crowd.turn(100, Refill::Nothing)?;
        }
    }
    Ok(())
}
