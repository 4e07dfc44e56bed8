//! Many connections: what they cost while they do nothing, and whether what they cost comes back.

use std::error::Error;
use std::io::Write;
use std::net::{Shutdown, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use socket2::SockRef;

use crate::child::Server;
use crate::latency::{Shown, Times, ask, connect, long_frame};
use crate::promise::{Outcome, Promise, Ran, Scale};

const MIB: f64 = (1 << 20) as f64;

pub(crate) fn promises() -> Vec<Promise> {
    vec![
        Promise {
            name: "idle-costs-nothing",
            says: "1,000 idle connections cost at most 5 ms of CPU a second; half-closed ones too",
            run: idle,
        },
        Promise {
            name: "nineteen-thousand",
            says: "one process holds 19,000 connections and answers each of them (fewer where descriptors end)",
            run: nineteen_thousand,
        },
        Promise {
            name: "false-lengths",
            says: "1,000 connections that each announce a frame of 4 GiB are closed, and cost at most 4 MiB",
            run: false_lengths,
        },
        Promise {
            name: "slow-loris",
            says: "connections that dribble a frame are gone at the deadline of a frame; who is honest connects in 100 ms",
            run: slow_loris,
        },
        Promise {
            name: "soak",
            says: "minutes of connections that come and end in every way leave memory as it was: at most 1 MiB a minute",
            run: soak,
        },
    ]
}

type Crowd = Result<Vec<TcpStream>, Box<dyn Error>>;

fn crowd(server: &Server, count: usize) -> Crowd {
    let sockets = (0..count).map(|n| connect(server.address, n));
    Ok(sockets.collect::<Result<_, _>>()?)
}

fn idle(scale: Scale) -> Ran {
    let time = scale.of(Duration::from_secs(2), Duration::from_secs(10));
    let mut server = Server::start(&["--read-timeout", "600000"])?;
    let sockets = crowd(&server, 1_000)?;
    for socket in sockets.iter().take(200) {
        socket.shutdown(Shutdown::Write)?;
    }
    server.wait_for("active", |count| count == 800)?;
    let before = (server.cpu()?, server.figure("turns")?);
    thread::sleep(time);
    let cpu = (server.cpu()? - before.0).as_secs_f64() / time.as_secs_f64() * 1e3;
    let turns = server.figure("turns")? - before.1;
    Ok(Outcome::of(
        cpu <= 5.0,
        format!("{cpu:.2} ms a second, asking for the figures included; {turns} turns"),
    ))
}

fn nineteen_thousand(scale: Scale) -> Ran {
    let server = Server::start(&["--workers", "2"])?;
    // Both ends have a descriptor; those of this end are in this process.
    let limit = rlimit()?.saturating_sub(900);
    let count = scale.of(5_000, 19_000).min(limit);
    let start = Instant::now();
    let empty = server.resident_bytes()?;
    let mut sockets = crowd(&server, count)?;
    let mut times = Times::new();
    for socket in &mut sockets {
        let asked = Instant::now();
        ask(socket)?;
        times.add(asked.elapsed());
    }
    let each = (server.resident_bytes()? - empty) / count as u64;
    Ok(Outcome::of(
        count >= scale.of(5_000, 19_000),
        format!(
            "{count} in {}, each answered, p99 {}; {each} B of the server's memory each",
            Shown(start.elapsed()),
            Shown(times.p99())
        ),
    ))
}

/// Descriptors that a process may have here.
fn rlimit() -> Result<usize, Box<dyn Error>> {
    let text = std::fs::read_to_string("/proc/self/limits")?;
    let line = text.lines().find(|line| line.starts_with("Max open files"));
    let word = line.and_then(|line| line.split_whitespace().nth(3));
    Ok(word
        .ok_or("no limit is told")?
        .parse()
        .unwrap_or(usize::MAX))
}

fn false_lengths(_: Scale) -> Ran {
    let mut server = Server::start(&[])?;
    // What the first connections cost for good is paid for before.
    drop(crowd(&server, 1_000)?);
    server.wait_for("active", |count| count == 0)?;
    let before = server.resident_bytes()?;
    let mut sockets = crowd(&server, 1_000)?;
    for socket in &mut sockets {
        socket.write_all(&[0xFF; 64])?;
    }
    server.wait_for("over_limit", |count| count == 1_000)?;
    let grown = server.resident_bytes()?.saturating_sub(before) as f64 / MIB;
    Ok(Outcome::of(
        grown <= 4.0,
        format!("1,000 closed as over the limit, {grown:.2} MiB more"),
    ))
}

fn slow_loris(scale: Scale) -> Ran {
    const DEADLINE: Duration = Duration::from_secs(2);
    let mut server = Server::start(&["--frame-timeout", "2000"])?;
    let count = scale.of(100, 500);
    let mut sockets = crowd(&server, count)?;
    for socket in &mut sockets {
        socket.write_all(&1_000_u32.to_be_bytes())?;
    }
    let (start, mut honest) = (Instant::now(), Times::new());
    while start.elapsed() < DEADLINE + Duration::from_millis(250) {
        for socket in &mut sockets {
            let _ = socket.write(&[0]);
        }
        let asked = Instant::now();
        ask(&mut connect(server.address, 1)?)?;
        honest.add(asked.elapsed());
        thread::sleep(Duration::from_millis(100));
    }
    let gone = server.figure("frame_timeout")?;
    Ok(Outcome::of(
        gone == count as u64 && honest.max() <= Duration::from_millis(100),
        format!(
            "{gone} of {count} gone within {} of a deadline of 2 s; an honest one connected in {} at most",
            Shown(start.elapsed()),
            Shown(honest.max())
        ),
    ))
}

/// Connections a second.
const CHURN: u32 = 200;

fn soak(scale: Scale) -> Ran {
    let time = scale.of(Duration::from_secs(8), Duration::from_secs(300));
    let settled = scale.of(Duration::from_secs(3), Duration::from_secs(60));
    let mut server = Server::start(&["--workers", "2"])?;
    let descriptors = server.descriptors()?;
    let (start, mut count) = (Instant::now(), 0_u32);
    let mut from = None;
    while start.elapsed() < time {
        if from.is_none() && start.elapsed() >= settled {
            from = Some((Instant::now(), server.resident_bytes()?));
        }
        if start.elapsed() < Duration::from_secs(1) / CHURN * count {
            thread::sleep(Duration::from_millis(1));
            continue;
        }
        end_somehow(connect(server.address, count as usize)?, count)?;
        count += 1;
    }
    let (since, before) = from.ok_or("too short")?;
    // One that still waits to be accepted is not active, and will be.
    server.wait_for("accepted", |accepted| accepted >= u64::from(count))?;
    server.wait_for("active", |count| count == 0)?;
    let grown = server.resident_bytes()? as f64 - before as f64;
    // A few seconds cannot tell a slope: there, what was gained must be less than a minute's.
    let slope = grown / MIB / (since.elapsed().as_secs_f64() / 60.0).max(1.0);
    let more = server.descriptors()?.abs_diff(descriptors);
    Ok(Outcome::of(
        slope <= 1.0 && more == 0,
        format!(
            "{slope:+.2} MiB a minute over {} connections in {}; {more} descriptors more or less",
            count,
            Shown(start.elapsed())
        ),
    ))
}

/// One of the ways in which connections end.
fn end_somehow(mut socket: TcpStream, n: u32) -> Result<(), Box<dyn Error>> {
    match n % 6 {
        0 => ask(&mut socket)?,
        1 => SockRef::from(&socket).set_linger(Some(Duration::ZERO))?,
        2 => {
            ask(&mut socket)?;
            socket.shutdown(Shutdown::Write)?;
        }
        3 => socket.write_all(&[0xFF; 16])?,
        4 => socket.write_all(b"\0\0\x10\0half a frame")?,
        _ => {
            socket.write_all(&long_frame())?;
            SockRef::from(&socket).set_linger(Some(Duration::ZERO))?;
        }
    }
    Ok(())
}
