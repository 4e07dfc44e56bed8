//! The read buffer that all connections of a worker share.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::BytesMut;

/// One buffer per worker; a read appends to it, and what was read is split off.
///
/// Bytes that a handler keeps pin the piece of memory they lie in; when nothing is kept, the memory
/// comes back without an allocation once a lap. Between two reads it is empty, and what it has room for
/// is not initialised: clearing 64 KiB before the kernel fills them cost a third of a stream's CPU time.
#[derive(Debug)]
pub(crate) struct Inbox {
    buffer: BytesMut,
    read_bytes: usize,
    /// Where the memory of the latest laps began; it moves where something read before is still held.
    laps: VecDeque<usize>,
}

/// Laps of the read buffer that are remembered: bytes of older ones, which a handler kept for long, are
/// not known as the buffer's any more.
const LAPS_KEPT_MAX: usize = 64;

impl Inbox {
    /// A buffer for reads of `read_bytes`; holds twice as much, so that a lap is several reads.
    pub(crate) fn new(read_bytes: usize) -> Self {
        let buffer = BytesMut::with_capacity(2 * read_bytes);
        Self {
            laps: VecDeque::from([buffer.as_ptr() as usize]),
            buffer,
            read_bytes,
        }
    }

    /// Whether the next read needs the memory of those before it, which what is queued may still share.
    pub(crate) fn is_used_up(&self) -> bool {
        self.buffer.capacity() < self.read_bytes
    }

    /// The room for one read: an empty buffer to append to.
    pub(crate) fn room(&mut self) -> Room<'_> {
        self.buffer.clear();
        if self.is_used_up() {
            self.buffer.reserve(2 * self.read_bytes);
            self.note_lap();
        }
        Room {
            buffer: &mut self.buffer,
            bytes_max: self.read_bytes,
        }
    }

    /// Goes back to the front, where nobody holds what was read: memory that was used last is still in the
    /// processor's cache.
    pub(crate) fn rewind(&mut self) {
        if self.buffer.capacity() < 2 * self.read_bytes {
            let _ = self.buffer.try_reclaim(2 * self.read_bytes);
        }
    }

    /// What the last read has brought.
    pub(crate) fn take(&mut self) -> BytesMut {
        self.buffer.split()
    }

    fn note_lap(&mut self) {
        let start = self.buffer.as_ptr() as usize;
        if self.laps.contains(&start) {
            return;
        }
        if self.laps.len() == LAPS_KEPT_MAX {
            self.laps.pop_front();
        }
        self.laps.push_back(start);
    }

    /// Addresses in which bytes that were taken may lie, for [`Output::detach_from`](super::Output::detach_from).
    /// Memory that has gone to somebody else since may be among them.
    pub(crate) fn regions(&self) -> impl Iterator<Item = Range<usize>> + Clone + '_ {
        let bytes = 2 * self.read_bytes;
        self.laps.iter().map(move |start| *start..*start + bytes)
    }
}

/// What one read may fill.
#[derive(Debug)]
pub(crate) struct Room<'a> {
    /// Has capacity for `bytes_max` more.
    pub(crate) buffer: &'a mut BytesMut,
    /// Bytes that may be appended, at most.
    pub(crate) bytes_max: usize,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_known(inbox: &Inbox, bytes: &BytesMut) -> bool {
        let place = bytes.as_ptr() as usize;
        inbox.regions().any(|region| region.contains(&place))
    }

    #[test]
    fn memory_that_nobody_holds_comes_back_every_lap() {
        let mut inbox = Inbox::new(100);
        for _ in 0..1000 {
            inbox.room().buffer.extend_from_slice(&[7; 70]);
            let taken = inbox.take();
            assert!(is_known(&inbox, &taken));
        }
        assert_eq!(inbox.laps.len(), 1);
    }

    #[test]
    fn bytes_of_earlier_laps_are_still_known() {
        let mut inbox = Inbox::new(100);
        let mut held = Vec::new();
        for _ in 0..LAPS_KEPT_MAX {
            inbox.room().buffer.extend_from_slice(&[7; 100]);
            held.push(inbox.take());
        }
        assert!(inbox.laps.len() > 2 && held.iter().all(|bytes| is_known(&inbox, bytes)));
    }

    #[test]
    fn no_more_laps_are_remembered_than_so_many() {
        let mut inbox = Inbox::new(100);
        let held: Vec<_> = (0..10 * LAPS_KEPT_MAX)
            .map(|_| {
                inbox.room().buffer.extend_from_slice(&[7; 100]);
                inbox.take()
            })
            .collect();
        assert_eq!(inbox.laps.len(), LAPS_KEPT_MAX);
        assert!(held.iter().all(|bytes| bytes == &[7; 100][..]));
    }
}
