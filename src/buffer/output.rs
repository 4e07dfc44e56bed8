//! Bytes queued for the peer, gathered into few writes.
//!
//! ```text
//!   oldest                                                newest
//!   tail:    [ left | copied bytes |             copied bytes | copied, still growing ]
//!   pieces:                        [ shared Bytes ]           [ shared Bytes ]
//!                    gap of the 1st                gap of the 2nd
//! ```
//! Small messages are copied together into the tail, because one write of many is what makes a loop
//! fast; large ready-made [`Bytes`] are queued as they are, and each knows how many bytes of the tail
//! stand between it and the one before. So headers of large messages lie side by side in one buffer,
//! and a steady stream of either kind allocates nothing.
//!
//! Invariant: every queued byte is in the tail or in exactly one piece; the gaps together are no longer
//! than what waits in the tail; bytes leave in order.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::ops::Range;

use bytes::{Buf, Bytes};

/// Ready-made [`Bytes`] from this size are queued without a copy: below, copying is cheaper than one
/// more entry in the gathered write (`writev` of small pieces loses up to about 1 to 4 KiB).
pub const SHARED_BYTES_MIN: usize = 4096;

/// Bytes of the tail that have left before the rest is moved to the front. Moved is at most as much as
/// has left, so each byte is moved once on average at most; below, it is not worth the call.
const COMPACT_BYTES_MIN: usize = 4096;

/// Pieces that a queue of them may have room for when it is kept for the next use: as many as messages of
/// the smallest shared size that [`OUTPUT_BYTES_MAX`](crate::limits::OUTPUT_BYTES_MAX) holds.
const PIECES_KEPT_MAX: usize = 256;

/// Bytes queued for the peer of one connection.
///
/// Codecs append to it; the worker writes it out once a turn. Threads: the connection's worker.
#[derive(Debug, Default)]
pub struct Output {
    buffer: Buffer,
    /// Bytes of the tail that have left already.
    consumed: usize,
    /// Bytes that have left since the connection opened.
    flushed: u64,
}

/// The memory of a queue, which goes from one connection to the next.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    tail: Vec<u8>,
    /// Absent until the first large message; 8 bytes in every idle connection.
    pieces: Option<Box<Pieces>>,
}

impl Buffer {
    /// An empty one for so many bytes.
    pub(crate) fn with_capacity(bytes: usize) -> Self {
        Self {
            tail: Vec::with_capacity(bytes),
            pieces: None,
        }
    }

    /// Bytes that the tail has room for.
    pub(crate) fn capacity(&self) -> usize {
        self.tail.capacity()
    }

    fn is_empty(&self) -> bool {
        self.tail.is_empty()
            && self
                .pieces
                .as_ref()
                .is_none_or(|pieces| pieces.queue.is_empty())
    }
}

/// Large messages between the bytes of the tail.
#[derive(Debug, Default)]
struct Pieces {
    queue: VecDeque<Piece>,
    /// Bytes that wait in them.
    bytes: usize,
    /// Bytes of the tail that wait before the newest of them: the sum of the gaps.
    gaps: usize,
    /// So many, the newest, may still share memory with the worker's read buffer.
    attached: usize,
}

#[derive(Debug)]
struct Piece {
    /// Bytes of the tail that wait between this piece and the one before.
    gap: usize,
    bytes: Bytes,
}

impl Output {
    /// An empty queue; holds no memory.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends a copy of `bytes`.
    #[inline]
    pub fn put(&mut self, bytes: &[u8]) {
        self.buffer.tail.extend_from_slice(bytes);
    }

    /// Appends `bytes`: shared from [`SHARED_BYTES_MIN`], copied below.
    #[inline]
    pub fn push(&mut self, bytes: Bytes) {
        if bytes.len() < SHARED_BYTES_MIN {
            return self.put(&bytes);
        }
        self.share(bytes);
    }

    fn share(&mut self, bytes: Bytes) {
        let waiting = self.buffer.tail.len() - self.consumed;
        let pieces = self.buffer.pieces.get_or_insert_default();
        let gap = waiting - pieces.gaps;
        pieces.gaps = waiting;
        pieces.bytes += bytes.len();
        pieces.attached += 1;
        pieces.queue.push_back(Piece { gap, bytes });
    }

