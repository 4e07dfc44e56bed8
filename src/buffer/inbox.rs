//! The read buffer that all connections of a worker share.

use std::collections::VecDeque;
use std::ops::Range;

use bytes::BytesMut;

/// One always-initialised buffer per worker; a read fills its front, and what was read is split off.
///
/// Bytes that a handler keeps pin the piece of memory they lie in; when nothing is kept, the memory
/// comes back without an allocation once a lap. Invariant: at least `read_bytes` are free before a read.
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
        let buffer = BytesMut::zeroed(2 * read_bytes);
        Self {
            laps: VecDeque::from([buffer.as_ptr() as usize]),
            buffer,
            read_bytes,
        }
    }

    /// Whether the next read needs the memory of those before it, which what is queued may still share.
    pub(crate) fn is_used_up(&self) -> bool {
        self.buffer.len() < self.read_bytes
    }

    /// The room for one read.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.is_used_up() {
            self.buffer.clear();
            self.buffer.reserve(2 * self.read_bytes);
            self.buffer.resize(2 * self.read_bytes, 0);
            self.note_lap();
        }
        &mut self.buffer[..self.read_bytes]
    }

    /// The first `count` bytes of the room, which a read has just filled.
    pub(crate) fn take(&mut self, count: usize) -> BytesMut {
        self.buffer.split_to(count)
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
            inbox.room().fill(7);
            let taken = inbox.take(70);
            assert!(is_known(&inbox, &taken));
        }
        assert_eq!(inbox.laps.len(), 1);
    }

    #[test]
    fn bytes_of_earlier_laps_are_still_known() {
        let mut inbox = Inbox::new(100);
        let mut held = Vec::new();
        for _ in 0..LAPS_KEPT_MAX {
            inbox.room().fill(7);
            held.push(inbox.take(100));
        }
        assert!(inbox.laps.len() > 2 && held.iter().all(|bytes| is_known(&inbox, bytes)));
    }

    #[test]
    fn no_more_laps_are_remembered_than_so_many() {
        let mut inbox = Inbox::new(100);
        let held: Vec<_> = (0..10 * LAPS_KEPT_MAX)
            .map(|_| {
                inbox.room().fill(7);
                inbox.take(100)
            })
            .collect();
        assert_eq!(inbox.laps.len(), LAPS_KEPT_MAX);
        assert!(held.iter().all(|bytes| bytes == &[7; 100][..]));
    }
}
