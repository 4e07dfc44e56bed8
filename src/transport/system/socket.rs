//! Listening and connected sockets, and their options.

use std::io::{self, IoSlice};
#[cfg(not(unix))]
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr};
#[cfg(target_os = "linux")]
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mio::event::Source;
use mio::{Interest, Registry, Token};
#[cfg(unix)]
use socket2::SockAddr;
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};

#[cfg(unix)]
use super::receive::receive;
use crate::address::{Address, Peer, Place};
use crate::buffer::Room;
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

#[cfg(target_os = "linux")]
impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        either!(self, stream => stream.as_fd())
    }
}

impl Stream {
    #[cfg(unix)]
    pub(crate) fn read(&mut self, into: Room<'_>) -> io::Result<usize> {
        let socket = either!(self, stream => SockRef::from(&*stream));
        receive(&socket, into)
    }

    /// Reads by mio's own call, which arms the socket anew; into zeroes, since it takes nothing less.
    #[cfg(not(unix))]
    pub(crate) fn read(&mut self, into: Room<'_>) -> io::Result<usize> {
        let start = into.buffer.len();
        into.buffer.resize(start + into.bytes_max, 0);
        let outcome = either!(self, stream => stream.read(&mut into.buffer[start..]));
        into.buffer
            .truncate(start + outcome.as_ref().map_or(0, |count| *count));
        outcome
    }

    /// Writes without raising SIGPIPE: a host program may have that signal at its default, which kills.
    #[cfg(unix)]
    pub(crate) fn write(&self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        let socket = either!(self, stream => SockRef::from(stream));
        match from {
            [one] => socket.send_with_flags(one, NO_SIGNAL),
            many => socket.send_vectored_with_flags(many, NO_SIGNAL),
        }
    }

    /// Writes by mio's own call: where mio emulates readiness it arms a socket anew from there only.
    #[cfg(not(unix))]
    pub(crate) fn write(&self, from: &[IoSlice<'_>]) -> io::Result<usize> {
        either!(self, stream => { let mut stream = stream; stream.write_vectored(from) })
    }

    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        either!(self, stream => stream.shutdown(Shutdown::Write))
    }

    pub(crate) fn take_error(&self) -> io::Result<Option<io::Error>> {
        either!(self, stream => stream.take_error())
    }

    /// Closes with RST, so that the peer is told at once, and nothing lingers in the system.
    pub(crate) fn reset(self) {
        let _ = either!(&self, stream => SockRef::from(stream).set_linger(Some(Duration::ZERO)));
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
        #[cfg(unix)]
        if matches!(self, Self::Unix(_)) {
            return;
        }
        let socket = either!(self, stream => SockRef::from(stream));
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

    #[cfg(not(target_os = "linux"))]
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

/// `MSG_NOSIGNAL`, by its value: socket2 takes flags and names none.
#[cfg(any(target_os = "linux", target_os = "android"))]
const NO_SIGNAL: i32 = 0x4000;
#[cfg(target_os = "freebsd")]
const NO_SIGNAL: i32 = 0x0002_0000;
#[cfg(any(target_os = "netbsd", target_os = "openbsd", target_os = "dragonfly"))]
const NO_SIGNAL: i32 = 0x0400;
/// Apple's systems know a socket option instead, `SO_NOSIGPIPE`: mio sets it on sockets that connect,
/// socket2 on those that listen, from which accepted ones inherit it. Elsewhere the flag is unknown.
#[cfg(all(
    unix,
    not(any(
        target_os = "linux",
        target_os = "android",
        target_os = "freebsd",
        target_os = "netbsd",
        target_os = "openbsd",
        target_os = "dragonfly"
    ))
))]
const NO_SIGNAL: i32 = 0;

/// A socket that listens and is not yet served.
#[derive(Debug)]
pub(crate) struct Bound {
    socket: Socket,
    place: Place,
    /// Of a Unix socket.
    file: Option<SocketFile>,
    shared: bool,
    /// Whether others may own it as well.
    adopted: bool,
}

