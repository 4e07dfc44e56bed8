//! What calls of a worker do to its streams: connects that end, reads, writes, closes.

use std::io::{self, IoSlice};

use super::fabric::{Due, Fabric, Stream, Trace};
use super::faults::Fault;
use super::pipe::Parcel;
use super::socket::{Phase, SocketId};
use crate::address::Peer;
use crate::buffer::Room;
use crate::transport::Readiness;

/// Pieces that one write may be cut into on its way.
const PARCELS_MAX: usize = 3;

/// Bytes.
impl Fabric {
    pub(super) fn finish_connect(&self, stream: &Stream) -> io::Result<Option<Peer>> {
        let socket = self.sockets.get(&stream.0).ok_or_else(gone)?;
        match socket.phase {
            Phase::Connecting => Ok(None),
            Phase::Connected => Ok(Some(socket.addresses)),
            Phase::Refused => Err(io::ErrorKind::ConnectionRefused.into()),
        }
    }

    pub(super) fn take_error(&mut self, stream: &Stream) -> Option<io::Error> {
        self.sockets.get_mut(&stream.0)?.take_error()
    }

    pub(super) fn read(&mut self, stream: &Stream, into: Room<'_>) -> io::Result<usize> {
        let id = stream.0;
        let socket = self.sockets.get_mut(&id).ok_or_else(gone)?;
        let unread = socket.incoming.unread();
        if unread == 0 {
            if let Some(error) = socket.take_error() {
                return Err(error);
            }
            if socket.is_readable() {
                return Ok(0);
            }
        }
        if unread == 0 || self.temper.strikes(Fault::WouldBlock, &mut self.random) {
            socket.arm_read();
            self.list(id);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut most = into.bytes_max;
        if most.min(unread) > 1 && self.temper.strikes(Fault::ShortRead, &mut self.random) {
            most = self.random.between(1, most.min(unread));
        }
        let start = into.buffer.len();
        let count = socket.incoming.read(into.buffer, most);
        if count < into.bytes_max {
            socket.arm_read();
        }
        let other = socket.other;
        self.note(Trace::Read, id, count);
        self.note_bytes(&into.buffer[start..]);
        self.list(id);
        self.list_other(other);
        Ok(count)
    }

    pub(super) fn list_other(&mut self, other: Option<SocketId>) {
        if let Some(other) = other {
            self.list(other);
        }
    }

    pub(super) fn write(&mut self, stream: &Stream, from: &[IoSlice<'_>]) -> io::Result<usize> {
        let id = stream.0;
        let room = self.room(id);
        let socket = self.sockets.get_mut(&id).ok_or_else(gone)?;
        if let Some(error) = socket.take_error() {
            return Err(error);
        }
        if socket.is_reset() || socket.fin_sent {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        if room == 0 || self.temper.strikes(Fault::WouldBlock, &mut self.random) {
            socket.arm_write();
            self.list(id);
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let offered: usize = from.iter().map(|slice| slice.len()).sum();
        let mut count = offered.min(room);
        if count > 1 && self.temper.strikes(Fault::ShortWrite, &mut self.random) {
            count = self.random.between(1, count);
        }
        if count < offered {
            socket.arm_write();
        }
        let mut bytes = Vec::with_capacity(count);
        for slice in from {
            let wanted = slice.len().min(count - bytes.len());
            bytes.extend_from_slice(&slice[..wanted]);
        }
        self.note(Trace::Write, id, count);
        self.send_bytes(id, bytes);
        self.list(id);
        Ok(count)
    }

    /// Sends bytes off in a few pieces.
    fn send_bytes(&mut self, from: SocketId, mut bytes: Vec<u8>) {
        for _ in 1..self.random.between(1, PARCELS_MAX) {
            if bytes.len() < 2 {
                break;
            }
            let rest = bytes.split_off(self.random.between(1, bytes.len() - 1));
            self.send(from, Parcel::Bytes(std::mem::replace(&mut bytes, rest)));
        }
        self.send(from, Parcel::Bytes(bytes));
    }

    /// Sends a parcel to the other end. Where that has gone, what comes back is a reset.
    pub(super) fn send(&mut self, from: SocketId, parcel: Parcel) {
        let other = self.sockets.get(&from).and_then(|socket| socket.other);
        let Some(other) = other else { return };
        if let Some(socket) = self.sockets.get_mut(&other) {
            socket.incoming.send(parcel);
            self.schedule(Due::Parcel(other));
        } else if matches!(parcel, Parcel::Bytes(_))
            && let Some(socket) = self.sockets.get_mut(&from)
        {
            socket.incoming.send(Parcel::Reset);
            self.schedule(Due::Parcel(from));
        }
    }

    /// The oldest parcel on its way to a socket arrives.
    pub(super) fn arrive(&mut self, id: SocketId) {
        if self.is_ghost(id) {
            return self.haunt(id);
        }
        let loses_unread = self.random.once_in(2);
        let Some(socket) = self.sockets.get_mut(&id) else {
            return;
        };
        if socket.incoming.arrive() {
            socket.incoming.lose_in_flight();
            if loses_unread {
                // Not on Linux, but other systems drop what was not read.
                socket.incoming.lose_unread();
            }
            socket.fail(io::ErrorKind::ConnectionReset);
        }
        self.list(id);
    }
}

/// Ends.
impl Fabric {
    pub(super) fn shutdown_write(&mut self, stream: &Stream) -> io::Result<()> {
        let socket = self.sockets.get_mut(&stream.0).ok_or_else(gone)?;
        if socket.is_reset() {
            return Err(io::ErrorKind::NotConnected.into());
        }
        if !std::mem::replace(&mut socket.fin_sent, true) {
            self.send(stream.0, Parcel::Fin);
        }
        self.note(Trace::Shutdown, stream.0, 0);
        Ok(())
    }

    /// Closes a socket as a kernel does: with a FIN, or with a reset when bytes were not read.
    pub(super) fn close(&mut self, stream: &Stream) {
        let id = stream.0;
        self.note(Trace::Close, id, 0);
        let Some(socket) = self.sockets.get(&id) else {
            return;
        };
        let (carries, fin_sent) = (socket.incoming.carried() > 0, socket.fin_sent);
        if socket.closes_hard || socket.incoming.unread() > 0 {
            return self.break_off(id);
        }
        if !fin_sent {
            self.send(id, Parcel::Fin);
        }
        if carries {
            // What arrives from now on finds nobody.
            self.send(id, Parcel::Reset);
        }
        self.remove(id);
    }

    /// Closes a socket with a reset.
    pub(super) fn break_off(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.get(&id) else {
            return;
        };
        if let Some(other) = socket.other
            && self.random.once_in(2)
            && let Some(other) = self.sockets.get_mut(&other)
        {
            // What the kernel had not sent yet.
            other.incoming.lose_in_flight();
        }
        self.send(id, Parcel::Reset);
        self.remove(id);
    }

    fn remove(&mut self, id: SocketId) {
        let Some(socket) = self.sockets.remove(&id) else {
            return;
        };
        if let Some((worker, key)) = socket.home
            && self.strikes(Fault::Stale)
        {
            self.desks[worker].stale.push(Readiness {
                key,
                readable: true,
                writable: true,
                read_closed: false,
                error: false,
            });
        }
        match socket.other {
            Some(other) if self.is_ghost(other) => drop(self.sockets.remove(&other)),
            other => self.list_other(other),
        }
    }
}

fn gone() -> io::Error {
    io::ErrorKind::NotConnected.into()
}
