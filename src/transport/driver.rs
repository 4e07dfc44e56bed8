//! What a worker needs of the world: sockets, a clock, and a wait for either.

use std::io::{self, IoSlice};
use std::sync::Arc;
use std::time::Duration;

use crate::address::Peer;
use crate::buffer::Room;
use crate::clock::Clock;
use crate::connection::{Listens, Service};
use crate::datagram::{EndpointSeed, Wire};
use crate::file_region::FileRegion;
use crate::id::Key;

/// Sockets, time and readiness for one worker; used from the worker's thread only.
///
/// Readiness is edge-triggered: an event is told once, and again only after a call has answered
/// `WouldBlock` (or came up short) since. Events may be spurious, and may come late for a key that is gone.
pub(crate) trait Driver {
    /// A connected, or connecting, byte stream.
    type Stream;

    fn clock(&self) -> &Clock;

    /// Waits for events, at most `timeout`, and appends them; a wake-up ends the wait without an event.
    fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Readiness>) -> io::Result<()>;

    /// A new socket for this worker, if there is one.
    fn arrival(&mut self) -> Option<Arrival<Self::Stream>>;

    /// Begins to report events; `writable` also those of writing.
    fn register(&mut self, stream: &mut Self::Stream, key: Key, writable: bool) -> io::Result<()>;

    /// Reports events of writing too, from now on; reports anew what is ready already.
    fn register_writable(&mut self, stream: &mut Self::Stream, key: Key) -> io::Result<()>;

    /// How a connect went: `None` while it is under way.
    fn finish_connect(&mut self, stream: &mut Self::Stream) -> io::Result<Option<Peer>>;

    /// What the socket has failed with, told once.
    fn take_error(&mut self, stream: &mut Self::Stream) -> Option<io::Error>;

    /// Appends what has arrived, as far as there is room; tells how many bytes that were.
    fn read(&mut self, stream: &mut Self::Stream, into: Room<'_>) -> io::Result<usize>;

    /// Must not raise SIGPIPE.
    fn write(&mut self, stream: &mut Self::Stream, from: &[IoSlice<'_>]) -> io::Result<usize>;

    /// Whether [`send_file`](Self::send_file) may be called; else files are copied into the output.
    fn sends_files(&self) -> bool {
        false
    }

    /// Lets the stream take at most `count` bytes from the file itself. Must not raise SIGPIPE.
    fn send_file(
        &mut self,
        stream: &mut Self::Stream,
        region: &FileRegion,
        count: usize,
    ) -> io::Result<usize> {
        let _ = (stream, region, count);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Sends FIN; reading goes on.
    fn shutdown_write(&mut self, stream: &mut Self::Stream) -> io::Result<()>;

    fn close(&mut self, stream: Self::Stream);

    /// Closes a stream that was never registered, so that its peer is told at once that it is not let in.
    fn refuse(&mut self, stream: Self::Stream) {
        self.close(stream);
    }

    /// A datagram socket.
    type Datagrams: Wire;

    /// A new datagram socket for this worker, if there is one; asked after [`arrival`](Self::arrival).
    fn endpoint_arrival(&mut self) -> Option<EndpointArrival<Self::Datagrams>>;

    /// Begins to report when it can be read.
    fn register_endpoint(&mut self, wire: &mut Self::Datagrams, key: Key) -> io::Result<()>;

    /// Reports events of writing too, or no more. They are asked for while the socket is full only: each
    /// datagram that leaves is such an event.
    fn watch_endpoint(
        &mut self,
        wire: &mut Self::Datagrams,
        key: Key,
        writable: bool,
    ) -> io::Result<()>;

    fn close_endpoint(&mut self, wire: Self::Datagrams);

    /// Whether a read that did not fill the buffer has drained the socket, so that the next event
    /// tells of more (epoll and kqueue; not where readiness is emulated).
    const SHORT_READ_DRAINS: bool;
}

/// Something a stream is ready for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readiness {
    pub(crate) key: Key,
    pub(crate) readable: bool,
    pub(crate) writable: bool,
    /// The peer's FIN or RST may be queued behind the data: a short read does not drain the socket then.
    pub(crate) read_closed: bool,
    /// The socket has failed; [`Driver::take_error`] says how.
    pub(crate) error: bool,
}

/// A socket on its way into a worker.
pub(crate) struct Arrival<S> {
    pub(crate) stream: S,
    pub(crate) peer: Peer,
    pub(crate) service: Arc<Service>,
    /// For a connect under way: how long it may take.
    pub(crate) connect_timeout: Option<Duration>,
    /// Whether it comes in place of the longest idle connection of its service.
    pub(crate) evicts: bool,
}

/// A datagram socket on its way into a worker.
pub(crate) struct EndpointArrival<W> {
    // Closed before it is counted out, hence in this order.
    pub(crate) wire: W,
    pub(crate) seed: EndpointSeed,
    pub(crate) listens: Listens,
}