    /// The growing end of the queue, for codecs that build a message in place.
    ///
    /// Append only; what stood there before belongs to earlier messages.
    #[inline]
    pub fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.buffer.tail
    }

    /// Bytes waiting to leave.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        let shared = self.buffer.pieces.as_ref().map_or(0, |pieces| pieces.bytes);
        self.buffer.tail.len() - self.consumed + shared
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that have left since the connection opened; with [`len`](Self::len), a message's place in the stream.
    pub(crate) fn flushed(&self) -> u64 {
        self.flushed
    }

    /// So many bytes have left that were never queued here.
    pub(crate) fn note_flushed(&mut self, count: usize) {
        self.flushed += count as u64;
    }

    /// Takes everything behind the oldest `at` bytes out, with its buffer. Copies the oldest; there are none
    /// unless the socket is full.
    pub(crate) fn split_off(&mut self, at: usize) -> Self {
        let mut behind = Self {
            buffer: std::mem::take(&mut self.buffer),
            consumed: std::mem::take(&mut self.consumed),
            flushed: 0,
        };
        if at == 0 {
            return behind;
        }
        let mut queued = Queued(&mut behind).take(at);
        while queued.has_remaining() {
            let chunk = queued.chunk();
            self.buffer.tail.extend_from_slice(chunk);
            let count = chunk.len();
            queued.advance(count);
        }
        behind
    }

    /// Appends all that waits in `other`.
    pub(crate) fn append(&mut self, other: &mut Self) {
        let mut queued = Queued(other);
        while queued.has_remaining() {
            let chunk = queued.chunk();
            self.put(chunk);
            let count = chunk.len();
            queued.advance(count);
        }
    }

    /// Whether the next message would have to allocate its buffer.
    pub(crate) fn wants_buffer(&self) -> bool {
        self.buffer.capacity() == 0
    }

    /// Gives a queue without a buffer one to grow into.
    pub(crate) fn lend_buffer(&mut self, buffer: Buffer) {
        debug_assert!(self.buffer.is_empty() && buffer.is_empty());
        self.buffer = buffer;
    }

    /// Takes the buffer back when everything has left.
    pub(crate) fn return_buffer(&mut self) -> Option<Buffer> {
        (self.is_empty() && !self.wants_buffer()).then(|| std::mem::take(&mut self.buffer))
    }

    /// Everything that waits, where it lies in one piece: the usual case, small messages copied together.
    pub(crate) fn single(&self) -> Option<&[u8]> {
        self.queue()
            .is_none()
            .then(|| &self.buffer.tail[self.consumed..])
    }

    /// The pieces, when there are any.
    fn queue(&self) -> Option<&VecDeque<Piece>> {
        let pieces = self.buffer.pieces.as_ref()?;
        (!pieces.queue.is_empty()).then_some(&pieces.queue)
    }

    /// Puts what was written since `start` once more.
    #[cfg(netwheel_planted)]
    pub(crate) fn repeat_from(&mut self, start: usize) {
        let mut slices = [IoSlice::new(&[]); 64];
        let filled = self.gather(&mut slices);
        let all: Vec<u8> = slices[..filled]
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect();
        self.put(&all[start..]);
    }

    /// Fills `slices` with the oldest bytes, in order; answers how many slices were filled.
    pub(crate) fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut rest = &self.buffer.tail[self.consumed..];
        let mut filled = 0;
        let mut fill = |bytes: &'a [u8]| {
            if !bytes.is_empty() && filled < slices.len() {
                slices[filled] = IoSlice::new(bytes);
                filled += 1;
            }
            filled < slices.len()
        };
        for piece in self.queue().into_iter().flatten() {
            let (gap, behind) = rest.split_at(piece.gap);
            rest = behind;
            if !fill(gap) || !fill(&piece.bytes) {
                return filled;
            }
        }
        fill(rest);
        filled
    }

    /// Forgets the oldest `count` bytes: the socket has taken them.
    ///
    /// # Panics
    ///
    /// When fewer bytes are queued.
    pub(crate) fn consume(&mut self, count: usize) {
        assert!(
            count <= self.len(),
            "a socket takes no more than it was given"
        );
        self.flushed += count as u64;
        let mut left = count;
        if let Some(pieces) = &mut self.buffer.pieces {
            let copied = pieces.consume(&mut left);
            self.consumed += copied;
        }
        self.consumed += left;
        self.compact_tail();
    }

    /// Gives up what has left of the tail: a queue that is never quite empty must not grow for ever.
    fn compact_tail(&mut self) {
        let tail = &mut self.buffer.tail;
        if self.consumed == tail.len() {
            tail.clear();
            self.consumed = 0;
        } else if self.consumed >= COMPACT_BYTES_MIN && self.consumed >= tail.len() / 2 {
            tail.drain(..self.consumed);
            self.consumed = 0;
        }
    }

    /// Whether something was queued since [`detach_from`](Self::detach_from) that may pin other memory.
    pub(crate) fn is_attached(&self) -> bool {
        self.buffer
            .pieces
            .as_ref()
            .is_some_and(|pieces| pieces.attached > 0)
    }

    /// Copies what shares memory at one of `regions` (addresses), so that queued bytes do not pin it.
    ///
    /// A worker calls this with those of its read buffer when something stays queued: an echo queues
    /// slices of that buffer, and a slow reader must not hold 128 KiB of it for a few KiB of its own.
    pub(crate) fn detach_from(&mut self, regions: impl Iterator<Item = Range<usize>> + Clone) {
        let Some(pieces) = &mut self.buffer.pieces else {
            return;
        };
        let attached = std::mem::take(&mut pieces.attached);
        for piece in pieces.queue.iter_mut().rev().take(attached) {
            let place = piece.bytes.as_ptr() as usize;
            if regions.clone().any(|region| region.contains(&place)) {
                piece.bytes = Bytes::copy_from_slice(&piece.bytes);
            }
        }
    }

    /// Drops everything that waits.
    pub(crate) fn clear(&mut self) {
        *self = Self {
            flushed: self.flushed,
            ..Self::default()
        };
    }
}

