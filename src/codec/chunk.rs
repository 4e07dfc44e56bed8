//! Memory that small messages are copied into, many to a chunk.
//!
//! A message that is kept must not hold the worker's read buffer, so small ones are copied out of it.
//! One allocation each would cost more than the copy itself; here they lie side by side in a chunk of
//! the thread's, which is freed when the last of them has gone, and used again when all have gone by
//! the time it is full: a steady stream of messages that are handled at once allocates nothing. What
//! came with one read is copied at once ([`take_in`]), which saves a twentieth of a server's CPU time
//! in the framed pipeline of the comparison bench.

use std::cell::{Cell, RefCell};

use bytes::{Bytes, BytesMut};

/// Bytes of a chunk: what a single small message that is kept may hold on to. Two thousand bytes more
/// than the longest message that is copied would do; four of those make the allocations rare.
const CHUNK_BYTES: usize = 8 * 1024;

thread_local! {
    static CHUNK: RefCell<BytesMut> = RefCell::default();
    /// Where the memory of the thread's chunk starts.
    static START: Cell<usize> = const { Cell::new(0) };
}

/// A copy of `bytes`, which are to be few.
pub(super) fn copy(bytes: &[u8]) -> Bytes {
    fill(bytes).freeze()
}

/// Moves what is left of a read into the chunk, if it holds several messages and fits: one copy for all
/// of them, which then share it. Answers whether `input` lies in the chunk.
#[inline]
pub(super) fn take_in(input: &mut BytesMut, first_bytes: usize) -> bool {
    let place = input.as_ptr() as usize;
    if place.wrapping_sub(START.get()) < CHUNK_BYTES {
        return true;
    }
    // What has room behind it is no piece of a read but a buffer that is used again.
    let is_piece = input.capacity() == input.len();
    let fits = first_bytes < input.len() && input.len() <= CHUNK_BYTES;
    if is_piece && fits {
        *input = fill(input);
    }
    is_piece && fits
}

fn fill(bytes: &[u8]) -> BytesMut {
    CHUNK.with_borrow_mut(|chunk| {
        if chunk.capacity() < bytes.len() {
            // Takes the same memory again when none of its messages is left.
            chunk.reserve(CHUNK_BYTES.max(bytes.len()));
            START.set(chunk.as_ptr() as usize);
        }
        chunk.extend_from_slice(bytes);
        chunk.split()
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
    fn several_messages_of_a_read_are_copied_once_and_share_the_copy() {
        let mut input = BytesMut::from(&b"one-two-three"[..]).split_to(13);
        assert!(take_in(&mut input, 4));
        let place = input.as_ptr();
        let one = input.split_to(4).freeze();
        assert!(take_in(&mut input, 4), "it is there already");
        let two = input.split_to(4).freeze();
        assert_eq!(
            (&one[..], &two[..], &input[..]),
            (&b"one-"[..], &b"two-"[..], &b"three"[..])
        );
        assert_eq!((one.as_ptr(), two.as_ptr()), (place, place.wrapping_add(4)));
    }

    #[test]
    fn what_is_alone_or_large_or_used_again_stays_where_it_is() {
        let piece = |bytes: usize| BytesMut::zeroed(2 * bytes).split_to(bytes);
        let mut alone = piece(10);
        assert!(!take_in(&mut alone, 10));
        let mut large = piece(CHUNK_BYTES + 1);
        assert!(!take_in(&mut large, 10));
        let mut kept = BytesMut::with_capacity(100);
        kept.extend_from_slice(&[1; 50]);
        let place = kept.as_ptr();
        assert!(!take_in(&mut kept, 10));
        assert_eq!(kept.as_ptr(), place);
    }

    #[test]
    fn a_copy_longer_than_a_chunk_has_room() {
        assert_eq!(copy(&[2; 3 * CHUNK_BYTES]), vec![2; 3 * CHUNK_BYTES]);
    }
}
