//! Connect, one echo, close: the cost of a connection's whole life.

use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;

use super::crowd::connect;
use super::peer::{Peer, histogram};
use super::script::Script;
use super::stream::Stream;
use super::{Phase, Probe, Started, Timing, Window};
use crate::sys::Epoll;

/// Silence after which the server has failed.
const STALL_MS: i32 = 10_000;

/// Runs the warm-up, then the measured window; both end with every connection closed.
///
/// A message is one whole life; its latency runs from before `connect` to the last echoed byte. The client
/// closes first, so that no `TIME_WAIT` is left to the server.
pub fn run(
    address: SocketAddr,
    at_once: usize,
    script: Script,
    timing: Timing,
    probe: &mut dyn Probe,
) -> Result<Window> {
    let mut churn = Churn {
        address,
        epoll: Epoll::new(at_once)?,
        slots: Vec::new(),
        script,
        buffer: vec![0; 64 * 1024],
        latency: histogram(),
        opened: 0,
        closed: 0,
    };
    churn.slots.resize_with(at_once, || None);
    churn.live_for(timing.warm_up())?;
    churn.latency.reset();
    churn.closed = 0;
    probe.begin()?;
    let started = Started::now()?;
    churn.live_for(timing.window())?;
    let window = started.window(churn.closed, churn.latency, 1.0)?;
    probe.end()?;
    Ok(window)
}

struct Churn {
    address: SocketAddr,
    epoll: Epoll,
    slots: Vec<Option<Peer>>,
    script: Script,
    buffer: Vec<u8>,
    latency: Histogram<u64>,
    opened: usize,
    closed: u64,
}

impl Churn {
    fn live_for(&mut self, phase: Phase) -> Result<()> {
        let start = Instant::now();
        for slot in 0..self.slots.len() {
            self.open(slot)?;
        }
        let mut open = self.slots.len();
        while open > 0 {
            let events = self.epoll.wait(STALL_MS)?;
            ensure!(
                events > 0,
                "the server stalled and owes {open} connections an echo"
            );
            for index in 0..events {
                let slot = self.epoll.token(index);
                if !self.serve(slot)? {
                    continue;
                }
                if phase.is_over(start.elapsed(), self.closed) {
                    open -= 1;
                } else {
                    self.open(slot)?;
                }
            }
        }
        Ok(())
    }

    fn open(&mut self, slot: usize) -> Result<()> {
        let since = Instant::now();
        let stream = Stream::plain(connect(self.address, self.opened)?);
        let mut peer = Peer::new(stream, self.script.origin(self.opened), &self.script);
        self.opened += 1;
        peer.ask(1, since, &self.script)?;
        self.epoll.add(peer.stream().socket(), slot)?;
        self.slots[slot] = Some(peer);
        Ok(())
    }

    /// Whether the connection in `slot` has had its echo and is closed now.
    fn serve(&mut self, slot: usize) -> Result<bool> {
        let Some(peer) = &mut self.slots[slot] else {
            return Ok(false);
        };
        let completed = peer.receive(&self.script, &mut self.buffer, &mut self.latency)?;
        if completed == 0 {
            return Ok(false);
        }
        self.closed += completed;
        self.slots[slot] = None;
        Ok(true)
    }
}
