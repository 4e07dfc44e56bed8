//! What the tests over real sockets share.
//!
//! Nothing here sleeps. What must happen is waited for within [`PATIENCE`], so that a hang is a failure
//! with a name and not a stuck run.
#![allow(
    dead_code,
    unused_imports,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test binary uses its part"
)]

mod caller;
mod gate;
pub(crate) mod log;
mod scratch;

use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Shutdown, SocketAddr, TcpStream};
use std::process::Command;
use std::sync::LazyLock;
use std::thread;
use std::time::Duration;

use netwheel::{AnyPipeline, Clock, Peer, RunningServer, Server};
use socket2::{Domain, SockRef, Socket, Type};

pub(crate) use caller::Caller;
pub(crate) use gate::Gate;
pub(crate) use scratch::Scratch;

/// The longest that a test waits for what must happen: far more than a loaded machine needs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// How long a test watches that something does not happen.
pub(crate) const A_WHILE: Duration = Duration::from_millis(100);

/// Bytes that the kernel never swallows towards a reader that has stopped, even with both its buffers
/// at their largest: beyond them lies our own memory.
pub(crate) const MORE_THAN_THE_KERNEL_TAKES: usize = 32 << 20;

/// An address to listen on that is surely free.
pub(crate) const fn any_port() -> &'static str {
    "127.0.0.1:0"
}

/// Waits until `holds`, and fails with `what` when it never does.
pub(crate) fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let clock = Clock::system();
    let start = clock.now();
    while !holds() {
        assert!(
            clock.now().since(start) < PATIENCE,
            "never came true: {what}"
        );
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// A server on one port of its own, with so many workers.
pub(crate) fn serve<P: Into<AnyPipeline>>(
    workers: usize,
    pipeline: impl Fn(&Peer) -> P + Send + Sync + 'static,
) -> RunningServer {
    Server::new()
        .workers(workers)
        .pipeline(pipeline)
        .listen(any_port())
        .expect("a free port")
        .start()
        .expect("threads")
}

/// Shuts down a server whose connections have all come to their own end.
pub(crate) fn end(server: RunningServer) {
    assert_eq!(
        server.shutdown(PATIENCE).aborted,
        0,
        "a connection had to be cut off"
    );
}

/// Connects a plain socket, on which a read or write that hangs fails.
pub(crate) fn dial(address: SocketAddr) -> TcpStream {
    patient(TcpStream::connect(address).expect("the server accepts"))
}

/// Connects from 127.0.0.`host`, so that many connections do not run out of ports.
pub(crate) fn dial_from(host: u8, address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a descriptor");
    let source = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, host)), 0);
    socket.bind(&source.into()).expect("a free port");
    socket.connect(&address.into()).expect("the server accepts");
    patient(socket.into())
}

fn patient(socket: TcpStream) -> TcpStream {
    socket.set_nodelay(true).expect("a TCP socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout");
    socket.set_write_timeout(Some(PATIENCE)).expect("a timeout");
    socket
}

/// Makes a socket whose close sends RST, and drops what it holds.
pub(crate) fn reset(socket: TcpStream) {
    SockRef::from(&socket)
        .set_linger(Some(Duration::ZERO))
        .expect("a TCP socket");
    drop(socket);
}

/// Reads exactly so many bytes.
pub(crate) fn read(mut socket: &TcpStream, count: usize) -> Vec<u8> {
    let mut bytes = vec![0; count];
    socket.read_exact(&mut bytes).expect("the answer");
    bytes
}

/// Reads up to the peer's FIN.
pub(crate) fn read_to_end(mut socket: &TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    socket
        .read_to_end(&mut bytes)
        .expect("the answer, then FIN");
    bytes
}

/// Writes `bytes`, and FIN behind them.
pub(crate) fn write_and_finish(mut socket: &TcpStream, bytes: &[u8]) {
    socket.write_all(bytes).expect("the server reads");
    socket.shutdown(Shutdown::Write).expect("still connected");
}

