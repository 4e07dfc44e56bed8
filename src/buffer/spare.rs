//! Buffers between two uses.

use super::output::Buffer;

/// Buffers kept by one worker: enough for the connections that write in one turn of a usual batch.
const SPARE_BUFFERS_MAX: usize = 64;
/// Capacity of a new buffer, in bytes: holds a burst of small messages without growing.
const SPARE_BUFFER_BYTES: usize = 4 * 1024;
/// A buffer that grew beyond so many bytes is given back to the allocator, so that one burst is not kept for ever.
const SPARE_BUFFER_BYTES_MAX: usize = 128 * 1024;

/// Write buffers that no connection holds at the moment; at most 64, so at most 8 MiB.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    buffers: Vec<Buffer>,
}

impl Spare {
    pub(crate) fn take(&mut self) -> Buffer {
        self.buffers
            .pop()
            .unwrap_or_else(|| Buffer::with_capacity(SPARE_BUFFER_BYTES))
    }

    /// Keeps an emptied buffer for the next who asks, unless there are enough or it has grown too large.
    pub(crate) fn give(&mut self, buffer: Buffer) {
        if self.buffers.len() < SPARE_BUFFERS_MAX && buffer.capacity() <= SPARE_BUFFER_BYTES_MAX {
            self.buffers.push(buffer);
        }
    }
}
