//! Which core a thread runs on.

use log::warn;

/// Keeps the calling thread on `core`; where the system refuses or knows no such thing, the log says so.
#[cfg(target_os = "linux")]
pub(crate) fn pin_to(core: usize) {
    use rustix::thread::{CpuSet, sched_setaffinity};

    if core >= CpuSet::MAX_CPU {
        return warn!(target: "netwheel::worker", "cannot pin to core {core}: there is none");
    }
    let mut set = CpuSet::new();
    set.set(core);
    if let Err(error) = sched_setaffinity(None, &set) {
        warn!(target: "netwheel::worker", "cannot pin to core {core}: {error}");
    }
}

/// Keeps the calling thread on `core`; where the system refuses or knows no such thing, the log says so.
#[cfg(not(target_os = "linux"))]
pub(crate) fn pin_to(core: usize) {
    warn!(target: "netwheel::worker", "cannot pin to core {core}: not known on this system");
}
