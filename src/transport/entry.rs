//! A connection with its socket: the read path and the write path.
//!
//! # Edge-triggered rules
//!
//! A socket tells once that it is readable. `readable` remembers it until a read has drained the
//! socket, so whoever stops early (budget, pause) can come back without an event. A read that did not
//! fill its buffer has drained the socket, unless the peer's FIN or RST may be queued behind: both
//! come in one edge. The same for `blocked`: a write that came up short will be followed by an event,
//! and nothing is written before.

use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;

use log::debug;

use super::driver::Driver;
use crate::buffer::Inbox;
use crate::clock::Instant;
use crate::connection::{Connection, Service};
use crate::error::CloseReason;
use crate::file_region::too_short;
use crate::id::Key;
use crate::inspection::{ConnectionInfo, ConnectionPhase};
use crate::limits::ConnectionLimits;
use crate::pipeline::{Turn, Way};
use crate::wheel::TimerId;

/// Pieces gathered into one write; more are hardly ever queued, and copying takes over below 4 KiB.
const SLICES_PER_WRITE: usize = 64;

/// How far the socket has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    Connecting,
    Open,
    /// FIN is sent and the handler told; what the peer still sends is thrown away, so that the close
    /// does not become a reset. So many bytes may still come.
    Lingering(u32),
}

/// A slot of the worker: a socket, its connection, and what is known of its readiness.
pub(crate) struct Entry<S> {
    pub(crate) stream: S,
    pub(crate) connection: Connection,
    pub(crate) service: Arc<Service>,
    pub(crate) timer: Option<(TimerId, Instant)>,
    pub(crate) phase: Phase,
    pub(crate) accepted: bool,
    pub(crate) close_reason: CloseReason,
    /// In the list of those to be served next turn, or to be flushed at the end of this one.
    pub(crate) in_ready: bool,
    pub(crate) in_dirty: bool,
    /// Bytes that the connection held when it was last settled; so many at most are told apart.
    pub(crate) held: u32,
    readable: bool,
    read_closed: bool,
    /// Whether the last read filled its room: more of a stream is likely to be there.
    filled: bool,
    blocked: bool,
    writable_registered: bool,
    used: Used,
}

/// What a connection has used up of its budgets in one turn.
#[derive(Default)]
struct Used {
    /// Which turn that is.
    turn: u32,
    reads: u32,
    bytes_read: u32,
    bytes_written: u32,
}

impl Used {
    /// What has been used up in the present turn.
    fn in_turn(&mut self, turn: u32) -> &mut Self {
        if self.turn != turn {
            *self = Self {
                turn,
                ..Self::default()
            };
        }
        self
    }

    fn may_read(&self, limits: &ConnectionLimits) -> bool {
        (self.reads as usize) < limits.reads_per_turn
            && (self.bytes_read as usize) < limits.read_bytes_per_turn
    }

    fn may_write(&self, limits: &ConnectionLimits) -> bool {
        (self.bytes_written as usize) < limits.write_bytes_per_turn
    }
}

/// Adds to what was used.
fn add(used: &mut u32, count: usize) {
    *used = used.saturating_add(bytes_u32(count));
}

/// A count of bytes in four; those that high are as good as the highest.
pub(super) fn bytes_u32(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// What the two paths need of the worker.
pub(crate) struct Io<'a, D> {
    pub(crate) driver: &'a mut D,
    pub(crate) turn: &'a mut Turn,
    pub(crate) inbox: &'a mut Inbox,
    pub(crate) key: Key,
}

impl<S> Entry<S> {
    /// What is known of the connection, for whoever asked.
    pub(super) fn describe(&self, now: Instant) -> ConnectionInfo {
        let mut info = self.connection.describe(now);
        info.accepted = self.accepted;
        match self.phase {
            Phase::Connecting => info.phase = ConnectionPhase::Connecting,
            Phase::Lingering(_) => info.phase = ConnectionPhase::Lingering,
            Phase::Open => {}
        }
        info
    }

    pub(crate) fn new(
        stream: S,
        connection: Connection,
        service: Arc<Service>,
        connecting: bool,
    ) -> Self {
        Self {
            stream,
            connection,
            service,
            timer: None,
            phase: if connecting {
                Phase::Connecting
            } else {
                Phase::Open
            },
            accepted: !connecting,
            close_reason: CloseReason::Local,
            in_ready: false,
            in_dirty: false,
            held: 0,
            readable: false,
            read_closed: false,
            filled: false,
            blocked: false,
            writable_registered: connecting,
            used: Used::default(),
        }
    }

    pub(crate) fn note_readable(&mut self, read_closed: bool) {
        self.readable = true;
        self.read_closed |= read_closed;
    }

    pub(crate) fn note_writable(&mut self) {
        self.blocked = false;
    }