/// Sends `question` and takes the answer of the same length.
pub(crate) fn ask(mut socket: &TcpStream, question: &[u8]) -> Vec<u8> {
    socket.write_all(question).expect("the server reads");
    read(socket, question.len())
}

/// A message behind its length in four bytes.
pub(crate) fn frame(message: &[u8]) -> Vec<u8> {
    let len = u32::try_from(message.len()).expect("a short message");
    [&len.to_be_bytes(), message].concat()
}

/// An endless stream of bytes in which a lost, doubled or misplaced piece shows.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pattern {
    position: usize,
}

/// A length that no power of two divides, so that a piece out of place matches nowhere.
const PERIOD: usize = 999_983;

static TABLE: LazyLock<Vec<u8>> = LazyLock::new(|| {
    let mut random = Random(1);
    (0..PERIOD)
        .map(|_| random.next().to_le_bytes()[3])
        .collect()
});

impl Pattern {
    /// The next bytes of the stream, at most `max` and at least one.
    pub(crate) fn take(&mut self, max: usize) -> &'static [u8] {
        let rest = &TABLE[self.position % PERIOD..];
        let piece = &rest[..max.min(rest.len())];
        self.position += piece.len();
        piece
    }

    /// Bytes taken or checked so far.
    pub(crate) fn position(&self) -> usize {
        self.position
    }

    /// Fails unless `bytes` are the next of the stream.
    pub(crate) fn check(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let start = self.position;
            let piece = self.take(bytes.len());
            assert!(bytes.starts_with(piece), "wrong bytes at or behind {start}");
            bytes = &bytes[piece.len()..];
        }
    }

    pub(crate) fn write(&mut self, mut to: impl Write, mut count: usize) {
        while count > 0 {
            let piece = self.take(count);
            to.write_all(piece).expect("the peer reads");
            count -= piece.len();
        }
    }

    /// Reads and checks the next `count` bytes, up to `chunk` at once.
    pub(crate) fn read(&mut self, mut from: impl Read, mut count: usize, chunk: usize) {
        let mut buffer = vec![0; chunk];
        while count > 0 {
            let want = chunk.min(count);
            let got = from.read(&mut buffer[..want]).expect("the peer writes");
            assert!(got > 0, "the stream ended {count} bytes too early");
            self.check(&buffer[..got]);
            count -= got;
        }
    }
}

/// Numbers that look random and are the same in every run (xorshift64*).
#[derive(Clone, Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
}

/// Runs the test named `test` of this binary once more, in a process where nothing else runs; answers
/// whether this is that process.
pub(crate) fn is_alone(test: &str) -> bool {
    const ALONE: &str = "NETWHEEL_TEST_ALONE";
    if std::env::var_os(ALONE).is_some() {
        return true;
    }
    let output = Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", test, "--test-threads=1"])
        .env(ALONE, "1")
        .output()
        .expect("another process");
    let told = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success() && told.contains("1 passed"),
        "{test}, alone:\n{told}"
    );
    false
}

/// Threads of this process at this moment.
pub(crate) fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}

/// Threads of this process whose name begins with `prefix`; the kernel keeps 15 bytes of a name.
pub(crate) fn threads_named(prefix: &str) -> usize {
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    tasks
        .flatten()
        .filter_map(|task| std::fs::read_to_string(task.path().join("comm")).ok())
        .filter(|name| name.starts_with(prefix))
        .count()
}

/// Open descriptors of this process at this moment.
pub(crate) fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}

/// Threads and descriptors of the process at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Baseline {
    threads: usize,
    descriptors: usize,
}

impl Baseline {
    /// How many there are now; only meaningful where a test has its process to itself.
    pub(crate) fn now() -> Self {
        Self {
            threads: threads(),
            descriptors: descriptors(),
        }
    }

    pub(crate) fn threads(self) -> usize {
        self.threads
    }

    pub(crate) fn descriptors(self) -> usize {
        self.descriptors
    }

    /// Waits until there are no more than there were.
    pub(crate) fn is_back_after(self, what: &str) {
        eventually(
            &format!("{self:?} again after {what}, now {:?}", Self::now()),
            || Self::now() == self,
        );
    }
}
