//! What came of it, as a table or as JSON.

use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;

use crate::crowd::Crowd;
use crate::support::{Outcome, say};

/// Prints it.
pub(crate) fn report(
    crowd: &Crowd,
    login_time: Duration,
    talk_time: Duration,
    delivered: u64,
    memory: Option<u64>,
) {
    let flags = &crowd.flags;
    let number = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    let times = crowd.times.lock().unwrap_or_else(PoisonError::into_inner);
    let millis = |percentile: f64| times.value_at_percentile(percentile) as f64 / 1000.0;
    let logins = flags.users as f64 / login_time.as_secs_f64();
    let rate = delivered as f64 / talk_time.as_secs_f64();
    if flags.json {
        let result = json!({
            "users": flags.users, "logins_per_second": logins, "said": number(&crowd.said),
            "due": number(&crowd.due), "delivered": number(&crowd.delivered),
            "delivered_per_second": rate, "p50_ms": millis(50.0), "p99_ms": millis(99.0),
            "max_ms": times.max() as f64 / 1000.0, "heartbeats": number(&crowd.heartbeats),
            "echoes": number(&crowd.echoes), "refused": number(&crowd.refused),
            "faults": number(&crowd.fault_count), "server_bytes": memory,
        });
        return say(result);
    }
    say(format_args!("users online          {:>12}", flags.users));
    say(format_args!("logins per second     {logins:>12.0}"));
    say(format_args!(
        "said                  {:>12}",
        number(&crowd.said)
    ));
    say(format_args!(
        "deliveries due        {:>12}",
        number(&crowd.due)
    ));
    say(format_args!(
        "delivered             {:>12}",
        number(&crowd.delivered)
    ));
    say(format_args!("delivered per second  {rate:>12.0}"));
    say(format_args!(
        "end to end, p50       {:>12.2} ms",
        millis(50.0)
    ));
    say(format_args!(
        "end to end, p99       {:>12.2} ms",
        millis(99.0)
    ));
    say(format_args!(
        "end to end, slowest   {:>12.2} ms",
        times.max() as f64 / 1000.0
    ));
    let (beats, echoes) = (number(&crowd.heartbeats), number(&crowd.echoes));
    say(format_args!("heartbeats, echoed    {beats:>12} {echoes}"));
    if let Some(bytes) = memory {
        say(format_args!(
            "server's memory       {:>12.1} MB",
            bytes as f64 / 1e6
        ));
    }
}

/// Resident bytes of a process, where the system tells.
pub(crate) fn memory_bytes(pid: u32) -> Outcome<u64> {
    let path = format!("/proc/{pid}/statm");
    let text = std::fs::read_to_string(&path)
        .map_err(|error| format!("{path}: {error}; give --server-pid a live process, on Linux"))?;
    let pages: u64 = text.split(' ').nth(1).unwrap_or("0").parse()?;
    Ok(pages * 4096)
}
