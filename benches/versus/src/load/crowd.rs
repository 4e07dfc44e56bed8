//! Many peers on one epoll: connecting them, and one turn of their loop.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use socket2::{Domain, Protocol, Socket, Type};

use super::peer::{Peer, histogram};
use super::script::Script;
use super::stream::Stream;
use super::{Opening, wire};
use crate::sys::{self, Epoll};

/// Larger than any burst, so that a read is rarely repeated.
const READ_BYTES: usize = 256 * 1024;
const EVENTS_PER_TURN: usize = 1024;
/// Silence after which a server that owes an answer has failed.
const STALL: Duration = Duration::from_secs(10);

/// Connects from the `index`th loopback source address, so that ports never run out.
pub fn connect(address: SocketAddr, index: usize) -> io::Result<TcpStream> {
    let source = Ipv4Addr::new(127, 0, 0, 2 + (index % 250) as u8);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    sys::bind_without_port(&socket)?;
    socket.bind(&SocketAddr::from((source, 0)).into())?;
    socket.connect(&address.into())?;
    socket.set_tcp_nodelay(true)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// What a peer asks when it has been answered.
#[derive(Debug, Clone, Copy)]
pub enum Refill {
    Nothing,
    /// So many at once, when everything it asked has been answered.
    Burst(u64),
    /// One for each that was answered, so that the number under way stays.
    Sliding,
}

/// Peers that ask by `refill` or by hand, and one histogram of their latencies.
#[derive(Debug)]
pub struct Crowd {
    epoll: Epoll,
    peers: Vec<Peer>,
    script: Script,
    opening: Opening,
    buffer: Vec<u8>,
    latency: Histogram<u64>,
    outstanding: u64,
    answered: u64,
    heard: Instant,
}

impl Crowd {
    /// Connects `count` peers.
    pub fn connect(
        address: SocketAddr,
        count: usize,
        script: Script,
        opening: Opening,
    ) -> io::Result<Self> {
        let mut crowd = Self {
            epoll: Epoll::new(EVENTS_PER_TURN)?,
            peers: Vec::with_capacity(count),
            script,
            opening,
            buffer: vec![0; READ_BYTES],
            latency: histogram(),
            outstanding: 0,
            answered: 0,
            heard: Instant::now(),
        };
        crowd.grow(address, count)?;
        Ok(crowd)
    }

    /// Connects more peers, until there are `count`; each asks once, so that it is served before the next.
    pub fn grow(&mut self, address: SocketAddr, count: usize) -> io::Result<()> {
        /// Fewer than any listener's backlog.
        const AT_ONCE: usize = 100;
        while self.peers.len() < count {
            let first = self.peers.len();
            for index in first..count.min(first + AT_ONCE) {
                let stream = connect(address, index)?;
                self.epoll.add(&stream, index)?;
                let origin = self.script.origin(index);
                let stream = match self.opening {
                    Opening::None => Stream::plain(stream),
                    Opening::Tls => Stream::sealed(stream)?,
                    Opening::Login => {
                        wire::log_in(&stream, index)?;
                        Stream::plain(stream)
                    }
                };
                self.peers.push(Peer::new(stream, origin, &self.script));
            }
            for index in first..self.peers.len() {
                self.ask(index, 1, Instant::now())?;
            }
            self.drain()?;
        }
        Ok(())
    }

    pub fn len(&self) -> usize {
        self.peers.len()
    }

    /// Messages answered since the last [`Crowd::forget`].
    pub fn answered(&self) -> u64 {
        self.answered
    }

    pub fn latency(&self) -> &Histogram<u64> {
        &self.latency
    }

    /// The slowest peer's count of answers as a share of the mean.
    pub fn slowest_share(&self) -> f64 {
        let slowest = self.peers.iter().map(Peer::answered).min().unwrap_or(0);
        slowest as f64 * self.peers.len() as f64 / self.answered.max(1) as f64
    }

    /// Starts counting anew.
    pub fn forget(&mut self) {
        debug_assert_eq!(self.outstanding, 0);
        self.peers.iter_mut().for_each(Peer::forget);
        self.latency.reset();
        self.answered = 0;
    }

    /// Asks `messages` on one peer, with latencies counted from `since`.
    pub fn ask(&mut self, peer: usize, messages: u64, since: Instant) -> io::Result<()> {
        self.outstanding += messages;
        self.peers[peer].ask(messages, since, &self.script)
    }

    /// Puts everybody at one place of the script, for broadcasts.
    pub fn tune(&mut self) {
        for peer in &mut self.peers {
            peer.tune(0, &self.script);
        }
    }

    /// The first peer sends `messages`, which all are to hear, itself too.
    pub fn speak(&mut self, messages: u64, since: Instant) -> io::Result<()> {
        for peer in &mut self.peers[1..] {
            peer.hear(messages, since, &self.script);
        }
        self.outstanding += messages * (self.peers.len() as u64 - 1);
        self.ask(0, messages, since)
    }

    /// Whether nothing is under way.
    pub fn is_quiet(&self) -> bool {
        self.outstanding == 0
    }

    /// Waits up to `timeout_ms` and serves what is ready; answered peers ask more as `refill` says.
    pub fn turn(&mut self, timeout_ms: i32, refill: Refill) -> io::Result<()> {
        let count = self.epoll.wait(timeout_ms)?;
        for index in 0..count {
            let index = self.epoll.token(index);
            let peer = &mut self.peers[index];
            peer.flush(&self.script)?;
            let completed = peer.receive(&self.script, &mut self.buffer, &mut self.latency)?;
            self.outstanding -= completed;
            self.answered += completed;
            let more = match refill {
                Refill::Burst(depth) if completed > 0 && peer.is_quiet() => depth,
                Refill::Sliding => completed,
                Refill::Burst(_) | Refill::Nothing => 0,
            };
            if more > 0 {
                self.ask(index, more, Instant::now())?;
            }
        }
        self.watch(count)
    }

    /// Fails when a server that owes answers has been silent for long.
    fn watch(&mut self, events: usize) -> io::Result<()> {
        if events > 0 || self.outstanding == 0 {
            self.heard = Instant::now();
        } else if self.heard.elapsed() > STALL {
            let owed = self.outstanding;
            return Err(io::Error::other(format!(
                "the server stalled and owes {owed} messages"
            )));
        }
        Ok(())
    }

    /// Turns without asking until everything has been answered.
    pub fn drain(&mut self) -> io::Result<()> {
        self.heard = Instant::now();
        while self.outstanding > 0 {
            self.turn(100, Refill::Nothing)?;
        }
        Ok(())
    }
}