    /// Whether the socket may have bytes that the connection would take.
    #[inline]
    pub(crate) fn wants_read(&self) -> bool {
        self.readable && self.connection.wants_read()
    }

    /// Whether bytes wait that the socket may take, or so many that stages must hear of it, or bytes that
    /// the worker's read buffer waits for.
    #[inline]
    pub(crate) fn wants_flush(&self) -> bool {
        self.phase == Phase::Open
            && (self.wants_write() || self.connection.is_overfull() || self.pins_inbox())
    }

    /// Whether what waits for a full socket may hold on to the worker's read buffer.
    #[inline]
    fn pins_inbox(&self) -> bool {
        (self.blocked || self.connection.holds_output())
            && self.connection.output_ref().is_attached()
    }

    /// Whether the socket would take no more when it was last written.
    pub(crate) fn is_blocked(&self) -> bool {
        self.blocked
    }

    #[inline]
    fn wants_write(&self) -> bool {
        !self.blocked && self.connection.wants_write()
    }

    /// Ends a connection whose socket has failed while it is not read, which would have told.
    pub(crate) fn check_error<D: Driver<Stream = S>>(&mut self, io: &mut Io<'_, D>) {
        if let Some(error) = io.driver.take_error(&mut self.stream) {
            self.fail(&error, "poll");
        }
    }

    /// Goes on where decoding stopped, then reads until drained, paused or over the turn's budget.
    pub(crate) fn serve<D: Driver<Stream = S>>(&mut self, io: &mut Io<'_, D>) {
        self.go_on(io);
        while self.wants_read() {
            let used = self.used.in_turn(io.turn.number);
            if !used.may_read(self.service.limits()) {
                return;
            }
            let Some(count) = self.read(io) else { continue };
            self.used.reads = self.used.reads.saturating_add(1);
            add(&mut self.used.bytes_read, count);
        }
    }

    /// One read, decoded and handled; `None` when nothing came and nothing was used up.
    fn read<D: Driver<Stream = S>>(&mut self, io: &mut Io<'_, D>) -> Option<usize> {
        // An echo queues what it has read: written first, the memory comes back and none is allocated. In a
        // stream it is written while it is in the processor's cache.
        if (io.inbox.is_used_up() || self.filled) && self.wants_write() {
            self.flush(io);
            io.inbox.rewind();
        }
        let mut room = io.inbox.room();
        if self.connection.has_rare() {
            room.bytes_max = room.bytes_max.min(self.connection.piece(Way::In));
        }
        let room_bytes = room.bytes_max;
        match io.driver.read(&mut self.stream, room) {
            Ok(0) => {
                self.readable = false;
                self.connection.ingest_eof(io.turn);
                None
            }
            Ok(count) => {
                self.filled = count == room_bytes;
                let drained = D::SHORT_READ_DRAINS && count < room_bytes && !self.read_closed;
                self.readable = !drained;
                io.turn.stats.bytes_in.add(count as u64);
                let mut arrived = io.inbox.take();
                self.connection.ingest(io.turn, &mut arrived);
                drop(arrived);
                self.go_on(io);
                Some(count)
            }
            Err(error) => {
                match error.kind() {
                    ErrorKind::WouldBlock => (self.readable, self.read_closed) = (false, false),
                    ErrorKind::Interrupted => {}
                    _ => self.fail(&error, "read"),
                }
                None
            }
        }
    }

    /// Writes what callbacks want to have left by now, makes room in the output, and decodes on where
    /// decoding stopped for that.
    pub(crate) fn go_on<D: Driver<Stream = S>>(&mut self, io: &mut Io<'_, D>) {
        loop {
            if self.connection.take_flush_request() && self.wants_flush() {
                self.flush(io);
            }
            if self.connection.wants_decode() {
                self.connection.decode(io.turn);
            } else if !self.connection.asks_for_flush() {
                return;
            }
        }
    }

    /// Writes what is queued, until it has left, the socket is full or the turn's budget is used up; tells
    /// of the water marks, also when the socket is full already.
    pub(crate) fn flush<D: Driver<Stream = S>>(&mut self, io: &mut Io<'_, D>) {
        self.used.in_turn(io.turn.number);
        let mut written = 0;
        self.connection.prepare(io.turn, io.driver.sends_files());
        let outcome = self.write_all(io, &mut written);
        io.turn.stats.bytes_out.add(written as u64);
        if let Err(error) = outcome {
            // What left before the error has left.
            self.connection.complete_flushed(io.turn);
            return self.fail(&error, "write");
        }
        // What stays queued lets go of the worker's read buffer.
        if self.connection.output_ref().is_attached() {
            self.connection.output().detach_from(io.inbox.regions());
        }
        if self.blocked {
            self.await_writable(io);
        }
        self.connection.flushed(io.turn, written, self.blocked);
    }

