//! What the tests over real sockets share.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses its part of it"
)]

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};

/// How long a test waits for what must happen; only a failing test waits so long.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long a test watches that something does not happen.
pub const A_WHILE: Duration = Duration::from_millis(100);

/// Where to listen when any port will do.
pub fn any_port() -> &'static str {
    "127.0.0.1:0"
}

/// Waits until `holds`, and fails the test in the words of `what` when it never does.
#[expect(
    clippy::disallowed_methods,
    reason = "the deadline of a test, not of a loop"
)]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = std::time::Instant::now() + PATIENCE;
    while !holds() {
        assert!(
            std::time::Instant::now() < deadline,
            "never happened: {what}"
        );
        thread::park_timeout(Duration::from_millis(1));
    }
}

/// Threads of this process at this moment.
pub fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// Open descriptors of this process at this moment.
pub fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").unwrap().count()
}

/// A place that a thread stops at until the test lets it go on. A clone is the same gate.
#[derive(Clone)]
pub struct Gate {
    arrived: (Sender<()>, Receiver<()>),
    open: (Sender<()>, Receiver<()>),
}

impl Gate {
    pub fn new() -> Self {
        Self {
            arrived: unbounded(),
            open: unbounded(),
        }
    }

    /// Stops here until the gate is opened; called by the thread that is to be held.
    pub fn pass(&self) {
        self.arrived.0.send(()).unwrap();
        self.open.1.recv_timeout(PATIENCE).unwrap();
    }

    /// Waits until a thread stands at the gate.
    pub fn wait(&self) {
        self.arrived.1.recv_timeout(PATIENCE).unwrap();
    }

    /// Lets one thread through, also one that is still to come.
    pub fn open(&self) {
        self.open.0.send(()).unwrap();
    }
}

/// A blocking client that speaks frames with a `u32` length in front.
pub struct Caller(pub TcpStream);

impl Caller {
    pub fn new(to: SocketAddr) -> Self {
        let socket = TcpStream::connect(to).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        socket.set_nodelay(true).unwrap();
        Self(socket)
    }

    pub fn send(&mut self, body: &[u8]) {
        self.send_all([body]);
    }

    /// Sends frames in one write.
    pub fn send_all<'a>(&mut self, bodies: impl IntoIterator<Item = &'a [u8]>) {
        let mut frames = Vec::new();
        for body in bodies {
            frames.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
            frames.extend_from_slice(body);
        }
        self.0.write_all(&frames).unwrap();
    }

    /// The next frame, or the end of the stream.
    pub fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut header = [0; 4];
        self.0.read_exact(&mut header)?;
        let mut body = vec![0; u32::from_be_bytes(header) as usize];
        self.0.read_exact(&mut body)?;
        Ok(body)
    }

    /// The next frame, which must come.
    pub fn expect(&mut self) -> Vec<u8> {
        self.receive().expect("a frame")
    }

    /// The next frame as a number.
    pub fn expect_number(&mut self) -> u32 {
        u32::from_be_bytes(self.expect().try_into().expect("four bytes"))
    }

    /// Sends a frame and waits for the answer.
    pub fn ask(&mut self, body: &[u8]) -> Vec<u8> {
        self.send(body);
        self.expect()
    }

    /// Nothing more comes but the end of the stream, or a reset.
    pub fn expect_end(&mut self) {
        match self.0.read(&mut [0]) {
            Ok(0) => {}
            Ok(_) => panic!("bytes came where the end was due"),
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::ConnectionReset),
        }
    }
}
