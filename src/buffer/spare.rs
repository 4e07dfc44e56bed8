//! Buffers between two uses.

use bytes::BytesMut;

use super::output::Buffer;

/// Buffers kept by one worker: enough for the connections that write in one turn of a usual batch.
const SPARE_BUFFERS_MAX: usize = 64;
/// Capacity of a new buffer, in bytes: holds a burst of small messages without growing.
const SPARE_BUFFER_BYTES: usize = 4 * 1024;
/// A buffer that grew beyond so many bytes is given back to the allocator, so that one burst is not kept for ever.
const SPARE_BUFFER_BYTES_MAX: usize = 128 * 1024;

/// Inputs kept by one worker: one would do for connections that get large messages in turn, and each
/// may be 128 KiB.
const SPARE_INPUTS_MAX: usize = 16;

/// Capacity of the buffer that filters write to, in bytes: a few reads.
const PLAIN_BYTES: usize = 128 * 1024;

/// Buffers that no connection holds at the moment: at most 64 to write from, so at most 8 MiB, and 16
/// for messages that arrive in parts, so at most 2 MiB; one of 128 KiB for what passes filters.
#[derive(Debug, Default)]
pub(crate) struct Spare {
    buffers: Vec<Buffer>,
    inputs: Vec<BytesMut>,
    /// What filters write to; what they have written is split off, and the memory comes back once nobody
    /// holds that any more, as it does in an [`Inbox`](super::Inbox).
    plain: BytesMut,
}

impl Spare {
    /// Buffers that are kept, of either kind.
    pub(crate) fn len(&self) -> usize {
        self.buffers.len() + self.inputs.len()
    }

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

    /// A buffer for what has arrived of a message whose rest is on its way.
    pub(crate) fn take_input(&mut self) -> BytesMut {
        self.inputs
            .pop()
            .unwrap_or_else(|| BytesMut::with_capacity(SPARE_BUFFER_BYTES))
    }

    /// A buffer for what a filter makes of `count` bytes, which is hardly ever more.
    pub(crate) fn take_plain(&mut self, count: usize) -> BytesMut {
        let mut plain = std::mem::take(&mut self.plain);
        if plain.capacity() < count {
            plain.reserve(count.max(PLAIN_BYTES));
        }
        plain
    }

    /// Keeps the rest of a buffer from which what a filter has written was split off.
    pub(crate) fn give_plain(&mut self, plain: BytesMut) {
        debug_assert!(plain.is_empty());
        self.plain = plain;
    }

    /// Keeps an input that was used up, unless there are enough, it has grown too large, or a message
    /// still lies in its memory.
    pub(crate) fn give_input(&mut self, mut input: BytesMut) {
        input.clear();
        if self.inputs.len() < SPARE_INPUTS_MAX
            && input.try_reclaim(SPARE_BUFFER_BYTES)
            && !input.try_reclaim(SPARE_BUFFER_BYTES_MAX + 1)
        {
            self.inputs.push(input);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn used_up(bytes: usize) -> BytesMut {
        let mut input = BytesMut::zeroed(bytes);
        let _ = input.split_to(bytes);
        input
    }

    #[test]
    fn an_input_that_was_used_up_is_used_again() {
        let mut spare = Spare::default();
        let mut input = BytesMut::zeroed(SPARE_BUFFER_BYTES);
        let place = input.as_ptr();
        drop(input.split_to(1000).freeze());
        bytes::Buf::advance(&mut input, SPARE_BUFFER_BYTES - 1000);
        spare.give_input(input);
        let mut again = spare.take_input();
        again.extend_from_slice(&[1; SPARE_BUFFER_BYTES]);
        assert_eq!(again.as_ptr(), place);
    }

    #[test]
    fn an_input_is_not_kept_that_has_grown_too_large_or_is_still_held() {
        let mut spare = Spare::default();
        spare.give_input(used_up(SPARE_BUFFER_BYTES_MAX + 1));
        assert!(spare.inputs.is_empty(), "one burst would be kept for ever");
        let mut input = BytesMut::zeroed(SPARE_BUFFER_BYTES);
        let held = input.split_to(1000);
        spare.give_input(input);
        assert!(spare.inputs.is_empty(), "it holds what a message lies in");
        drop(held);
    }

    #[test]
    fn no_more_inputs_are_kept_than_so_many() {
        let mut spare = Spare::default();
        for _ in 0..2 * SPARE_INPUTS_MAX {
            spare.give_input(used_up(SPARE_BUFFER_BYTES));
        }
        assert_eq!(spare.inputs.len(), SPARE_INPUTS_MAX);
    }
}
