//! Clients with plain sockets, and how long their answers take.

use std::fmt::{self, Display};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use socket2::{Domain, Socket, Type};

/// Longer than anything that is well may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Asks that are answered with the same bytes.
pub(crate) struct Pings {
    sockets: Vec<TcpStream>,
    pub(crate) times: Times,
}

impl Pings {
    pub(crate) fn to(server: SocketAddr, connections: usize) -> io::Result<Self> {
        let sockets = (0..connections)
            .map(|n| connect(server, n))
            .collect::<io::Result<_>>()?;
        Ok(Self {
            sockets,
            times: Times::new(),
        })
    }

    /// Asks one after the other, again and again, for so long.
    pub(crate) fn run(&mut self, time: Duration) -> io::Result<()> {
        let start = Instant::now();
        while start.elapsed() < time {
            for socket in &mut self.sockets {
                let asked = Instant::now();
                ask(socket)?;
                self.times.add(asked.elapsed());
            }
        }
        Ok(())
    }
}

/// One ask and its answer, in frames with a length of four bytes.
pub(crate) fn ask(socket: &mut TcpStream) -> io::Result<()> {
    const PING: [u8; 12] = *b"\0\0\0\x08ping1234";
    socket.write_all(&PING)?;
    let mut answer = [0; PING.len()];
    socket.read_exact(&mut answer)?;
    if answer == PING {
        Ok(())
    } else {
        Err(io::Error::new(io::ErrorKind::InvalidData, "another answer"))
    }
}

/// A connection from the `n`th address of the loopback network, which has more ports than one of them.
pub(crate) fn connect(server: SocketAddr, n: usize) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(server), Type::STREAM, None)?;
    if server.ip() == IpAddr::V4(Ipv4Addr::LOCALHOST) {
        let last = u8::try_from(2 + n % 8).unwrap_or(2);
        let from = SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0));
        socket.bind(&from.into())?;
    }
    socket.connect_timeout(&server.into(), PATIENCE)?;
    let socket = TcpStream::from(socket);
    socket.set_nodelay(true)?;
    socket.set_read_timeout(Some(PATIENCE))?;
    socket.set_write_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// A frame of 64 KiB, its length of four bytes included.
pub(crate) fn long_frame() -> Vec<u8> {
    const BODY: u32 = (64 << 10) - 4;
    [&BODY.to_be_bytes()[..], &[b'x'; BODY as usize]].concat()
}

/// Sends to a server until nothing more goes: its answers are not read.
pub(crate) fn stop_reading(socket: &mut TcpStream) -> io::Result<()> {
    let frame = long_frame();
    socket.set_write_timeout(Some(Duration::from_millis(30)))?;
    while socket.write_all(&frame).is_ok() {}
    Ok(())
}

/// How long things took.
pub(crate) struct Times(Histogram<u64>);

impl Times {
    pub(crate) fn new() -> Self {
        Self(
            Histogram::new_with_max(3_600_000_000_000, 3)
                .expect("an hour in nanoseconds, three digits"),
        )
    }

    pub(crate) fn add(&mut self, time: Duration) {
        self.0
            .saturating_record(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    pub(crate) fn quantile(&self, share: f64) -> Duration {
        Duration::from_nanos(self.0.value_at_quantile(share))
    }

    pub(crate) fn p99(&self) -> Duration {
        self.quantile(0.99)
    }

    pub(crate) fn max(&self) -> Duration {
        Duration::from_nanos(self.0.max())
    }
}

/// A time as people read it.
pub(crate) struct Shown(pub(crate) Duration);

impl Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let micros = self.0.as_secs_f64() * 1e6;
        match micros {
            0.0..1_000.0 => write!(f, "{micros:.0} us"),
            1_000.0..1_000_000.0 => write!(f, "{:.1} ms", micros / 1e3),
            _ => write!(f, "{:.2} s", micros / 1e6),
        }
    }
}

/// Whether the peer has ended the connection.
pub(crate) fn has_ended(socket: &TcpStream) -> bool {
    let seen = socket
        .set_nonblocking(true)
        .and_then(|()| socket.peek(&mut [0]));
    !seen.is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock)
}
