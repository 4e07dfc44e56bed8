//! Listening and connected sockets, and their options.

use std::io::{self, IoSlice, Read};
use std::net::{Shutdown, SocketAddr};
use std::path::Path;
use std::time::Duration;

use mio::event::Source;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket, TcpKeepalive, Type};

use crate::address::{Address, Peer, Place};
use crate::error::Error;
use crate::options::Options;

/// A connected, or connecting, stream socket.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(mio::net::TcpStream),
    #[cfg(unix)]
    Unix(mio::net::UnixStream),
}

/// Calls the same method on whichever socket it is.
macro_rules! either {
    ($stream:expr, $inner:ident => $call:expr) => {
        match $stream {
            Stream::Tcp($inner) => $call,
            #[cfg(unix)]
            Stream::Unix($inner) => $call,
        }
    };
}

impl Stream {
    pub(crate) fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        either!(self, stream => stream.read(into))
    }

    /// Writes without raising SIGPIPE: a host program may have that signal at its default, which kills.
    pub(crate) fn write(&self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        let socket = either!(self, stream => SockRef::from(stream));
        match from {
            [one] => socket.send_with_flags(one, NO_SIGNAL),
            many => socket.send_vectored_with_flags(many, NO_SIGNAL),
        }
    }

    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        either!(self, stream => stream.shutdown(Shutdown::Write))
    }

    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        either!(self, stream => stream.take_error())
    }

    /// Both ends, once there are both.
    pub(crate) fn peer(&self) -> io::Result<Peer> {
        match self {
            Self::Tcp(stream) => Ok(Peer::new(
                Address::Inet(stream.peer_addr()?),
                Address::Inet(stream.local_addr()?),
            )),
            #[cfg(unix)]
            Self::Unix(stream) => {
                stream.peer_addr()?;
                Ok(Peer::new(Address::Unix, Address::Unix))
            }
        }
    }

    /// Sets the options of a connection; what the system refuses is not worth a connection.
    pub(crate) fn apply(&self, options: &Options, inherited: bool) {
        let Self::Tcp(stream) = self else { return };
        let socket = SockRef::from(stream);
        if !inherited {
            let _ = apply_inheritable(&socket, options);
        }
        #[cfg(target_os = "linux")]
        if let Some(timeout) = options.user_timeout {
            let _ = socket.set_tcp_user_timeout(Some(timeout));
        }
    }

    pub(crate) fn register(
        &mut self,
        registry: &Registry,
        token: Token,
        writable: bool,
    ) -> io::Result<()> {
        either!(self, stream => stream.register(registry, token, interest(writable)))
    }

    pub(crate) fn reregister(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        either!(self, stream => stream.reregister(registry, token, interest(true)))
    }

    pub(crate) fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        either!(self, stream => stream.deregister(registry))
    }
}

fn interest(writable: bool) -> Interest {
    if writable {
        Interest::READABLE | Interest::WRITABLE
    } else {
        Interest::READABLE
    }
}

/// `MSG_NOSIGNAL`, by its value where socket2 takes flags and names none.
#[cfg(any(target_os = "linux", target_os = "android"))]
const NO_SIGNAL: i32 = 0x4000;
/// Elsewhere the signal is held off by a socket option (`SO_NOSIGPIPE`, which mio sets) or is unknown.
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const NO_SIGNAL: i32 = 0;

/// A socket that listens and is not yet served.
#[derive(Debug)]
pub(crate) struct Bound {
    socket: Socket,
    place: Place,
    #[cfg(unix)]
    file: Option<SocketFile>,
}

/// The file of a Unix socket that listens; goes with it, served or not.
#[cfg(unix)]
#[derive(Debug)]
struct SocketFile(std::path::PathBuf);

#[cfg(unix)]
impl Drop for SocketFile {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

impl Bound {
    /// Binds and listens, with the options set before: connections inherit them.
    pub(crate) fn new(at: &Place, options: &Options) -> Result<Self, Error> {
        let refused = |error| Error::io(format!("cannot listen on {at}"), error);
        match at {
            Place::Inet(address) => bind_inet(*address, options).map_err(refused),
            Place::Unix(path) => bind_unix(path, options.backlog).map_err(refused),
        }
    }

    /// Where it listens, with the real port.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    pub(crate) fn listener(self) -> Listener {
        match self.place {
            Place::Inet(address) => {
                let listener = mio::net::TcpListener::from_std(self.socket.into());
                Listener {
                    socket: ListenSocket::Tcp(listener, address),
                }
            }
            #[cfg(unix)]
            Place::Unix(_) => {
                let listener = mio::net::UnixListener::from_std(self.socket.into());
                Listener {
                    socket: ListenSocket::Unix(listener, self.file),
                }
            }
            #[cfg(not(unix))]
            Place::Unix(_) => unreachable!("binding it was refused"),
        }
    }
}

fn bind_inet(address: SocketAddr, options: &Options) -> io::Result<Bound> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    // On Unix only: on Windows it would let others take the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    if options.share_port {
        set_share_port(&socket)?;
    }
    apply_inheritable(&socket, options)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(options.backlog)?;
    let address = socket.local_addr()?.as_socket().unwrap_or(address);
    Ok(Bound {
        socket,
        place: Place::Inet(address),
        #[cfg(unix)]
        file: None,
    })
}

#[cfg(all(unix, not(target_os = "solaris"), not(target_os = "illumos")))]
fn set_share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(not(all(unix, not(target_os = "solaris"), not(target_os = "illumos"))))]
fn set_share_port(_: &Socket) -> io::Result<()> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "SO_REUSEPORT is not known here",
    ))
}

