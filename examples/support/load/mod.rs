//! Load on an echo server: connections that send, check what comes back, and measure how long it took.

mod check;
mod echo;
mod pattern;
mod run;
mod schedule;
mod tally;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;
use netwheel::Pipeline;

use check::{Check, Checked};
use echo::Echo;
use pattern::Pattern;
pub(crate) use run::run;
use schedule::Schedule;
pub(crate) use tally::Report;
use tally::Tallies;

/// What is asked of the server.
#[derive(Clone)]
pub(crate) struct Settings {
    pub(crate) connections: usize,
    /// Bytes of a message.
    pub(crate) size: usize,
    /// Messages on their way at once, on each connection.
    pub(crate) depth: usize,
    pub(crate) framed: bool,
    /// Messages a second over all connections; `None`: as many as come back.
    pub(crate) rate: Option<u32>,
}

/// How far a run has come; phases follow each other in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// Connections are being opened; those that are open send, and nothing is counted.
    Open,
    /// What comes back is counted.
    Measure,
    /// Nothing more is sent; a connection that has everything back closes.
    End,
}

/// How a connection ended: with every message back, or why not.
type Ending = Result<(), String>;

/// What the connections of a run share.
struct Load {
    settings: Settings,
    pattern: Pattern,
    tallies: Tallies,
    phase: AtomicU8,
    opened: AtomicUsize,
    endings: Sender<Ending>,
}

impl Load {
    /// A run on so many workers; each of its connections tells how it ended through the channel.
    fn new(settings: Settings, workers: usize) -> (Arc<Self>, Receiver<Ending>) {
        let (endings, receiver) = channel();
        let load = Self {
            pattern: Pattern::new(settings.size),
            settings,
            tallies: Tallies::new(workers),
            phase: AtomicU8::new(Phase::Open as u8),
            opened: AtomicUsize::new(0),
            endings,
        };
        (Arc::new(load), receiver)
    }

    /// What one connection does.
    fn pipeline(self: &Arc<Self>) -> Pipeline<Checked, Bytes> {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let check = Check::new(self.pattern.stream(number), self.settings.framed);
        Pipeline::new(check).handler(Echo::new(Arc::clone(self), number))
    }

    /// Begins the next phase; a connection notices when it is next called.
    fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Relaxed);
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Relaxed) {
            0 => Phase::Open,
            1 => Phase::Measure,
            _ => Phase::End,
        }
    }

    fn schedule(&self, number: usize) -> Option<Schedule> {
        let Settings { connections, .. } = self.settings;
        let rate = self.settings.rate?;
        Some(Schedule::new(f64::from(rate), number, connections))
    }
}
