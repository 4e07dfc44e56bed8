//! What some connections do, and what the others feel of it.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::child::Server;
use crate::latency::{Pings, Shown, Times, ask, connect, long_frame, stop_reading};
use crate::promise::{Outcome, Promise, Ran, Scale};

const P99_MAX: Duration = Duration::from_millis(10);

pub(crate) fn promises() -> Vec<Promise> {
    vec![
        Promise {
            name: "one-at-full-speed",
            says: "while one connection sends and reads as fast as it can, the p99 of 100 others is at most 10 ms",
            run: one_at_full_speed,
        },
        Promise {
            name: "stopped-readers",
            says: "50 peers that do not read leave the p99 of 50 others at most twice what it was",
            run: stopped_readers,
        },
        Promise {
            name: "write-stall",
            says: "a peer that does not read is cut off at its deadline, and not before",
            run: write_stall,
        },
        Promise {
            name: "handlers-that-block",
            says: "while every handler on the pool sleeps for 200 ms, the p99 of connecting and of heartbeats is at most 10 ms",
            run: handlers_that_block,
        },
    ]
}

fn one_at_full_speed(scale: Scale) -> Ran {
    let time = scale.of(Duration::from_secs(1), Duration::from_secs(4));
    let server = Server::start(&[])?;
    let mut alone = Pings::to(server.address, 100)?;
    alone.run(time)?;
    let flood = Flood::start(&server)?;
    let mut beside = Pings::to(server.address, 100)?;
    beside.run(time)?;
    let rate = flood.stop();
    let (alone, beside) = (alone.times.p99(), beside.times.p99());
    Ok(Outcome::of(
        beside <= P99_MAX,
        format!(
            "p99 {} beside {rate:.0} MB/s, {} without",
            Shown(beside),
            Shown(alone)
        ),
    ))
}

/// A connection that sends frames of 64 KiB as fast as they go, and reads the answers.
struct Flood {
    socket: TcpStream,
    over: Arc<AtomicBool>,
    threads: [thread::JoinHandle<u64>; 2],
    start: Instant,
}

impl Flood {
    fn start(server: &Server) -> std::io::Result<Self> {
        let socket = connect(server.address, 0)?;
        let over = Arc::new(AtomicBool::new(false));
        let (mut write, mut read, ended) =
            (socket.try_clone()?, socket.try_clone()?, Arc::clone(&over));
        let sending = thread::spawn(move || {
            let frame = long_frame();
            while !ended.load(Ordering::Relaxed) && write.write_all(&frame).is_ok() {}
            0
        });
        let reading = thread::spawn(move || {
            let (mut buffer, mut bytes) = (vec![0; 256 << 10], 0);
            while let Ok(count @ 1..) = read.read(&mut buffer) {
                bytes += count as u64;
            }
            bytes
        });
        Ok(Self {
            socket,
            over,
            threads: [sending, reading],
            start: Instant::now(),
        })
    }

    /// Ends it; megabytes echoed a second.
    fn stop(self) -> f64 {
        let seconds = self.start.elapsed().as_secs_f64();
        self.over.store(true, Ordering::Relaxed);
        let _ = self.socket.shutdown(Shutdown::Both);
        let bytes: u64 = self
            .threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or(0))
            .sum();
        bytes as f64 / 1e6 / seconds
    }
}

fn stopped_readers(scale: Scale) -> Ran {
    let time = scale.of(Duration::from_secs(1), Duration::from_secs(4));
    let mut server = Server::start(&["--write-stall", "60000"])?;
    let mut live = Pings::to(server.address, 50)?;
    live.run(time)?;
    let alone = std::mem::replace(&mut live.times, Times::new());
    let mut stopped = (0..50)
        .map(|n| connect(server.address, n))
        .collect::<Result<Vec<_>, _>>()?;
    stopped.iter_mut().try_for_each(stop_reading)?;
    live.run(time)?;
    let there = server.figure("active")?;
    let ratio = live.times.p99().as_secs_f64() / alone.p99().as_secs_f64();
    Ok(Outcome::of(
        ratio <= 2.0 && there == 100,
        format!(
            "{ratio:.2} times: p99 {}, {} without",
            Shown(live.times.p99()),
            Shown(alone.p99())
        ),
    ))
}

fn write_stall(scale: Scale) -> Ran {
    const DEADLINE: Duration = Duration::from_secs(1);
    let mut server = Server::start(&["--write-stall", "1000"])?;
    let count = scale.of(8, 50);
    let mut stopped = (0..count)
        .map(|n| connect(server.address, n))
        .collect::<Result<Vec<_>, _>>()?;
    let start = Instant::now();
    for socket in &mut stopped {
        socket.set_nonblocking(true)?;
    }
    let frame = long_frame();
    // All at once, until the kernels of both sides have been full for a while.
    let (mut last, mut left) = (Instant::now(), vec![0; count]);
    while last.elapsed() < DEADLINE / 4 {
        for (socket, left) in stopped.iter_mut().zip(&mut left) {
            if let Ok(sent) = socket.write(&frame[*left..]) {
                *left = (*left + sent) % frame.len();
                last = Instant::now();
            }
        }
    }
    // Nobody can have stood still since before `start`, and everybody has since `last`.
    server.wait_for("write_stall", |cut| cut > 0)?;
    let first = start.elapsed();
    server.wait_for("write_stall", |cut| cut == count as u64)?;
    let after = last.elapsed();
    Ok(Outcome::of(
        first >= DEADLINE && after <= DEADLINE + Duration::from_millis(250),
        format!(
            "{count} cut off, the first {} after the first byte, all {} after the last; the deadline is 1 s",
            Shown(first),
            Shown(after)
        ),
    ))
}

fn handlers_that_block(scale: Scale) -> Ran {
    let time = scale.of(Duration::from_secs(1), Duration::from_secs(4));
    let mut server = Server::start(&["--sleep", "200"])?;
    let work = [&8_u32.to_be_bytes()[..], b"workwork"].concat();
    let mut busy = (0..100)
        .map(|n| connect(server.address, n))
        .collect::<Result<Vec<_>, _>>()?;
    for socket in &mut busy {
        socket.write_all(&work.repeat(4))?;
    }
    let (mut accepts, mut pings) = (Times::new(), Pings::to(server.address, 20)?);
    let start = Instant::now();
    while start.elapsed() < time {
        let asked = Instant::now();
        let mut newcomer = connect(server.address, 1)?;
        ask(&mut newcomer)?;
        accepts.add(asked.elapsed());
        pings.run(Duration::from_millis(1))?;
    }
    let queued = server.figure("queued")?;
    let (accept, ping) = (accepts.p99(), pings.times.p99());
    // Up to here they are there, and with them what waits; their answers are no matter of this promise.
    drop(busy);
    Ok(Outcome::of(
        accept <= P99_MAX && ping <= P99_MAX && queued > 100,
        format!(
            "connecting and a first answer {}, heartbeats {}; {queued} messages waited",
            Shown(accept),
            Shown(ping)
        ),
    ))
}
