//! Timers and wake-ups against the clock.

use std::hint::spin_loop;
use std::io::Read;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use netwheel::codec::LengthField;
use netwheel::{ConnectionHandle, Context, Event, Handler, Pipeline, Result, Server, TimerKey};

use crate::latency::{PATIENCE, Shown, Times, connect};
use crate::promise::{Outcome, Promise, Ran, Scale};

pub(crate) fn promises() -> Vec<Promise> {
    vec![
        Promise {
            name: "timers",
            says: "of 100,000 timers none is early, and 99.9 of 100 are at most 11 ms late: a tick and 10 ms",
            run: timers,
        },
        Promise {
            name: "wake-ups",
            says: "no message from another thread is left lying: millions sent one by one, each there within 5 s",
            run: wake_ups,
        },
    ]
}

/// Arms its share of the timers, and measures how late each is.
struct Alarm {
    timers: u32,
    due: Vec<Instant>,
    lateness: mpsc::Sender<(bool, Duration)>,
}

impl Handler<Bytes, Bytes> for Alarm {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result<()> {
        for n in 0..self.timers {
            let after =
                Duration::from_millis(200) + Duration::from_micros(u64::from(n) * 997 % 2_000_000);
            self.due.push(Instant::now() + after);
            cx.timer(after, TimerKey(n));
        }
        Ok(())
    }

    fn on_message(&mut self, _: &mut Context<'_, Bytes, Bytes>, _: Bytes) -> Result<()> {
        Ok(())
    }

    fn on_event(&mut self, _: &mut Context<'_, Bytes, Bytes>, event: &Event) -> Result<()> {
        if let Event::Timer(key) = event {
            let (now, due) = (Instant::now(), self.due[key.0 as usize]);
            let late = now.saturating_duration_since(due);
            self.lateness.send((now < due, late))?;
        }
        Ok(())
    }
}

fn timers(scale: Scale) -> Ran {
    const PER_CONNECTION: u32 = 100;
    let count = scale.of(20_000, 100_000);
    let (lateness, lates) = mpsc::channel();
    let server = Server::new()
        .workers(1)
        .pipeline(move |_| {
            Pipeline::new(LengthField::u32()).handler(Alarm {
                timers: PER_CONNECTION,
                due: Vec::new(),
                lateness: lateness.clone(),
            })
        })
        .listen("127.0.0.1:0")?
        .start()?;
    let sockets = (0..count / PER_CONNECTION).map(|n| connect(server.address(), n as usize));
    let sockets = sockets.collect::<std::io::Result<Vec<_>>>()?;
    let (mut times, mut early) = (Times::new(), 0);
    for _ in 0..count {
        let (too_early, late) = lates.recv_timeout(PATIENCE)?;
        early += u32::from(too_early);
        times.add(late);
    }
    drop(sockets);
    server.shutdown(Duration::from_secs(1));
    let late = times.quantile(0.999);
    Ok(Outcome::of(
        early == 0 && late <= Duration::from_millis(11),
        format!(
            "{count} timers, {early} early; late: p50 {}, p99.9 {}, at most {}",
            Shown(times.quantile(0.5)),
            Shown(late),
            Shown(times.max())
        ),
    ))
}

fn wake_ups(scale: Scale) -> Ran {
    let count: u32 = scale.of(30_000, 2_000_000);
    let (opened, opens) = mpsc::channel();
    let server = Server::new()
        .workers(1)
        .pipeline(move |_| Pipeline::new(LengthField::u32()).handler(Opened(opened.clone())))
        .listen("127.0.0.1:0")?
        .start()?;
    let mut socket = connect(server.address(), 0)?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let handle = opens.recv_timeout(PATIENCE)?;
    let (start, mut times) = (Instant::now(), Times::new());
    for n in 0..count {
        // The next comes when the worker still runs, is about to sleep, or sleeps.
        (0..n % 512).for_each(|_| spin_loop());
        let sent = Instant::now();
        handle.try_send(Bytes::copy_from_slice(&n.to_be_bytes()))?;
        let mut frame = [0; 8];
        if socket.read_exact(&mut frame).is_err() || frame[4..] != n.to_be_bytes() {
            return Ok(Outcome::Missed(format!("message {n} was left lying")));
        }
        times.add(sent.elapsed());
    }
    server.shutdown(Duration::from_secs(1));
    Ok(Outcome::Held(format!(
        "{count} in {}; there after {} (p50), {} at most",
        Shown(start.elapsed()),
        Shown(times.quantile(0.5)),
        Shown(times.max())
    )))
}

/// Gives its handle away.
struct Opened(mpsc::Sender<ConnectionHandle<Bytes>>);

impl Handler<Bytes, Bytes> for Opened {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result<()> {
        Ok(self.0.send(cx.handle())?)
    }

    fn on_message(&mut self, _: &mut Context<'_, Bytes, Bytes>, _: Bytes) -> Result<()> {
        Ok(())
    }
}
