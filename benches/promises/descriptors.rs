//! A server that runs out of descriptors.

use std::net::TcpStream;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use crate::child::Server;
use crate::latency::{Shown, ask, connect, has_ended};
use crate::promise::{Outcome, Promise, Ran, Scale};

pub(crate) fn promises() -> Vec<Promise> {
    vec![Promise {
        name: "no-descriptors",
        says: "with 64 descriptors and 200 clients a server uses at most 0.15 s of CPU in 3 s, answers who is in, tells \
               who is not, and serves again within 1 s of room",
        run: no_descriptors,
    }]
}

/// The acceptor, a single worker that accepts by itself, and listeners of the workers' own.
const WAYS: [&[&str]; 3] = [
    &["--workers", "2"],
    &["--workers", "1"],
    &["--workers", "2", "--reuse-port"],
];

fn no_descriptors(scale: Scale) -> Ran {
    if Command::new("prlimit").arg("--version").output().is_err() {
        return Ok(Outcome::Skipped("there is no prlimit".into()));
    }
    let (mut held, mut figures) = (true, Vec::new());
    for way in &WAYS[..scale.of(1, WAYS.len())] {
        let (well, text) = run_out(way)?;
        held &= well;
        figures.push(text);
    }
    Ok(Outcome::of(held, figures.join("; ")))
}

fn run_out(way: &[&str]) -> Result<(bool, String), Box<dyn std::error::Error>> {
    const TIME: Duration = Duration::from_secs(3);
    const CLIENTS: usize = 200;
    let more = [way, &["--connections-max", "100000"]].concat();
    let server = Server::under(&["prlimit", "--nofile=64:64"], &more)?;
    let mut first = connect(server.address, 0)?;
    ask(&mut first)?;
    let crowd = (0..CLIENTS).map(|n| connect(server.address, n));
    let crowd = crowd.collect::<Result<Vec<TcpStream>, _>>()?;
    let (before, start) = (server.cpu()?, Instant::now());
    while start.elapsed() < TIME {
        ask(&mut first)?;
        thread::sleep(Duration::from_millis(100));
    }
    let cpu = server.cpu()?.saturating_sub(before);
    let told = crowd.iter().filter(|client| has_ended(client)).count();
    drop(crowd);
    let freed = Instant::now();
    while connect(server.address, 0)
        .and_then(|mut socket| ask(&mut socket))
        .is_err()
    {
        if freed.elapsed() > TIME {
            return Err("it never serves again".into());
        }
    }
    let again = freed.elapsed();
    let in_time = again <= Duration::from_secs(1) && cpu <= Duration::from_millis(150);
    let text = format!(
        "{} of CPU, {told} of {CLIENTS} told, serves again after {}",
        Shown(cpu),
        Shown(again)
    );
    Ok((in_time && told >= CLIENTS - 64, text))
}
