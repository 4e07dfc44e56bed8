//! Messages that want no answer, on one link: bursts of them, each ended by a question of how many have come.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hdrhistogram::Histogram;

use super::crowd::connect;
use super::peer::histogram;
use super::{Message, Phase, Probe, Started, Timing, Window, wire};

/// Bursts that the server has not answered yet: it always has one to go on with.
const UNDER_WAY: u64 = 4;
/// Silence after which the server has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the warm-up, then the measured window; both end with every burst answered.
pub fn run(
    address: SocketAddr,
    burst: u64,
    message: Message,
    timing: Timing,
    probe: &mut dyn Probe,
) -> Result<Window> {
    let mut speaker = Speaker::connect(address, burst, message.bytes)?;
    speaker.speak_for(timing.warm_up())?;
    speaker.forget();
    probe.begin()?;
    let started = Started::now()?;
    speaker.speak_for(timing.window())?;
    let window = started.window(speaker.heard, speaker.latency.clone(), 1.0)?;
    probe.end()?;
    Ok(window)
}

struct Speaker {
    socket: TcpStream,
    /// Messages of a burst, without the question that ends it.
    messages: u64,
    burst: Vec<u8>,
    answer: Vec<u8>,
    latency: Histogram<u64>,
    heard: u64,
}

impl Speaker {
    fn connect(address: SocketAddr, messages: u64, bytes: usize) -> Result<Self> {
        let socket = connect(address, 0)?;
        wire::log_in(&socket, 0)?;
        socket.set_nonblocking(false)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        socket.set_write_timeout(Some(PATIENCE))?;
        let body = vec![b'x'; bytes];
        let mut burst = wire::one_way(&body).repeat(messages as usize);
        burst.extend(wire::question(1, &[]));
        Ok(Self {
            socket,
            messages,
            burst,
            answer: wire::answer(1, &messages.to_be_bytes()),
            latency: histogram(),
            heard: 0,
        })
    }

    fn forget(&mut self) {
        self.latency.reset();
        self.heard = 0;
    }

    /// Answers are a few bytes, so that no server waits for its answer to be read.
    fn speak_for(&mut self, phase: Phase) -> Result<()> {
        let start = Instant::now();
        let mut asked = std::collections::VecDeque::new();
        loop {
            let over = phase.is_over(start.elapsed(), self.heard);
            if !over && (asked.len() as u64) < UNDER_WAY {
                asked.push_back(Instant::now());
                self.socket.write_all(&self.burst)?;
                continue;
            }
            let Some(since) = asked.pop_front() else {
                return Ok(());
            };
            self.hear(since)?;
        }
    }

    /// Takes the answer to one burst: all of its messages must have come.
    fn hear(&mut self, since: Instant) -> Result<()> {
        let mut answer = vec![0; self.answer.len()];
        self.socket.read_exact(&mut answer)?;
        ensure!(answer == self.answer, "the server has lost a message");
        let nanos = since.elapsed().as_nanos() as u64;
        // Each message counts, and the question with them.
        self.latency.record_n(nanos, self.messages + 1)?;
        self.heard += self.messages + 1;
        Ok(())
    }
}
