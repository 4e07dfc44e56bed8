//! Memory that small messages are copied into, many to a chunk.
//!
//! A message that is kept must not hold the worker's read buffer, so small ones are copied out of it.
//! One allocation each would cost more than the copy itself; here they lie side by side in a chunk of
//! the thread's, which is freed when the last of them has gone, and used again when all have gone by
//! the time it is full: a steady stream of messages that are handled at once allocates nothing.

use std::cell::Cell;

use bytes::{Bytes, BytesMut};

/// Bytes of a chunk: what a single small message that is kept may hold on to. Two thousand bytes more
/// than the longest message that is copied would do; four of those make the allocations rare.
const CHUNK_BYTES: usize = 8 * 1024;

thread_local! {
    static CHUNK: Cell<BytesMut> = Cell::default();
}

/// A copy of `bytes`, which are to be few.
pub(super) fn copy(bytes: &[u8]) -> Bytes {
    CHUNK.with(|cell| {
        let mut chunk = cell.take();
        if chunk.capacity() < bytes.len() {
            // Takes the same memory again when none of its messages is left.
            chunk.reserve(CHUNK_BYTES.max(bytes.len()));
        }
        chunk.extend_from_slice(bytes);
        let copy = chunk.split().freeze();
        cell.set(chunk);
        copy
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_stay_what_they_were() {
        let copies: Vec<_> = (0..=255_u8).map(|n| (n, copy(&[n; 100]))).collect();
        for (n, copy) in copies {
            assert_eq!(copy, [n; 100][..]);
        }
    }

    #[test]
    fn memory_comes_back_when_nothing_is_kept() {
        let mut places = std::collections::HashSet::new();
        for _ in 0..10_000 {
            places.insert(copy(&[1; 1000]).as_ptr() as usize / CHUNK_BYTES);
        }
        assert!(
            places.len() <= 4,
            "{} chunks for one message at a time",
            places.len()
        );
    }

    #[test]
    fn a_copy_longer_than_a_chunk_has_room() {
        assert_eq!(copy(&[2; 3 * CHUNK_BYTES]), vec![2; 3 * CHUNK_BYTES]);
    }
}
