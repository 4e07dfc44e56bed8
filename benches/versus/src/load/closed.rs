//! Closed loop: every connection has `depth` messages under way, and asks more only when it is answered.

use std::time::Instant;

use anyhow::Result;

use super::crowd::{Crowd, Refill};
use super::{Phase, Probe, Started, Timing, Window};

/// Runs the warm-up, then the measured window; both end with every message answered.
pub fn run(
    mut crowd: Crowd,
    depth: u64,
    refill: Refill,
    spin: bool,
    timing: Timing,
    probe: &mut dyn Probe,
) -> Result<Window> {
    let timeout_ms = if spin { 0 } else { 100 };
    ask_for(&mut crowd, depth, refill, timeout_ms, timing.warm_up())?;
    crowd.drain()?;
    crowd.forget();
    probe.begin()?;
    let started = Started::now()?;
    ask_for(&mut crowd, depth, refill, timeout_ms, timing.window())?;
    // Before the drain, whose end is quiet for everybody.
    let slowest_share = crowd.slowest_share();
    crowd.drain()?;
    let window = started.window(crowd.answered(), crowd.latency().clone(), slowest_share)?;
    probe.end()?;
    Ok(window)
}

fn ask_for(
    crowd: &mut Crowd,
    depth: u64,
    refill: Refill,
    timeout_ms: i32,
    phase: Phase,
) -> Result<()> {
    let start = Instant::now();
    for peer in 0..crowd.len() {
        crowd.ask(peer, depth, Instant::now())?;
    }
    while !phase.is_over(start.elapsed(), crowd.answered()) {
        crowd.turn(timeout_ms, refill)?;
    }
    Ok(())
}