/// The file of a Unix socket that listens; goes when nobody listens any more.
#[derive(Debug)]
struct SocketFile(PathBuf);

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

    /// Of a socket that listens already, and that others may own as well.
    #[cfg(unix)]
    pub(super) fn adopted(socket: Socket, place: Place, options: &Options) -> io::Result<Self> {
        if let Place::Inet(_) = place {
            apply_inheritable(&socket, options)?;
        }
        Ok(Self {
            socket,
            place,
            file: None,
            shared: false,
            adopted: true,
        })
    }

    /// Where it listens, with the real port.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// Whether others may listen on its port as well.
    pub(crate) fn is_shared(&self) -> bool {
        self.shared
    }

    /// What stops the listening at once, whatever the thread that accepts is doing; Linux only, where
    /// shutdown(2) does so to a socket that listens; not where it would stop other owners too.
    pub(crate) fn plug(&self) -> Option<Plug> {
        if cfg!(target_os = "linux") && !self.adopted {
            self.socket.try_clone().ok().map(Plug)
        } else {
            None
        }
    }

    pub(crate) fn listener(self) -> Listener {
        let socket = match self.place {
            Place::Inet(address) => {
                ListenSocket::Tcp(mio::net::TcpListener::from_std(self.socket.into()), address)
            }
            #[cfg(unix)]
            Place::Unix(_) => {
                ListenSocket::Unix(mio::net::UnixListener::from_std(self.socket.into()))
            }
            #[cfg(not(unix))]
            Place::Unix(_) => unreachable!("binding it was refused"),
        };
        Listener {
            socket,
            _file: self.file,
        }
    }
}

/// Stops a listener from any thread: whoever connects from then on is refused.
#[derive(Debug)]
pub(crate) struct Plug(Socket);

impl Plug {
    pub(crate) fn stop(self) {
        // The worker that has the listener closes it in its next turn.
        let _ = self.0.shutdown(Shutdown::Both);
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
        file: None,
        shared: options.share_port,
        adopted: false,
    })
}

#[cfg(all(unix, not(target_os = "solaris"), not(target_os = "illumos")))]
pub(super) fn set_share_port(socket: &Socket) -> io::Result<()> {
    socket.set_reuse_port(true)
}

#[cfg(not(all(unix, not(target_os = "solaris"), not(target_os = "illumos"))))]
pub(super) fn set_share_port(_: &Socket) -> io::Result<()> {
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
        if error.kind() != io::ErrorKind::AddrInUse || !is_left_over(path) {
            return Err(error);
        }
        // The file of a process that died: nobody answers, so the name is free.
        std::fs::remove_file(path)?;
        socket.bind(&SockAddr::unix(path)?)?;
    }
    let file = SocketFile(path.to_owned());
    socket.listen(backlog)?;
    Ok(Bound {
        socket,
        place: Place::Unix(path.to_owned()),
        file: Some(file),
        shared: false,
        adopted: false,
    })
}

/// Whether a file is a socket to which nobody listens: any other file is the user's.
#[cfg(unix)]
fn is_left_over(path: &Path) -> bool {
    use std::os::unix::fs::FileTypeExt;

    let is_socket = std::fs::symlink_metadata(path).is_ok_and(|file| file.file_type().is_socket());
    is_socket
        && matches!(probe(path), Err(error) if error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Knocks at a socket file, without waiting: who is busy is there.
#[cfg(unix)]
fn probe(path: &Path) -> io::Result<()> {
    let probe = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    probe.set_nonblocking(true)?;
    probe.connect(&SockAddr::unix(path)?)
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
    /// Goes with it, behind it.
    _file: Option<SocketFile>,
}

#[derive(Debug)]
enum ListenSocket {
    Tcp(mio::net::TcpListener, SocketAddr),
    #[cfg(unix)]
    Unix(mio::net::UnixListener),
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
            ListenSocket::Unix(listener) => {
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
            ListenSocket::Unix(listener) => registry.register(listener, token, Interest::READABLE),
        }
    }

    /// Asks for an edge, now where somebody waits, or when the next comes.
    pub(crate) fn reregister(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        let interest = Interest::READABLE;
        match &mut self.socket {
            ListenSocket::Tcp(listener, _) => registry.reregister(listener, token, interest),
            #[cfg(unix)]
            ListenSocket::Unix(listener) => registry.reregister(listener, token, interest),
        }
    }

    /// Where it listens, on an address.
    #[cfg(test)]
    pub(super) fn place(&self) -> Place {
        match &self.socket {
            ListenSocket::Tcp(_, address) => Place::Inet(*address),
            #[cfg(unix)]
            ListenSocket::Unix(_) => unreachable!("no test asks"),
        }
    }

    pub(crate) fn deregister(&mut self, registry: &Registry) {
        let _ = match &mut self.socket {
            ListenSocket::Tcp(listener, _) => registry.deregister(listener),
            #[cfg(unix)]
            ListenSocket::Unix(listener) => registry.deregister(listener),
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
