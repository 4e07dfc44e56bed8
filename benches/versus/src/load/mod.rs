//! The load generator: raw epoll on a core of its own, every echoed byte verified.
//!
//! ```text
//! Script (what is sent) -> Peer (one connection) -> Crowd (many on one epoll) -> Load (when to ask)
//! ```

mod broadcast;
mod churn;
mod closed;
mod crowd;
mod datagrams;
mod one_way;
mod open;
mod peer;
mod rpc;
mod script;
mod stream;
#[cfg(test)]
mod tests;
mod wire;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::Result;
use hdrhistogram::Histogram;

use crate::sys;
use crowd::{Crowd, Refill};
use script::Script;
pub use script::Shape;

/// One kind of work, and its size.
#[derive(Debug, Clone, Copy)]
pub enum Load {
    /// Each connection asks a burst of `depth` messages, and the next burst when all are answered.
    Closed {
        connections: usize,
        /// Connections that asked once and then stay silent.
        idle: usize,
        depth: u64,
        /// One message for each that was answered, instead of whole bursts.
        sliding: bool,
        /// The client polls without sleeping.
        spin: bool,
    },
    /// Messages at a fixed rate whether or not answers come: latency counts from the scheduled time.
    Open { connections: usize, rate: f64 },
    /// One speaks, in bursts of `depth` messages, and all hear it.
    Broadcast { connections: usize, depth: u64 },
    /// Connect, one echo, close; `at_once` connections at a time.
    Churn { at_once: usize },
    /// Each of so many UDP sockets asks one datagram, and the next when it is answered.
    Datagrams { peers: usize },
    /// So many links, each of which pings once in `every`.
    Heartbeats { links: usize, every: Duration },
    /// Bursts of messages that want no answer, on one link; each burst ends with a question of how many came.
    OneWay { burst: u64 },
    /// Connections that asked once and then stay silent: `few`, then `many`.
    Idle { few: usize, many: usize },
}

/// The message's payload and framing.
#[derive(Debug, Clone, Copy)]
pub struct Message {
    pub bytes: usize,
    pub shape: Shape,
    pub opening: Opening,
}

/// What comes before the first message of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    None,
    /// TLS.
    Tls,
    /// A login of the stack's wire.
    Login,
}

/// How long to warm up, and to measure.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    pub warm_up: Duration,
    pub window: Duration,
    /// Ends the window early, for what is counted and not timed.
    pub messages_max: u64,
}

impl Timing {
    fn warm_up(&self) -> Phase {
        Phase {
            time: self.warm_up,
            messages_max: u64::MAX,
        }
    }

    fn window(&self) -> Phase {
        Phase {
            time: self.window,
            messages_max: self.messages_max,
        }
    }
}

/// When to stop asking.
#[derive(Debug, Clone, Copy)]
struct Phase {
    time: Duration,
    messages_max: u64,
}

impl Phase {
    fn is_over(&self, elapsed: Duration, answered: u64) -> bool {
        elapsed >= self.time || answered >= self.messages_max
    }
}

/// What looks at the server while a window is measured.
///
/// No message is under way when either is called, so that counts are exact.
pub trait Probe {
    fn begin(&mut self) -> Result<()>;
    fn end(&mut self) -> Result<()>;
}

/// What the load generator saw.
#[derive(Debug)]
pub struct Window {
    pub messages: u64,
    pub elapsed: Duration,
    pub latency: Histogram<u64>,
    /// The slowest connection's count of messages as a share of the mean.
    pub slowest_share: f64,
    /// The load generator's own CPU time as a share of the window.
    pub load_busy: f64,
}

impl Load {
    /// The most connections that are open at once.
    pub fn connections(self) -> usize {
        match self {
            Self::Closed {
                connections, idle, ..
            } => connections + idle,
            Self::Open { connections, .. } | Self::Broadcast { connections, .. } => connections,
            Self::Churn { at_once } => at_once,
            Self::Datagrams { peers } => peers,
            Self::Heartbeats { links, .. } => links,
            Self::OneWay { .. } => 1,
            Self::Idle { many, .. } => many,
        }
    }

    /// Runs the load against `address`, and calls `probe` around the measured window.
    pub fn run(
        self,
        address: SocketAddr,
        message: Message,
        timing: Timing,
        probe: &mut dyn Probe,
    ) -> Result<Window> {
        match self {
            Self::Closed { depth, .. } if message.shape == Shape::Rpc => {
                rpc::run(address, depth, message, timing, probe)
            }
            Self::Closed {
                connections,
                idle,
                depth,
                sliding,
                spin,
            } => {
                let script = Script::new(message.bytes, message.shape, depth as usize);
                let _silent = silent(address, idle, message)?;
                let crowd = Crowd::connect(address, connections, script, message.opening)?;
                let refill = if sliding {
                    Refill::Sliding
                } else {
                    Refill::Burst(depth)
                };
                closed::run(crowd, depth, refill, spin, timing, probe)
            }
            Self::Open { connections, rate } => {
                let script = Script::new(message.bytes, message.shape, 1);
                let crowd = Crowd::connect(address, connections, script, message.opening)?;
                open::run(crowd, rate, timing, probe)
            }
            Self::Broadcast { connections, depth } => {
                let script = Script::new(message.bytes, message.shape, depth as usize);
                let crowd = Crowd::connect(address, connections, script, message.opening)?;
                broadcast::run(crowd, depth, timing, probe)
            }
            Self::Churn { at_once } => {
                let script = Script::new(message.bytes, message.shape, 1);
                churn::run(address, at_once, script, timing, probe)
            }
            Self::Datagrams { peers } => {
                datagrams::run(address, peers, one(message), timing, probe)
            }
            Self::Heartbeats { links, every } => {
                let script = Script::new(0, Shape::Ping, 1);
                let crowd = Crowd::connect(address, links, script, message.opening)?;
                let rate = links as f64 / every.as_secs_f64();
                open::run(crowd, rate, timing, probe)
            }
            Self::OneWay { burst } => one_way::run(address, burst, message, timing, probe),
            Self::Idle { few, many } => {
                let mut crowd = Crowd::connect(address, few, one(message), message.opening)?;
                crowd.forget();
                let started = Started::now()?;
                probe.begin()?;
                crowd.grow(address, many)?;
                probe.end()?;
                started.window(crowd.answered(), crowd.latency().clone(), 1.0)
            }
        }
    }
}

fn one(message: Message) -> Script {
    Script::new(message.bytes, message.shape, 1)
}

/// Opens connections that ask once; they stay open as long as the value lives.
fn silent(address: SocketAddr, count: usize, message: Message) -> Result<Option<Crowd>> {
    if count == 0 {
        return Ok(None);
    }
    Ok(Some(Crowd::connect(
        address,
        count,
        one(message),
        message.opening,
    )?))
}

/// The start of a window, on the wall and on the load generator's own CPU clock.
struct Started {
    at: Instant,
    cpu: Duration,
}

impl Started {
    fn now() -> Result<Self> {
        Ok(Self {
            cpu: sys::thread_cpu_time()?,
            at: Instant::now(),
        })
    }

    fn window(self, messages: u64, latency: Histogram<u64>, slowest_share: f64) -> Result<Window> {
        let elapsed = self.at.elapsed();
        let cpu = sys::thread_cpu_time()?.saturating_sub(self.cpu);
        Ok(Window {
            messages,
            elapsed,
            latency,
            slowest_share,
            load_busy: cpu.as_secs_f64() / elapsed.as_secs_f64(),
        })
    }
}
