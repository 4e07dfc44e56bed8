//! A server that runs out of descriptors.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::child::Server;
use crate::latency::{Shown, ask, connect};
use crate::promise::{Outcome, Promise, Ran, Scale};

pub(crate) fn promises() -> Vec<Promise> {
    vec![Promise {
        name: "no-descriptors",
        says: "with 64 descriptors and 200 clients a server uses at most 0.15 s of CPU in 3 s, answers those it has, and takes new ones within 1 s of room",
        run: no_descriptors,
    }]
}

fn no_descriptors(_: Scale) -> Ran {
    const TIME: Duration = Duration::from_secs(3);
    if Command::new("prlimit").arg("--version").output().is_err() {
        return Ok(Outcome::Skipped("there is no prlimit".into()));
    }
    let mut server = Server::under(&["prlimit", "--nofile=64:64"], &[])?;
    let mut first = connect(server.address, 0)?;
    ask(&mut first)?;
    let before = server.cpu()?;
    let crowd = (0..200)
        .map(|n| connect(server.address, n))
        .collect::<Result<Vec<_>, _>>()?;
    let start = Instant::now();
    while start.elapsed() < TIME {
        ask(&mut first)?;
        thread::sleep(Duration::from_millis(100));
    }
    let cpu = server.cpu()? - before;
    let held = server.figure("active")?;
    drop(crowd);
    let freed = Instant::now();
    ask(&mut connect(server.address, 0)?)?;
    let again = freed.elapsed();
    Ok(Outcome::of(
        cpu <= Duration::from_millis(150) && again <= Duration::from_secs(1),
        format!(
            "{} of CPU with {held} of 201 taken; {} from room to a first answer",
            Shown(cpu),
            Shown(again)
        ),
    ))
}
