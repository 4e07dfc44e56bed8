//! The read buffer that all connections of a worker share.

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
}

impl Inbox {
    /// A buffer for reads of `read_bytes`; holds twice as much, so that a lap is several reads.
    pub(crate) fn new(read_bytes: usize) -> Self {
        Self {
            buffer: BytesMut::zeroed(2 * read_bytes),
            read_bytes,
        }
    }

    /// The room for one read.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        if self.buffer.len() < self.read_bytes {
            self.buffer.clear();
            self.buffer.reserve(2 * self.read_bytes);
            self.buffer.resize(2 * self.read_bytes, 0);
        }
        &mut self.buffer[..self.read_bytes]
    }

    /// The first `count` bytes of the room, which a read has just filled.
    pub(crate) fn take(&mut self, count: usize) -> BytesMut {
        self.buffer.split_to(count)
    }

    /// Addresses in which bytes taken lately may lie, for [`Output::detach_from`](super::Output::detach_from).
    pub(crate) fn region(&self) -> Range<usize> {
        let front = self.buffer.as_ptr() as usize;
        front.saturating_sub(2 * self.read_bytes)..front + self.buffer.len()
    }
}
