//! A program with a life of its own: a main loop, threads, signal handling and a logger. It links the
//! crate, starts a reactor when it needs one, uses it from its threads, stops it, and goes on.
//!
//! ```sh
//! cargo run --release --example embedded
//! ```
//! There is nothing to type: it tells what it does and ends by itself. Ctrl-C ends it sooner, in its own
//! way, because the crate installs no signal handler.
//!
//! The program is a weather station. Its main loop collects readings: from a sensor of its own, then
//! from others that report over the network, then from its own again.

#![allow(
    clippy::print_stdout,
    reason = "a program that tells what it does, on a terminal"
)]

use std::error::Error;
use std::net::SocketAddr;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::{Buf, Bytes};
use log::{LevelFilter, Log, Metadata, Record};
use netwheel::codec::LengthField;
use netwheel::{Client, ConnectionHandle, Pipeline, Reactor, RunningServer, Server};
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

type Outcome<T = ()> = Result<T, Box<dyn Error + Send + Sync>>;
type Line = ConnectionHandle<Bytes>;
type Sensor = JoinHandle<Outcome>;

const SENSORS: u32 = 3;
/// Readings of each sensor.
const READINGS: u32 = 1000;
/// Readings that wait for the main loop; there is room for one of each sensor, which waits for its answer.
const INBOX: usize = 64;
/// The longest that any thread waits for another.
const PATIENCE: Duration = Duration::from_secs(5);

/// What the main loop is told, by whichever thread.
enum Event {
    /// A reading in tenths of a degree, and the line to answer on if it came over one.
    Reading(u32, Option<Line>),
    Signal(i32),
}

fn main() -> Outcome {
    log::set_logger(&StationLog)?;
    log::set_max_level(LevelFilter::Info);
    let (events, inbox) = sync_channel(INBOX);
    watch_signals(events.clone())?;

    println!("1. on its own, without a network");
    let own = own_sensor(&events);
    collect(&inbox, READINGS)?;
    join(own)?;

    println!("2. with a reactor: a server, and sensors on threads that report to it");
    let reactor = Reactor::builder().workers(2).start()?;
    let server = serve(&reactor, &events)?;
    let sensors: Vec<_> = (0..SENSORS)
        .map(|number| reporting_sensor(&reactor, server.address(), number))
        .collect::<Outcome<_>>()?;
    collect(&inbox, SENSORS * READINGS)?;
    sensors.into_iter().try_for_each(join)?;
    let report = reactor.shutdown(PATIENCE);
    println!(
        "   the reactor and its threads were gone after {:?}",
        report.elapsed
    );

    println!("3. on its own again: the network has gone, the program has not");
    let own = own_sensor(&events);
    collect(&inbox, READINGS)?;
    join(own)
}

/// The main loop: collects so many readings, and answers those that came over a line.
fn collect(inbox: &Receiver<Event>, count: u32) -> Outcome {
    let mut sum = 0;
    for number in 1..=count {
        match inbox.recv_timeout(PATIENCE)? {
            Event::Reading(tenths, None) => sum += tenths,
            Event::Reading(tenths, Some(line)) => {
                sum += tenths;
                line.try_send(message(number))?;
            }
            Event::Signal(signal) => return Err(format!("signal {signal}").into()),
        }
    }
    let mean = f64::from(sum) / f64::from(count) / 10.0;
    println!("   {count} readings, {mean:.1} degrees on average");
    Ok(())
}

/// A server whose handlers pass every reading on to the main loop, with a handle to answer it by.
fn serve(reactor: &Reactor, events: &SyncSender<Event>) -> Outcome<RunningServer> {
    let events = events.clone();
    let server = Server::on(reactor)
        .pipeline(move |_peer| {
            let events = events.clone();
            Pipeline::new(LengthField::u32()).handle(move |cx, mut frame| {
                let tenths = frame.try_get_u32()?;
                // An I/O thread must not wait: were the main loop to fall behind, the line would close.
                events.try_send(Event::Reading(tenths, Some(cx.handle())))?;
                Ok(())
            })
        })
        .listen("127.0.0.1:0")?
        .start()?;
    println!("   it listens on {}", server.address());
    Ok(server)
}

/// A sensor that reports over a connection of its own and waits for each answer.
fn reporting_sensor(reactor: &Reactor, address: SocketAddr, number: u32) -> Outcome<Sensor> {
    let (answers, inbox) = sync_channel(1);
    let line = Client::on(reactor)
        .pipeline(move || {
            let answers = answers.clone();
            Pipeline::new(LengthField::u32()).handle(move |_, answer| {
                answers.try_send(answer)?;
                Ok(())
            })
        })
        .connect(address)?;
    Ok(thread::spawn(move || {
        for reading in 0..READINGS {
            line.try_send(message(150 + (reading + number) % 100))?;
            inbox.recv_timeout(PATIENCE)?;
        }
        line.close_after_flush();
        let reason = line.wait_closed(PATIENCE)?;
        println!("   sensor {number} has all its answers; its line ended as {reason}");
        Ok(())
    }))
}

/// A sensor that knows no network.
fn own_sensor(events: &SyncSender<Event>) -> Sensor {
    let events = events.clone();
    thread::spawn(move || {
        (0..READINGS)
            .try_for_each(|reading| events.send(Event::Reading(180 + reading % 50, None)))?;
        Ok(())
    })
}

fn join(sensor: Sensor) -> Outcome {
    sensor.join().map_err(|_| "a sensor panicked")?
}

fn message(number: u32) -> Bytes {
    Bytes::copy_from_slice(&number.to_be_bytes())
}

/// Signals are events like others, for the main loop to act on.
fn watch_signals(events: SyncSender<Event>) -> Outcome {
    let mut signals = Signals::new([SIGINT, SIGTERM])?;
    thread::spawn(move || {
        for signal in &mut signals {
            let _ = events.send(Event::Signal(signal));
        }
    });
    Ok(())
}

/// The program's logger, which the library's lines go to as well.
struct StationLog;

impl Log for StationLog {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        println!("   [{}] {}", record.target(), record.args());
    }

    fn flush(&self) {}
}
