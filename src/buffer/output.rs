//! Bytes queued for the peer, gathered into few writes.
//!
//! ```text
//!   oldest                                                newest
//!   [ shared Bytes ][ copied bytes ][ shared Bytes ] [ tail: copied, still growing ]
//!     ^ consumed: what the socket has already taken of the oldest piece
//! ```
//! Small messages are copied together into the tail, because one write of many is what makes a loop
//! fast; large ready-made [`Bytes`] are queued as they are. Invariant: every queued byte is in exactly
//! one piece, and pieces leave in order.

use std::collections::VecDeque;
use std::io::{self, IoSlice, Write};
use std::ops::Range;

use bytes::Bytes;

/// Ready-made [`Bytes`] from this size are queued without a copy: below, copying is cheaper than one
/// more entry in the gathered write (`writev` of small pieces loses up to about 1 to 4 KiB).
pub const SHARED_BYTES_MIN: usize = 4096;

/// Bytes of the tail that have left before the rest is moved to the front. Moved is at most as much as
/// has left, so each byte is moved once on average at most; below, it is not worth the call.
const COMPACT_BYTES_MIN: usize = 4096;

/// Bytes queued for the peer of one connection.
///
/// Codecs append to it; the worker writes it out once a turn. Threads: the connection's worker.
#[derive(Debug, Default)]
pub struct Output {
    tail: Vec<u8>,
    /// Pieces older than the tail; absent while everything fits the tail.
    #[expect(
        clippy::box_collection,
        reason = "8 bytes instead of 32 in every idle connection"
    )]
    pieces: Option<Box<VecDeque<Piece>>>,
    /// Bytes in `pieces`, consumed ones included.
    pieces_bytes: usize,
    /// Bytes of the oldest piece (the tail when there is none other) that have left already.
    consumed: usize,
    /// Bytes that have left since the connection opened.
    flushed: u64,
}

#[derive(Debug)]
enum Piece {
    Copied(Vec<u8>),
    Shared(Bytes),
}

impl Piece {
    fn as_slice(&self) -> &[u8] {
        match self {
            Self::Copied(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
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
        self.tail.extend_from_slice(bytes);
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
        self.seal_tail();
        self.push_piece(Piece::Shared(bytes));
    }

    /// The growing end of the queue, for codecs that build a message in place.
    ///
    /// Append only; what stood there before belongs to earlier messages.
    #[inline]
    pub fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.tail
    }

    /// Bytes waiting to leave.
    #[must_use]
    #[inline]
    pub fn len(&self) -> usize {
        self.pieces_bytes + self.tail.len() - self.consumed
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

    /// Whether the next message would have to allocate its buffer.
    pub(crate) fn wants_buffer(&self) -> bool {
        self.tail.capacity() == 0
    }

    /// Gives an empty queue a buffer to grow into.
    pub(crate) fn lend_buffer(&mut self, buffer: Vec<u8>) {
        debug_assert!(self.tail.is_empty() && buffer.is_empty());
        self.tail = buffer;
    }

    /// Takes the buffer back when everything has left.
    pub(crate) fn return_buffer(&mut self) -> Option<Vec<u8>> {
        (self.is_empty() && self.tail.capacity() > 0).then(|| std::mem::take(&mut self.tail))
    }

    /// Everything that waits, where it lies in one piece: the usual case, small messages copied together.
    pub(crate) fn single(&self) -> Option<&[u8]> {
        self.pieces.is_none().then(|| &self.tail[self.consumed..])
    }

    /// Fills `slices` with the oldest bytes, in order; answers how many slices were filled.
    pub(crate) fn gather<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut skip = self.consumed;
        let mut filled = 0;
        let pieces = self
            .pieces
            .iter()
            .flat_map(|pieces| pieces.iter().map(Piece::as_slice));
        for piece in pieces.chain([self.tail.as_slice()]) {
            if filled == slices.len() {
                break;
            }
            if skip < piece.len() {
                slices[filled] = IoSlice::new(&piece[skip..]);
                filled += 1;
            }
            skip = 0;
        }
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
        self.consumed += count;
        if let Some(pieces) = &mut self.pieces {
            while let Some(oldest) = pieces.front() {
                let len = oldest.as_slice().len();
                if self.consumed < len {
                    return;
                }
                self.consumed -= len;
                self.pieces_bytes -= len;
                pieces.pop_front();
            }
            self.pieces = None;
        }
        self.compact_tail();
    }

    /// Gives up what has left of the tail: a queue that is never quite empty must not grow for ever.
    fn compact_tail(&mut self) {
        if self.consumed == self.tail.len() {
            self.tail.clear();
            self.consumed = 0;
        } else if self.consumed >= COMPACT_BYTES_MIN && self.consumed >= self.tail.len() / 2 {
            self.tail.drain(..self.consumed);
            self.consumed = 0;
        }
    }

    /// Copies what still shares memory at `region` (addresses), so that queued bytes do not pin it.
    ///
    /// A worker calls this with its read buffer when a write came up short: an echo queues slices of
    /// that buffer, and a slow reader must not hold 128 KiB of it for a few KiB of its own.
    pub(crate) fn detach_from(&mut self, region: &Range<usize>) {
        let Some(pieces) = &mut self.pieces else {
            return;
        };
        for piece in pieces.iter_mut() {
            if let Piece::Shared(bytes) = piece
                && region.contains(&(bytes.as_ptr() as usize))
            {
                *piece = Piece::Copied(bytes.to_vec());
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

    fn seal_tail(&mut self) {
        if self.tail.is_empty() {
            return;
        }
        let tail = std::mem::take(&mut self.tail);
        self.push_piece(Piece::Copied(tail));
    }

    fn push_piece(&mut self, piece: Piece) {
        self.pieces_bytes += piece.as_slice().len();
        self.pieces.get_or_insert_default().push_back(piece);
    }
}

/// Appends like [`Output::put`]; never fails.
impl Write for Output {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes);
        Ok(bytes.len())
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
        let mut slices = [IoSlice::new(&[]); 64];
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
        assert!(output.tail.capacity() <= most, "{}", output.tail.capacity());
    }

    #[test]
    fn detaching_copies_only_what_lies_in_the_region() {
        let (mine, other) = (Bytes::from(vec![1; 5000]), Bytes::from(vec![2; 5000]));
        let start = mine.as_ptr() as usize;
        let mut output = Output::new();
        output.push(mine.clone());
        output.push(other.clone());
        output.consume(100);
        output.detach_from(&(start..start + 5000));
        let mut slices = [IoSlice::new(&[]); 8];
        assert_eq!(output.gather(&mut slices), 2);
        assert_ne!(slices[0].as_ptr(), mine[100..].as_ptr());
        assert_eq!(&*slices[0], &mine[100..]);
        assert_eq!(slices[1].as_ptr(), other.as_ptr());
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
