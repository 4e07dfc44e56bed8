//! One client connection: what it has asked, what came back, and when.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::time::Instant;

use hdrhistogram::Histogram;

use super::script::Script;
use super::stream::Stream;

/// Latencies in nanoseconds, two significant digits, up to a minute.
pub fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(60_000_000_000, 2).expect("the bounds are constants")
}

/// Messages asked in one go.
#[derive(Debug)]
struct Burst {
    end: u64,
    since: Instant,
}

/// A connection and its place in the script, as offsets into its stream.
///
/// Invariant: `received <= sent <= due`.
#[derive(Debug)]
pub struct Peer {
    stream: Stream,
    received: u64,
    sent: u64,
    due: u64,
    /// Where the message ends that is being received.
    message_end: u64,
    bursts: VecDeque<Burst>,
    answered: u64,
}

impl Peer {
    /// Takes over a connected, non-blocking stream.
    pub fn new(stream: Stream, origin: u64, script: &Script) -> Self {
        Self {
            stream,
            received: origin,
            sent: origin,
            due: origin,
            message_end: origin + script.message_bytes(),
            bursts: VecDeque::new(),
            answered: 0,
        }
    }

    pub fn stream(&self) -> &Stream {
        &self.stream
    }

    /// Whether every message asked has been answered.
    pub fn is_quiet(&self) -> bool {
        self.received == self.due
    }

    /// Messages answered since the last call of [`Peer::forget`].
    pub fn answered(&self) -> u64 {
        self.answered
    }

    pub fn forget(&mut self) {
        self.answered = 0;
    }

    /// Asks `messages` more; their latency counts from `since`.
    pub fn ask(&mut self, messages: u64, since: Instant, script: &Script) -> io::Result<()> {
        self.due += messages * script.message_bytes();
        let end = self.due;
        self.bursts.push_back(Burst { end, since });
        self.flush(script)
    }

    /// Goes to another place of the script, where everybody is who hears the same.
    pub fn tune(&mut self, place: u64, script: &Script) {
        debug_assert!(self.is_quiet());
        (self.received, self.sent, self.due) = (place, place, place);
        self.message_end = place + script.message_bytes();
    }

    /// Waits for `messages` that another peer sends.
    pub fn hear(&mut self, messages: u64, since: Instant, script: &Script) {
        self.due += messages * script.message_bytes();
        self.sent = self.due;
        let end = self.due;
        self.bursts.push_back(Burst { end, since });
    }

    /// Writes what is due, until the socket is full.
    pub fn flush(&mut self, script: &Script) -> io::Result<()> {
        self.stream.flush()?;
        while self.sent < self.due {
            match self.stream.write(script.slice(self.sent, self.due)) {
                Ok(count) => self.sent += count as u64,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads and verifies what has come back; returns how many messages it completed.
    pub fn receive(
        &mut self,
        script: &Script,
        buffer: &mut [u8],
        latency: &mut Histogram<u64>,
    ) -> io::Result<u64> {
        let mut completed = 0;
        loop {
            let count = match self.stream.read(buffer) {
                Ok(0) => return Err(io::Error::other("the server closed a connection")),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            self.verify(script, &buffer[..count])?;
            completed += self.complete(script, latency);
            // A short read emptied the socket; the server never closes first, so no end is missed.
            if count < buffer.len() {
                break;
            }
        }
        self.answered += completed;
        Ok(completed)
    }

    fn verify(&mut self, script: &Script, bytes: &[u8]) -> io::Result<()> {
        let end = self.received + bytes.len() as u64;
        if end > self.sent {
            return Err(io::Error::other("the server sent more than it was sent"));
        }
        if !script.matches(self.received, bytes) {
            return Err(io::Error::other("the server echoed a wrong byte"));
        }
        self.received = end;
        Ok(())
    }

    fn complete(&mut self, script: &Script, latency: &mut Histogram<u64>) -> u64 {
        let now = Instant::now();
        let mut completed = 0;
        while self.message_end <= self.received {
            let burst = self.bursts.front().expect("a message was asked in a burst");
            let nanos = now.saturating_duration_since(burst.since).as_nanos();
            latency.saturating_record(nanos as u64);
            if burst.end == self.message_end {
                self.bursts.pop_front();
            }
            self.message_end += script.message_bytes();
            completed += 1;
        }
        completed
    }
}
