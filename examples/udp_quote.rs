//! Proverbs by UDP: a server that answers a question, and a client that asks everybody on the network.
//!
//! ```sh
//! cargo run --release --example udp_quote -- --listen 0.0.0.0:8765
//! cargo run --release --example udp_quote -- --connect 255.255.255.255:8765
//! ```
//! The client prints the first answer, or says after `--timeout-ms` that none came. The server answers one text,
//! and nobody who says anything else.

mod support;

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::time::Duration;

use clap::Parser;
use log::{info, warn};
use netwheel::udp::{Datagram, DatagramContext, DatagramHandler, UdpHandle};
use netwheel::{CloseReason, ErrorKind, Place, Reactor, Result, TimerKey, Udp};

const QUESTION: &str = "谚语字典查询?";
const ANSWER: &str = "谚语查询结果: ";
const PROVERBS: [&str; 5] = [
    "只要功夫深，铁棒磨成针。",
    "旧时王谢堂前燕，飞入寻常百姓家。",
    "洛阳亲友如相问，一片冰心在玉壶。",
    "一寸光阴一寸金，寸金难买寸光阴。",
    "老骥伏枥，志在千里。烈士暮年，壮心不已。",
];
/// Time between two writings of the stats file.
const STATS_INTERVAL: Duration = Duration::from_secs(1);

const EXAMPLES: &str = "\
Try it:
  cargo run --release --example udp_quote -- --listen 0.0.0.0:8765
  cargo run --release --example udp_quote -- --connect 255.255.255.255:8765
  echo -n '谚语字典查询?' | nc -u -w1 127.0.0.1 8765     (a proverb)";

/// Answers a question with a proverb, or asks it.
#[derive(Parser)]
#[command(name = "udp_quote", after_help = EXAMPLES)]
struct Flags {
    #[command(flatten)]
    server: support::ServerFlags,

    /// Asks this address, which may be a broadcast address, instead of serving
    #[arg(long, value_name = "ADDR:PORT", conflicts_with = "listen")]
    connect: Option<Place>,

    /// How long the client waits for an answer
    #[arg(long, value_name = "MILLISECONDS", default_value_t = 15_000)]
    timeout_ms: u64,
}

fn main() -> ExitCode {
    let flags: Flags = support::flags::parse();
    support::run(|| match flags.connect.as_ref().map(Place::inet) {
        Some(Some(address)) => ask(address, Duration::from_millis(flags.timeout_ms)),
        Some(None) => Err("--connect takes ADDR:PORT; datagrams have no Unix sockets here".into()),
        None => serve(&flags.server),
    })
}

/// Answers until it is told to stop.
fn serve(flags: &support::ServerFlags) -> support::Outcome {
    let signals = support::signals::stop_signals()?;
    let reactor = flags.reactor().start()?;
    let mut turn = 0;
    let server = Udp::on(&reactor)
        .reuse_port(flags.reuse_port)
        .handle(move |cx, datagram| {
            if datagram.bytes != QUESTION.as_bytes() {
                return Ok(());
            }
            turn += 1;
            let proverb = PROVERBS[turn % PROVERBS.len()];
            cx.send_to(format!("{ANSWER}{proverb}"), datagram.peer)
        });
    for place in &flags.listen {
        let socket = bind(&server, place)?;
        support::say(format_args!("listening on {}", socket.local_address()));
    }
    let file = flags.stats_file.as_deref().map(support::StatsFile::new);
    let keep_figures = || {
        file.as_ref()
            .map_or(Ok(()), |file| file.write(&reactor.stats()))
    };
    keep_figures()?;
    while let Err(RecvTimeoutError::Timeout) = signals.recv_timeout(STATS_INTERVAL) {
        keep_figures().unwrap_or_else(|error| warn!("{error}"));
    }
    info!("stopping");
    let net = reactor.net().clone();
    reactor.shutdown(flags.drain());
    file.map_or(Ok(()), |file| file.write(&net.stats()))?;
    Ok(())
}

fn bind(
    server: &Udp<netwheel::udp::HasHandler>,
    place: &Place,
) -> std::result::Result<UdpHandle, String> {
    server.bind(place).map_err(|error| match error.kind() {
        ErrorKind::Address => format!("{error}; give --listen another address (port 0: any free)"),
        _ => error.to_string(),
    })
}

/// Asks once, and waits for one answer.
struct Asker {
    address: SocketAddr,
    timeout: Duration,
    answer: Option<String>,
    done: Sender<Option<String>>,
}

impl DatagramHandler for Asker {
    fn on_open(&mut self, cx: &mut DatagramContext<'_>) -> Result<()> {
        cx.timer(self.timeout, TimerKey(0));
        cx.send_to(QUESTION, self.address)
    }

    fn on_datagram(&mut self, cx: &mut DatagramContext<'_>, datagram: Datagram<'_>) -> Result<()> {
        let text = std::str::from_utf8(datagram.bytes)?;
        if text.starts_with(ANSWER) {
            self.answer = Some(text.to_owned());
            cx.close();
        }
        Ok(())
    }

    fn on_timer(&mut self, cx: &mut DatagramContext<'_>, _: TimerKey) -> Result<()> {
        cx.close();
        Ok(())
    }

    fn on_close(&mut self, _: &mut DatagramContext<'_>, _: CloseReason) {
        let _ = self.done.send(self.answer.take());
    }
}

fn ask(address: SocketAddr, timeout: Duration) -> support::Outcome {
    let reactor = Reactor::builder().workers(1).start()?;
    let (done, outcome) = channel();
    let any = if address.is_ipv4() {
        "0.0.0.0:0"
    } else {
        "[::]:0"
    };
    let socket = Udp::on(&reactor)
        .broadcast(true)
        .handler(move || Asker {
            address,
            timeout,
            answer: None,
            done: done.clone(),
        })
        .bind(any)?;
    match outcome.recv()? {
        Some(answer) => support::say(answer),
        None if socket.stats().sent == 0 => {
            return Err(format!("the question to {address} could not be sent; see the log").into());
        }
        None => return Err(format!("no answer from {address} within {timeout:?}").into()),
    }
    Ok(())
}
