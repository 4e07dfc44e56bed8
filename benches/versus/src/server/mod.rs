//! The servers written in Rust, behind the command line that every rival speaks.

mod identity;
mod netwheel;
mod netwheel_link;
mod tarpc_rival;
mod tokio_broadcast;
mod tokio_link;
mod tokio_pool;
mod tokio_rival;

use std::io::{self, Write};
use std::net::SocketAddr;

use clap::{Args, ValueEnum};
use serde::Serialize;

/// What a server does with the bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Echoes whatever is read.
    Raw,
    /// Decodes frames of a 4-byte big-endian length, and echoes each from a handler on the I/O thread.
    Framed,
    /// As raw, under TLS.
    Tls,
    /// Echoes datagrams, on one UDP socket.
    Udp,
    /// As framed, with the handler on a pool of business threads; each connection keeps its order.
    Pool,
    /// Decodes frames as framed does. The first of a connection comes back to it, and each further one goes
    /// to all that have sent one, itself too.
    Broadcast,
    /// Speaks the wire of the private stack: lets every login in, answers pings, and echoes questions with their id.
    /// A question of nothing is answered with the number of messages since the last one that wanted no answer.
    Link,
}

impl Mode {
    /// Its word on the command line.
    pub fn word(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Framed => "framed",
            Self::Tls => "tls",
            Self::Udp => "udp",
            Self::Pool => "pool",
            Self::Broadcast => "broadcast",
            Self::Link => "link",
        }
    }
}

/// The contract: every server takes all of these, and may ignore those marked so.
#[derive(Debug, Clone, Args)]
pub struct ServeArgs {
    /// Address to listen on; the answer on stdout is `listening on ADDR`
    #[arg(long, default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    #[arg(long, value_enum, default_value = "raw")]
    pub mode: Mode,
    /// I/O threads; the last word counts
    #[arg(long, default_value_t = 1, overrides_with = "workers")]
    pub workers: usize,
    /// Business threads, in mode pool
    #[arg(long, default_value_t = 4)]
    pub pool: usize,
    /// Bytes of a read buffer
    #[arg(long, default_value_t = 8192)]
    pub buffer: usize,
    /// Microseconds to poll before sleeping; may be ignored
    #[arg(long, default_value_t = 0)]
    pub spin: u64,
    /// Seconds of the idle deadline armed for each connection, 0 for none; may be ignored
    #[arg(long, default_value_t = 0)]
    pub idle: u64,
    /// 1: a SO_REUSEPORT listener per worker instead of one acceptor; may be ignored
    #[arg(long, default_value_t = 0)]
    pub reuse_port: u8,
    /// 1: each worker pinned to a core of its own; may be ignored
    #[arg(long, default_value_t = 0)]
    pub pin: u8,
    /// Bytes read from a connection before others have their turn; may be ignored
    #[arg(long, default_value_t = 262_144)]
    pub turn: usize,
}

/// A server's main function; it returns only when it fails.
pub type Serve = fn(&ServeArgs) -> io::Result<()>;

/// The servers of this program by name. **A new one is a file and a line here.**
pub const KINDS: &[(&str, Serve)] = &[
    ("netwheel", netwheel::serve),
    ("tokio", tokio_rival::multi_thread),
    ("tokio-current", tokio_rival::current_thread),
    ("tokio-batch", tokio_rival::batched_flush),
    ("tokio-crossbeam", tokio_rival::crossbeam),
    ("tarpc", tarpc_rival::serve),
];

/// The server of that name.
pub fn find(name: &str) -> Option<Serve> {
    let (_, serve) = KINDS.iter().find(|(kind, _)| *kind == name)?;
    Some(*serve)
}

/// Tells the runner that connections are welcome.
pub fn announce(address: SocketAddr) -> io::Result<()> {
    let mut stdout = io::stdout();
    writeln!(stdout, "listening on {address}")?;
    stdout.flush()
}
