//! A place where a test holds a thread.

use crossbeam_channel::{Receiver, Sender, unbounded};

use super::PATIENCE;

/// A place that a thread stops at until the test lets it go on. A clone is the same gate.
#[derive(Clone)]
pub struct Gate {
    arrived: (Sender<()>, Receiver<()>),
    open: (Sender<()>, Receiver<()>),
}

impl Gate {
    pub fn new() -> Self {
        Self {
            arrived: unbounded(),
            open: unbounded(),
        }
    }

    /// Stops here until the gate is opened; called by the thread that is to be held.
    pub fn pass(&self) {
        self.arrived.0.send(()).unwrap();
        self.open.1.recv_timeout(PATIENCE).unwrap();
    }

    /// Waits until a thread stands at the gate.
    pub fn wait(&self) {
        self.arrived.1.recv_timeout(PATIENCE).unwrap();
    }

    /// Lets one thread through, also one that is still to come.
    pub fn open(&self) {
        self.open.0.send(()).unwrap();
    }
}