#[cfg(unix)]
fn bind_unix(path: &Path, backlog: i32) -> io::Result<Bound> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    if let Err(error) = socket.bind(&SockAddr::unix(path)?) {
        if error.kind() != io::ErrorKind::AddrInUse || is_served(path) {
            return Err(error);
        }
        // The file of a process that died: nobody answers, so the name is free.
        std::fs::remove_file(path)?;
        socket.bind(&SockAddr::unix(path)?)?;
    }
    let file = Some(SocketFile(path.to_owned()));
    socket.listen(backlog)?;
    Ok(Bound {
        socket,
        place: Place::Unix(path.to_owned()),
        file,
    })
}

#[cfg(unix)]
fn is_served(path: &Path) -> bool {
    let Ok(probe) = Socket::new(Domain::UNIX, Type::STREAM, None) else {
        return true;
    };
    let Ok(address) = SockAddr::unix(path) else {
        return true;
    };
    !matches!(probe.connect(&address), Err(error) if error.kind() == io::ErrorKind::ConnectionRefused)
}

#[cfg(not(unix))]
fn bind_unix(_: &Path, _: i32) -> io::Result<Bound> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "Unix sockets are not known here",
    ))
}

/// Options that accepted sockets inherit from their listener on Linux.
fn apply_inheritable(socket: &Socket, options: &Options) -> io::Result<()> {
    socket.set_tcp_nodelay(options.nodelay)?;
    if let Some(time) = options.keepalive {
        socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(time))?;
    }
    if let Some(bytes) = options.send_buffer_bytes {
        socket.set_send_buffer_size(bytes)?;
    }
    if let Some(bytes) = options.receive_buffer_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    if let Some(linger) = options.linger {
        socket.set_linger(Some(linger))?;
    }
    Ok(())
}

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Listener {
    socket: ListenSocket,
}

#[derive(Debug)]
enum ListenSocket {
    Tcp(mio::net::TcpListener, SocketAddr),
    #[cfg(unix)]
    Unix(
        mio::net::UnixListener,
        #[expect(dead_code, reason = "goes with it")] Option<SocketFile>,
    ),
}

impl Listener {
    pub(crate) fn accept(&self, options: &Options) -> io::Result<(Stream, Peer)> {
        match &self.socket {
            ListenSocket::Tcp(listener, bound) => {
                let (stream, peer) = listener.accept()?;
                let local = if bound.ip().is_unspecified() {
                    stream.local_addr().unwrap_or(*bound)
                } else {
                    *bound
                };
                let stream = Stream::Tcp(stream);
                stream.apply(options, cfg!(target_os = "linux"));
                Ok((stream, Peer::new(Address::Inet(peer), Address::Inet(local))))
            }
            #[cfg(unix)]
            ListenSocket::Unix(listener, _) => {
                let (stream, _) = listener.accept()?;
                Ok((
                    Stream::Unix(stream),
                    Peer::new(Address::Unix, Address::Unix),
                ))
            }
        }
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        match &mut self.socket {
            ListenSocket::Tcp(listener, _) => {
                registry.register(listener, token, Interest::READABLE)
            }
            #[cfg(unix)]
            ListenSocket::Unix(listener, _) => {
                registry.register(listener, token, Interest::READABLE)
            }
        }
    }

    pub(crate) fn deregister(&mut self, registry: &Registry) {
        let _ = match &mut self.socket {
            ListenSocket::Tcp(listener, _) => registry.deregister(listener),
            #[cfg(unix)]
            ListenSocket::Unix(listener, _) => registry.deregister(listener),
        };
    }
}

/// Begins to connect, without waiting.
pub(crate) fn begin_connect(to: &Place, options: &Options) -> Result<(Stream, Peer), Error> {
    let refused = |error| Error::io(format!("cannot connect to {to}"), error);
    match to {
        Place::Inet(address) => {
            let stream = mio::net::TcpStream::connect(*address).map_err(refused)?;
            let stream = Stream::Tcp(stream);
            stream.apply(options, false);
            let unspecified = SocketAddr::new(std::net::Ipv4Addr::UNSPECIFIED.into(), 0);
            let peer = Peer::new(Address::Inet(*address), Address::Inet(unspecified));
            Ok((stream, peer))
        }
        #[cfg(unix)]
        Place::Unix(path) => {
            let stream = mio::net::UnixStream::connect(path).map_err(refused)?;
            Ok((
                Stream::Unix(stream),
                Peer::new(Address::Unix, Address::Unix),
            ))
        }
        #[cfg(not(unix))]
        Place::Unix(_) => Err(refused(io::Error::new(
            io::ErrorKind::Unsupported,
            "Unix sockets are not known here",
        ))),
    }
}

/// Descriptors the process may have open, where the system tells.
#[cfg(target_os = "linux")]
pub(crate) fn descriptor_limit() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find(|line| line.starts_with("Max open files"))?;
    line.split_whitespace().nth(3)?.parse().ok()
}

/// Descriptors the process may have open, where the system tells.
#[cfg(not(target_os = "linux"))]
pub(crate) fn descriptor_limit() -> Option<usize> {
    None
}

/// How long a listener rests after an error that time alone may cure; `None` for errors of one
/// connection, after which the next may well succeed.
pub(crate) fn rest_after(error: &io::Error, rest: Duration) -> Option<Duration> {
    const ENFILE: i32 = 23;
    const EMFILE: i32 = 24;
    const ENOMEM: i32 = 12;
    const ENOBUFS: i32 = 105;
    match error.raw_os_error() {
        Some(ENFILE | EMFILE | ENOMEM | ENOBUFS) => Some(rest),
        _ => None,
    }
}
