//! A run of a load: connect, measure, wait for the last messages.

use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use bytes::Bytes;
use netwheel::limits::CONNECT_TIMEOUT;
use netwheel::{Client, Clock, ConnectionHandle, Place, Reactor};

use super::super::signals::stop_signals;
use super::super::{Outcome, Progress};
use super::{Ending, Load, Phase, Report, Settings};

/// Connections that are opened at once: fewer than a server's backlog.
const CONNECT_BATCH: usize = 256;
/// How long messages that are on their way at the end may take.
const LAST_MESSAGES: Duration = Duration::from_secs(5);

/// Loads the echo server at `place` for so many seconds, or until SIGINT or SIGTERM.
///
/// `workers` is how many the reactor has.
pub(crate) fn run(
    settings: Settings,
    place: &Place,
    seconds: u64,
    reactor: Reactor,
    workers: usize,
) -> Outcome<Report> {
    let (load, endings) = Load::new(settings, workers);
    let _handles = load.connect(&reactor, place)?;
    load.enter(Phase::Measure);
    let (messages, elapsed) = load.watch(seconds, &endings)?;
    load.enter(Phase::End);
    load.await_last_messages(&endings)?;
    reactor.shutdown(LAST_MESSAGES);
    Ok(Report {
        messages,
        elapsed,
        size: load.settings.size,
        latencies: load.tallies.latencies(),
    })
}

impl Load {
    /// Opens the connections, and no socket more.
    fn connect(
        self: &Arc<Self>,
        reactor: &Reactor,
        place: &Place,
    ) -> Outcome<Vec<ConnectionHandle<Bytes>>> {
        let load = Arc::clone(self);
        let client = Client::on(reactor)
            // Were both sides to stop reading until the other has read, they would wait for ever. What
            // is on its way is bounded by the depth here.
            .auto_pause(false)
            .pipeline(move || load.pipeline());
        let refused = |error| {
            format!(
                "cannot connect to {place}: {error}; start a server with: \
                 cargo run --release --example echo_server -- --listen {place}"
            )
        };
        let mut handles = Vec::new();
        while handles.len() < self.settings.connections {
            let open = handles.len();
            for _ in open..self.settings.connections.min(open + CONNECT_BATCH) {
                handles.push(client.connect(place).map_err(refused)?);
            }
            for handle in &handles[open..] {
                handle.wait_open(CONNECT_TIMEOUT).map_err(refused)?;
            }
        }
        Ok(handles)
    }

    /// Watches the run for as long as it is measured; answers how many messages came back in what time.
    fn watch(&self, seconds: u64, endings: &Receiver<Ending>) -> Outcome<(u64, Duration)> {
        let signals = stop_signals()?;
        let (clock, duration) = (Clock::system(), Duration::from_secs(seconds));
        let start = clock.now();
        let mut progress = Progress::new(seconds);
        loop {
            let elapsed = clock.now().since(start);
            let messages = self.tallies.messages();
            if elapsed >= duration || signals.try_recv().is_ok() {
                progress.finish();
                return Ok((messages, elapsed));
            }
            let rate = messages as f64 / elapsed.as_secs_f64();
            progress.update(elapsed, &format!("{rate:.0} messages/s"));
            if let Ok(ending) = endings.recv_timeout(Progress::INTERVAL.min(duration - elapsed)) {
                ending?;
            }
        }
    }

    fn await_last_messages(&self, endings: &Receiver<Ending>) -> Outcome {
        let clock = Clock::system();
        let deadline = clock.now() + LAST_MESSAGES;
        for ended in 0..self.settings.connections {
            let left = deadline.since(clock.now());
            endings.recv_timeout(left).map_err(|_| {
                let waiting = self.settings.connections - ended;
                format!(
                    "{waiting} connections still wait for messages to come back after \
                     {LAST_MESSAGES:?}; the server has stopped answering them"
                )
            })??;
        }
        Ok(())
    }
}
