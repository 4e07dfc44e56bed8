//! Buffers between two uses.

/// Buffers kept by one worker: enough for the connections that write in one turn of a usual batch.
const SPARE_BUFFERS_MAX: usize = 64;
/// Capacity of a new buffer, in bytes: holds a burst of small messages without growing.
const SPARE_BUFFER_BYTES: usize = 4 * 1024;
/// A buffer that grew beyond so many bytes is given back to the allocator, so that one burst is not kept for ever.
const SPARE_BUFFER_BYTES_MAX: usize = 128 * 1024;

/// Write buffers that no connection holds at the moment; at most 64, so at most 8 MiB.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    buffers: Vec<Vec<u8>>,
}

impl Spare {
    pub(crate) fn take(&mut self) -> Vec<u8> {
        self.buffers
            .pop()
            .unwrap_or_else(|| Vec::with_capacity(SPARE_BUFFER_BYTES))
    }

    pub(crate) fn give(&mut self, mut buffer: Vec<u8>) {
        if self.buffers.len() < SPARE_BUFFERS_MAX && buffer.capacity() <= SPARE_BUFFER_BYTES_MAX {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }
}
