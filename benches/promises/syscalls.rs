//! Errors that the system answers with, put in its place by strace.

use std::process::Command;
use std::time::Duration;

use crate::child::Server;
use crate::latency::{Pings, ask, connect};
use crate::promise::{Outcome, Promise, Ran, Scale};

pub(crate) fn promises() -> Vec<Promise> {
    vec![
        Promise {
            name: "errors-of-accept",
            says: "accepting goes on after ECONNABORTED, EPROTO, EINTR, ENOBUFS and ENOMEM",
            run: errors_of_accept,
        },
        Promise {
            name: "errors-of-waiting",
            says: "a wait that is interrupted costs nobody anything",
            run: errors_of_waiting,
        },
        Promise {
            name: "errors-of-reading",
            says: "a read or write that would block, is interrupted or fails costs at most its own connection",
            run: errors_of_reading,
        },
    ]
}

/// Why strace cannot be used here, if so.
fn no_strace() -> Option<Outcome> {
    let tried = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "true"])
        .status();
    match tried {
        Ok(status) if status.success() => None,
        Ok(_) => Some(Outcome::Skipped("strace may not trace here".into())),
        Err(_) => Some(Outcome::Skipped("there is no strace".into())),
    }
}

/// A server some of whose calls come back with an error.
fn faulty(injections: &[&str]) -> Result<Server, Box<dyn std::error::Error>> {
    let calls: Vec<&str> = injections
        .iter()
        .filter_map(|one| one.split(':').next())
        .collect();
    let trace = format!("trace={}", calls.join(","));
    let mut strace = vec!["strace", "-f", "-qq", "-o", "/dev/null", "-e", &trace];
    let injections: Vec<String> = injections
        .iter()
        .map(|one| format!("inject={one}"))
        .collect();
    for injection in &injections {
        strace.extend(["-e", injection]);
    }
    Server::under(&strace, &[])
}

fn errors_of_accept(scale: Scale) -> Ran {
    if let Some(skipped) = no_strace() {
        return Ok(skipped);
    }
    let errors = ["ECONNABORTED", "EPROTO", "EINTR", "ENOBUFS", "ENOMEM"];
    let count = scale.of(20, 60);
    let mut told = 0;
    for error in errors {
        let mut server = faulty(&[&format!("accept4:error={error}:when=2+3")])?;
        for n in 0..count {
            ask(&mut connect(server.address, n)?)?;
        }
        told += server.figure("accept_errors")?;
    }
    Ok(Outcome::of(
        true,
        format!(
            "{} connections taken and answered, {told} errors counted",
            count * errors.len()
        ),
    ))
}

fn errors_of_waiting(scale: Scale) -> Ran {
    if let Some(skipped) = no_strace() {
        return Ok(skipped);
    }
    let server = faulty(&["epoll_wait:error=EINTR:when=3+3"])?;
    let mut pings = Pings::to(server.address, 10)?;
    pings.run(scale.of(Duration::from_millis(500), Duration::from_secs(2)))?;
    Ok(Outcome::of(
        true,
        "every third wait was interrupted, and every answer came",
    ))
}

fn errors_of_reading(scale: Scale) -> Ran {
    if let Some(skipped) = no_strace() {
        return Ok(skipped);
    }
    let time = scale.of(Duration::from_millis(500), Duration::from_secs(2));
    let server = faulty(&[
        "recvfrom:error=EINTR:when=3+3",
        "sendto:error=EINTR:when=3+3",
        "sendmsg:error=EINTR:when=3+3",
    ])?;
    Pings::to(server.address, 10)?.run(time)?;
    let mut server = faulty(&["recvfrom:error=ECONNRESET:when=20+20"])?;
    let mut broken = 0;
    for n in 0..scale.of(30, 100) {
        let mut socket = connect(server.address, n)?;
        broken += u32::from((0..5).any(|_| ask(&mut socket).is_err()));
    }
    let (resets, panics) = (server.figure("reset")?, server.figure("panics")?);
    Ok(Outcome::of(
        broken > 0 && resets >= u64::from(broken) && panics == 0,
        format!(
            "interrupted calls cost nothing; {broken} connections ended by {resets} resets, the others were answered"
        ),
    ))
}