impl Pieces {
    /// Takes up to `count` bytes off pieces and their gaps; answers how many of them were of the tail, and
    /// leaves in `count` what lies behind the newest piece.
    fn consume(&mut self, count: &mut usize) -> usize {
        let gaps_before = self.gaps;
        while let Some(oldest) = self.queue.front_mut() {
            let gap = oldest.gap.min(*count);
            oldest.gap -= gap;
            self.gaps -= gap;
            *count -= gap;
            let shared = oldest.bytes.len().min(*count);
            oldest.bytes.advance(shared);
            self.bytes -= shared;
            *count -= shared;
            if !oldest.bytes.is_empty() {
                break;
            }
            self.queue.pop_front();
        }
        self.attached = self.attached.min(self.queue.len());
        if self.queue.is_empty() && self.queue.capacity() > PIECES_KEPT_MAX {
            self.queue = VecDeque::new();
        }
        gaps_before - self.gaps
    }
}

/// What is queued, for a filter to take.
pub(crate) struct Queued<'a>(pub(crate) &'a mut Output);

impl Buf for Queued<'_> {
    fn remaining(&self) -> usize {
        self.0.len()
    }

    fn chunk(&self) -> &[u8] {
        let tail = &self.0.buffer.tail[self.0.consumed..];
        match self.0.queue().and_then(VecDeque::front) {
            None => tail,
            Some(oldest) if oldest.gap > 0 => &tail[..oldest.gap],
            Some(oldest) => &oldest.bytes,
        }
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        self.0.gather(slices)
    }

    fn advance(&mut self, count: usize) {
        self.0.consume(count);
    }
}

