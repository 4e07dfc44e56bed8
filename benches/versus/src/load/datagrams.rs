//! Datagrams in a closed loop: every peer has one under way, and asks again when it is answered.

use std::io::ErrorKind;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Instant;

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;

use super::peer::histogram;
use super::script::Script;
use super::{Phase, Probe, Started, Timing, Window};
use crate::sys::Epoll;

/// Silence after which the server has failed: nothing is lost on loopback with one datagram a peer under way.
const STALL_MS: i32 = 10_000;

/// Runs the warm-up, then the measured window; both end with every datagram answered.
pub fn run(
    address: SocketAddr,
    peers: usize,
    script: Script,
    timing: Timing,
    probe: &mut dyn Probe,
) -> Result<Window> {
    let mut crowd = Crowd::new(address, peers, script)?;
    crowd.ask_for(timing.warm_up())?;
    crowd.forget();
    probe.begin()?;
    let started = Started::now()?;
    crowd.ask_for(timing.window())?;
    let window = started.window(crowd.answered, crowd.latency.clone(), crowd.slowest_share())?;
    probe.end()?;
    Ok(window)
}

struct Peer {
    socket: UdpSocket,
    /// Where in the script its next message begins.
    at: u64,
    asked: Instant,
    answered: u64,
}

struct Crowd {
    epoll: Epoll,
    peers: Vec<Peer>,
    script: Script,
    buffer: Vec<u8>,
    latency: Histogram<u64>,
    answered: u64,
}

impl Crowd {
    /// Binds so many peers, each to a port of its own.
    fn new(address: SocketAddr, count: usize, script: Script) -> Result<Self> {
        let epoll = Epoll::new(count)?;
        let mut peers = Vec::with_capacity(count);
        for index in 0..count {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
            socket.connect(address)?;
            socket.set_nonblocking(true)?;
            epoll.add(&socket, index)?;
            peers.push(Peer {
                socket,
                at: script.origin(index),
                asked: Instant::now(),
                answered: 0,
            });
        }
        Ok(Self {
            epoll,
            peers,
            script,
            buffer: vec![0; 65_536],
            latency: histogram(),
            answered: 0,
        })
    }

    fn forget(&mut self) {
        self.latency.reset();
        self.answered = 0;
        self.peers.iter_mut().for_each(|peer| peer.answered = 0);
    }

    fn slowest_share(&self) -> f64 {
        let slowest = self.peers.iter().map(|peer| peer.answered).min();
        slowest.unwrap_or(0) as f64 * self.peers.len() as f64 / self.answered.max(1) as f64
    }

    fn ask_for(&mut self, phase: Phase) -> Result<()> {
        let start = Instant::now();
        let mut under_way = self.peers.len();
        for index in 0..under_way {
            self.ask(index)?;
        }
        while under_way > 0 {
            let events = self.epoll.wait(STALL_MS)?;
            ensure!(
                events > 0,
                "the server stalled and owes {under_way} datagrams"
            );
            for event in 0..events {
                let index = self.epoll.token(event);
                if !self.take(index)? {
                    continue;
                }
                if phase.is_over(start.elapsed(), self.answered) {
                    under_way -= 1;
                } else {
                    self.ask(index)?;
                }
            }
        }
        Ok(())
    }

    fn ask(&mut self, index: usize) -> Result<()> {
        let peer = &mut self.peers[index];
        let bytes = self.script.message_bytes();
        peer.asked = Instant::now();
        peer.socket
            .send(self.script.slice(peer.at, peer.at + bytes))?;
        Ok(())
    }

    /// Whether the answer has come; it must be what was asked.
    fn take(&mut self, index: usize) -> Result<bool> {
        let peer = &mut self.peers[index];
        let count = match peer.socket.recv(&mut self.buffer) {
            Ok(count) => count,
            // The event told of room to write.
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        let bytes = self.script.message_bytes();
        let is_same = count as u64 == bytes && self.script.matches(peer.at, &self.buffer[..count]);
        ensure!(is_same, "a wrong echo of {count} bytes");
        let took = peer.asked.elapsed().as_nanos();
        self.latency
            .saturating_record(u64::try_from(took).unwrap_or(u64::MAX));
        peer.at += bytes;
        peer.answered += 1;
        self.answered += 1;
        Ok(true)
    }
}
