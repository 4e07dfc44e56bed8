//! Load on an echo server: connections that send, check what comes back, and measure how long it took.

mod echo;
mod pattern;
mod schedule;
mod tally;

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

use bytes::Bytes;
use netwheel::Pipeline;
use netwheel::codec::LengthField;

use echo::Echo;
use pattern::Pattern;
use schedule::Schedule;
pub(crate) use tally::{Report, Tallies};

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
pub(crate) enum Phase {
    /// Connections are being opened; those that are open send, and nothing is counted.
    Open,
    /// What comes back is counted.
    Measure,
    /// Nothing more is sent; a connection that has everything back closes.
    End,
}

/// How a connection ended: with every message back, or why not.
pub(crate) type Ending = Result<(), String>;

/// What the connections of a run share.
pub(crate) struct Load {
    settings: Settings,
    pattern: Pattern,
    pub(crate) tallies: Tallies,
    phase: AtomicU8,
    opened: AtomicUsize,
    endings: Sender<Ending>,
}

impl Load {
    /// A run on so many workers; each of its connections tells how it ended through the channel.
    pub(crate) fn new(settings: Settings, workers: usize) -> (Arc<Self>, Receiver<Ending>) {
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
    pub(crate) fn pipeline(self: &Arc<Self>) -> Pipeline<Bytes, Bytes> {
        let number = self.opened.fetch_add(1, Ordering::Relaxed);
        let echo = Echo::new(Arc::clone(self), number);
        if self.settings.framed {
            Pipeline::new(LengthField::u32()).handler(echo)
        } else {
            Pipeline::raw().handler(echo)
        }
    }

    /// Begins the next phase; a connection notices when it is next called.
    pub(crate) fn enter(&self, phase: Phase) {
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