    fn write_all<D: Driver<Stream = S>>(
        &mut self,
        io: &mut Io<'_, D>,
        written: &mut usize,
    ) -> io::Result<()> {
        while self.wants_write() && self.used.may_write(self.service.limits()) {
            let outcome = if self.connection.has_rare() {
                self.write_with_care(io)
            } else {
                self.write(io.driver)
            };
            match outcome {
                Ok(count) => {
                    *written += count;
                    add(&mut self.used.bytes_written, count);
                }
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => self.blocked = true,
                    ErrorKind::Interrupted => {}
                    _ => return Err(error),
                },
            }
        }
        Ok(())
    }

    /// One write of what is queued, gathered from its pieces; a short one means that the socket is full.
    fn write<D: Driver<Stream = S>>(&mut self, driver: &mut D) -> io::Result<usize> {
        let output = self.connection.output();
        let (offered, count) = match output.single() {
            Some(only) => (
                only.len(),
                driver.write(&mut self.stream, &[IoSlice::new(only)])?,
            ),
            None => {
                let mut slices = [IoSlice::new(&[]); SLICES_PER_WRITE];
                let filled = output.gather(&mut slices);
                let slices = &slices[..filled];
                let offered = slices.iter().map(|slice| slice.len()).sum();
                (offered, driver.write(&mut self.stream, slices)?)
            }
        };
        output.consume(count);
        self.blocked = count < offered;
        Ok(count)
    }

    /// One write where files may be on their way, or the valve lets pass only so much.
    #[cold]
    fn write_with_care<D: Driver<Stream = S>>(&mut self, io: &mut Io<'_, D>) -> io::Result<usize> {
        if self.connection.wants_more_of_file() {
            self.connection.prepare(io.turn, io.driver.sends_files());
        }
        let piece = self.connection.piece(Way::Out);
        let count = if self.connection.file().is_some() {
            self.write_file(io, piece)?
        } else if piece < self.connection.output_ref().len() {
            self.write_piece(io.driver, piece)?
        } else {
            self.write(io.driver)?
        };
        self.connection.pay_written(io.turn, count);
        Ok(count)
    }

    /// Writes no more than `piece` bytes of what is queued.
    fn write_piece<D: Driver<Stream = S>>(
        &mut self,
        driver: &mut D,
        piece: usize,
    ) -> io::Result<usize> {
        let output = self.connection.output();
        let mut first = [IoSlice::new(&[])];
        output.gather(&mut first);
        let offered = first[0].len().min(piece);
        let count = driver.write(&mut self.stream, &[IoSlice::new(&first[0][..offered])])?;
        output.consume(count);
        self.blocked = count < offered;
        Ok(count)
    }

    /// Lets the socket take of a file. A short count says nothing of the socket: only `WouldBlock` does.
    fn write_file<D: Driver<Stream = S>>(
        &mut self,
        io: &mut Io<'_, D>,
        piece: usize,
    ) -> io::Result<usize> {
        let most = piece.min(self.service.limits().write_bytes_per_turn);
        let Some(region) = self.connection.file() else {
            return Ok(0);
        };
        let most = usize::try_from(region.left()).map_or(most, |left| left.min(most));
        let count = io.driver.send_file(&mut self.stream, region, most)?;
        if count == 0 {
            return Err(too_short());
        }
        self.connection.advance_file(io.turn, count);
        Ok(count)
    }

    /// The socket is full: hears of its room.
    fn await_writable<D: Driver<Stream = S>>(&mut self, io: &mut Io<'_, D>) {
        if self.writable_registered {
            return;
        }
        match io.driver.register_writable(&mut self.stream, io.key) {
            Ok(()) => self.writable_registered = true,
            Err(error) => self.fail(&error, "register"),
        }
    }

    /// Throws away what still arrives; `false` once nothing more will, or too much has.
    pub(crate) fn linger<D: Driver<Stream = S>>(&mut self, io: &mut Io<'_, D>) -> bool {
        let Phase::Lingering(mut bytes_left) = self.phase else {
            return true;
        };
        while self.readable {
            match io.driver.read(&mut self.stream, io.inbox.room()) {
                Ok(0) => return false,
                Ok(count) => match bytes_left.checked_sub(bytes_u32(count)) {
                    Some(left) => bytes_left = left,
                    None => return false,
                },
                Err(error) => match error.kind() {
                    ErrorKind::WouldBlock => self.readable = false,
                    ErrorKind::Interrupted => {}
                    _ => return false,
                },
            }
        }
        self.phase = Phase::Lingering(bytes_left);
        true
    }

    fn fail(&mut self, error: &io::Error, doing: &str) {
        debug!(target: "netwheel::connection", "{} {}: {doing}: {error}",
            self.connection.id(), self.connection.peer().address);
        self.connection.break_off(CloseReason::of_io(error));
    }
}