/// Appends like [`Output::put`]; never fails.
impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
    }

    fn write_vectored(&mut self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        for slice in slices {
            self.put(slice);
        }
        Ok(slices.iter().map(|slice| slice.len()).sum())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn everything(output: &Output) -> Vec<u8> {
        let mut slices = [IoSlice::new(&[]); 128];
        let filled = output.gather(&mut slices);
        slices[..filled]
            .iter()
            .flat_map(|slice| slice.to_vec())
            .collect()
    }

    #[test]
    fn an_empty_queue_holds_no_memory() {
        let output = Output::new();
        assert!(output.wants_buffer() && output.is_empty());
        assert_eq!(everything(&output), b"");
    }

    #[test]
    fn large_bytes_are_queued_without_a_copy_and_keep_their_place() {
        let large = Bytes::from(vec![7; SHARED_BYTES_MIN]);
        let mut output = Output::new();
        output.put(b"before");
        output.push(large.clone());
        output.push(Bytes::from_static(b"after"));
        let mut slices = [IoSlice::new(&[]); 8];
        assert_eq!(output.gather(&mut slices), 3);
        assert_eq!(slices[1].as_ptr(), large.as_ptr());
        assert_eq!(&*slices[2], b"after");
    }

    #[test]
    fn a_queue_that_is_never_empty_does_not_grow() {
        let mut output = Output::new();
        output.put(&[0; 1000]);
        for turn in 0..100_000 {
            output.put(&[0; 100]);
            output.consume(100);
            assert_eq!(output.len(), 1000, "turn {turn}");
        }
        let most = 4 * COMPACT_BYTES_MIN;
        let capacity = output.buffer.capacity();
        assert!(capacity <= most, "{capacity}");
    }

    #[test]
    fn detaching_copies_only_what_lies_in_the_region() {
        let (mine, other) = (Bytes::from(vec![1; 5000]), Bytes::from(vec![2; 5000]));
        let start = mine.as_ptr() as usize;
        let mut output = Output::new();
        output.push(mine.clone());
        output.push(other.clone());
        output.consume(100);
        assert!(output.is_attached());
        output.detach_from(std::iter::once(start..start + 5000));
        assert!(!output.is_attached());
        let mut slices = [IoSlice::new(&[]); 8];
        assert_eq!(output.gather(&mut slices), 2);
        assert_ne!(slices[0].as_ptr(), mine[100..].as_ptr());
        assert_eq!(&*slices[0], &mine[100..]);
        assert_eq!(slices[1].as_ptr(), other.as_ptr());
    }

    #[test]
    fn the_buffer_goes_round_with_room_for_pieces() {
        let mut buffer = Buffer::with_capacity(64);
        let (tail, large) = (buffer.tail.as_ptr(), Bytes::from(vec![7; SHARED_BYTES_MIN]));
        for _ in 0..3 {
            let mut output = Output::new();
            output.lend_buffer(buffer);
            for _ in 0..10 {
                output.put(b"head");
                output.push(large.clone());
            }
            assert!(output.return_buffer().is_none(), "it is in use");
            output.consume(output.len());
            buffer = output.return_buffer().expect("everything has left");
            assert_eq!(buffer.tail.as_ptr(), tail, "headers share one buffer");
            let pieces = buffer.pieces.as_ref().expect("kept");
            assert!(pieces.queue.capacity() >= 10);
        }
    }

    #[test]
    fn what_waits_behind_a_place_is_taken_out_whole_and_in_order() {
        let large = Bytes::from(vec![7; SHARED_BYTES_MIN]);
        for at in [0, 3, 6, 7, 6 + SHARED_BYTES_MIN, 11 + SHARED_BYTES_MIN] {
            let mut output = Output::new();
            output.put(b"before");
            output.push(large.clone());
            output.put(b"after");
            let all = everything(&output);
            let mut behind = output.split_off(at);
            assert_eq!(everything(&output), all[..at]);
            assert_eq!(everything(&behind), all[at..]);
            output.append(&mut behind);
            assert_eq!(everything(&output), all);
            assert!(behind.is_empty());
        }
    }

    proptest! {
        #[test]
        fn bytes_leave_once_and_in_order(
            steps in prop::collection::vec((0_usize..9000, any::<bool>(), 0_usize..12_000), 1..40)
        ) {
            let (mut output, mut queued, mut left) = (Output::new(), Vec::new(), Vec::new());
            for (step, (size, shared, take)) in steps.into_iter().enumerate() {
                let bytes = vec![u8::try_from(step).expect("few steps"); size];
                queued.extend_from_slice(&bytes);
                if shared { output.push(bytes.into()) } else { output.put(&bytes) }
                let waiting = everything(&output);
                let take = take.min(waiting.len());
                left.extend_from_slice(&waiting[..take]);
                output.consume(take);
                prop_assert_eq!(output.len(), queued.len() - left.len());
                prop_assert_eq!(output.flushed(), left.len() as u64);
            }
            left.extend(everything(&output));
            prop_assert_eq!(left, queued);
        }
    }
}
