//! Calls of tarpc, by its own client: so many callers share one connection, and each asks again when it is answered.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::time::Instant;

use anyhow::{Result, ensure};
use bytes::Bytes;
use futures_util::future::try_join_all;
use hdrhistogram::Histogram;
use tarpc::tokio_serde::formats::Bincode;
use tarpc::{client, context, serde_transport};
use tokio::runtime::Builder;

use super::peer::histogram;
use super::script::Script;
use super::{Message, Phase, Probe, Started, Timing, Window};
use crate::rpc::EchoClient;

/// More than any case has under way, so that no caller waits for another.
const IN_FLIGHT_MAX: usize = 4096;
/// A prime, so that neighbours never ask the same for long.
const BODIES: usize = 521;

/// Runs the warm-up, then the measured window; both end with every call answered.
pub fn run(
    address: SocketAddr,
    callers: u64,
    message: Message,
    timing: Timing,
    probe: &mut dyn Probe,
) -> Result<Window> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let calls = Calls::connect(address, message.bytes).await?;
        calls.ask_for(callers, timing.warm_up()).await?;
        *calls.seen.borrow_mut() = Seen::new();
        probe.begin()?;
        let started = Started::now()?;
        calls.ask_for(callers, timing.window()).await?;
        let seen = calls.seen.borrow();
        let window = started.window(seen.answered, seen.latency.clone(), 1.0)?;
        probe.end()?;
        Ok(window)
    })
}

struct Seen {
    latency: Histogram<u64>,
    answered: u64,
}

impl Seen {
    fn new() -> Self {
        Self {
            latency: histogram(),
            answered: 0,
        }
    }
}

struct Calls {
    client: EchoClient,
    bodies: Vec<Bytes>,
    seen: RefCell<Seen>,
}

impl Calls {
    async fn connect(address: SocketAddr, bytes: usize) -> Result<Self> {
        let transport = serde_transport::tcp::connect(address, Bincode::default).await?;
        transport.get_ref().set_nodelay(true)?;
        let mut config = client::Config::default();
        config.max_in_flight_requests = IN_FLIGHT_MAX;
        config.pending_request_buffer = IN_FLIGHT_MAX;
        let bodies = Script::bodies(bytes).take(BODIES).map(Bytes::from);
        Ok(Self {
            client: EchoClient::new(config, transport).spawn(),
            bodies: bodies.collect(),
            seen: RefCell::new(Seen::new()),
        })
    }

    async fn ask_for(&self, callers: u64, phase: Phase) -> Result<()> {
        let start = Instant::now();
        let callers = (0..callers).map(|caller| self.ask(caller as usize, start, phase));
        try_join_all(callers).await?;
        Ok(())
    }

    async fn ask(&self, caller: usize, start: Instant, phase: Phase) -> Result<()> {
        let bodies = self.bodies.iter().cycle().skip(caller % self.bodies.len());
        for body in bodies {
            let since = Instant::now();
            let answer = self.client.echo(context::current(), body.clone()).await?;
            ensure!(answer == body, "the server echoed a wrong byte");
            let mut seen = self.seen.borrow_mut();
            let nanos = since.elapsed().as_nanos() as u64;
            seen.latency.saturating_record(nanos);
            seen.answered += 1;
            if phase.is_over(start.elapsed(), seen.answered) {
                break;
            }
        }
        Ok(())
    }
}
