//! One direction of a connection in memory.

use std::collections::VecDeque;

use bytes::BytesMut;

/// What one side has sent the other.
#[derive(Debug)]
pub(super) enum Parcel {
    Bytes(Vec<u8>),
    /// The end of what is sent.
    Fin,
    /// The connection is broken off.
    Reset,
}

/// Bytes on their way to one socket, and bytes that wait there to be read.
///
/// Invariant: parcels arrive in the order in which they were sent.
#[derive(Debug)]
pub(super) struct Pipe {
    in_flight: VecDeque<Parcel>,
    in_flight_bytes: usize,
    received: VecDeque<u8>,
    capacity: usize,
    /// A reset is on its way, or has arrived: nothing comes behind it.
    broken: bool,
    /// The FIN has arrived.
    pub(super) fin: bool,
}

impl Pipe {
    pub(super) fn new(capacity: usize) -> Self {
        Self {
            in_flight: VecDeque::new(),
            in_flight_bytes: 0,
            received: VecDeque::new(),
            capacity,
            broken: false,
            fin: false,
        }
    }

    /// Bytes that may be sent at this moment.
    pub(super) fn room(&self) -> usize {
        self.capacity
            .saturating_sub(self.in_flight_bytes + self.received.len())
    }

    /// Bytes that wait to be read.
    pub(super) fn unread(&self) -> usize {
        self.received.len()
    }

    /// Bytes that are on their way.
    pub(super) fn carried(&self) -> usize {
        self.in_flight_bytes
    }

    pub(super) fn send(&mut self, parcel: Parcel) {
        if self.broken {
            return;
        }
        self.broken = matches!(parcel, Parcel::Reset);
        if let Parcel::Bytes(bytes) = &parcel {
            self.in_flight_bytes += bytes.len();
        }
        self.in_flight.push_back(parcel);
    }

    /// The oldest parcel arrives; `true` when it is a reset.
    pub(super) fn arrive(&mut self) -> bool {
        match self.in_flight.pop_front() {
            Some(Parcel::Bytes(bytes)) => {
                self.in_flight_bytes -= bytes.len();
                self.received.extend(bytes);
                false
            }
            Some(Parcel::Fin) => {
                self.fin = true;
                false
            }
            Some(Parcel::Reset) => true,
            None => false,
        }
    }

    /// Moves the oldest unread bytes behind those of `into`, at most `bytes_max`.
    pub(super) fn read(&mut self, into: &mut BytesMut, bytes_max: usize) -> usize {
        let count = bytes_max.min(self.received.len());
        into.extend(self.received.drain(..count));
        count
    }

    /// What is on its way is lost, a reset too.
    pub(super) fn lose_in_flight(&mut self) {
        let is_reset = |parcel: &Parcel| matches!(parcel, Parcel::Reset);
        self.broken &= !self.in_flight.iter().any(is_reset);
        self.in_flight.clear();
        self.in_flight_bytes = 0;
    }

    /// What was not read is lost.
    pub(super) fn lose_unread(&mut self) {
        self.received.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_comes_behind_a_reset_unless_that_was_lost() {
        let mut pipe = Pipe::new(100);
        pipe.send(Parcel::Reset);
        pipe.send(Parcel::Bytes(vec![1]));
        pipe.lose_in_flight();
        assert!(!pipe.arrive(), "the reset is lost");
        pipe.send(Parcel::Bytes(vec![2]));
        assert_eq!((pipe.carried(), pipe.room()), (1, 99));
        assert!(!pipe.arrive());
        pipe.send(Parcel::Reset);
        assert!(pipe.arrive());
        pipe.lose_in_flight();
        pipe.send(Parcel::Bytes(vec![3]));
        assert_eq!((pipe.carried(), pipe.unread()), (0, 1));
    }
}
