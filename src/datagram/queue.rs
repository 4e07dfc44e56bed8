//! Datagrams that wait for a socket which is full.

use std::collections::VecDeque;
use std::net::SocketAddr;

use bytes::{Buf, BytesMut};

use crate::limits::DatagramLimits;

/// Memory that an empty queue keeps; more goes back, since a socket is hardly ever full.
const QUEUE_BYTES_KEPT: usize = 64 * 1024;

/// Datagrams, copied one behind the other.
///
/// Cost: a copy a datagram, and no allocation once it has grown. Limit: the caller asks
/// [`admits`](Self::admits) first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    bytes: BytesMut,
    heads: VecDeque<Head>,
}

#[derive(Clone, Copy, Debug)]
struct Head {
    len: usize,
    to: Option<SocketAddr>,
}

impl Queue {
    /// Whether one more of `len` bytes may wait; an empty queue takes one of any length.
    pub(super) fn admits(&self, len: usize, limits: &DatagramLimits) -> bool {
        self.heads.is_empty()
            || (self.heads.len() < limits.queue_datagrams_max
                && self.bytes.len() + len <= limits.queue_bytes_max)
    }

    pub(super) fn push(&mut self, bytes: &[u8], to: Option<SocketAddr>) {
        self.bytes.extend_from_slice(bytes);
        let len = bytes.len();
        self.heads.push_back(Head { len, to });
    }

    /// The one that waits longest.
    pub(super) fn front(&self) -> Option<(&[u8], Option<SocketAddr>)> {
        let head = self.heads.front()?;
        Some((&self.bytes[..head.len], head.to))
    }

    pub(super) fn pop(&mut self) {
        let Some(head) = self.heads.pop_front() else {
            return;
        };
        self.bytes.advance(head.len);
        if self.heads.is_empty() {
            self.bytes.clear();
            if !self.bytes.try_reclaim(1) || self.bytes.capacity() > QUEUE_BYTES_KEPT {
                self.bytes = BytesMut::new();
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.heads.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.heads.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(datagrams: usize, bytes: usize) -> DatagramLimits {
        DatagramLimits {
            queue_datagrams_max: datagrams,
            queue_bytes_max: bytes,
            ..DatagramLimits::default()
        }
    }

    #[test]
    fn datagrams_keep_their_order_their_borders_and_their_peers() {
        let mut queue = Queue::default();
        let to = |port| Some(SocketAddr::from(([127, 0, 0, 1], port)));
        for (text, port) in [("one", 1), ("", 2), ("three", 3)] {
            queue.push(text.as_bytes(), to(port));
        }
        for (text, port) in [("one", 1), ("", 2), ("three", 3)] {
            assert_eq!(queue.front(), Some((text.as_bytes(), to(port))));
            queue.pop();
        }
        assert!(queue.is_empty() && queue.front().is_none());
    }

    #[test]
    fn both_bounds_hold_and_an_empty_queue_takes_any_datagram() {
        let mut queue = Queue::default();
        let few = limits(2, 10);
        assert!(queue.admits(100, &few), "it would never be taken otherwise");
        queue.push(&[7; 4], None);
        assert!(queue.admits(6, &few) && !queue.admits(7, &few));
        queue.push(&[7; 1], None);
        assert!(!queue.admits(0, &few), "two wait already");
    }

    #[test]
    fn the_memory_of_a_long_queue_goes_back() {
        let mut queue = Queue::default();
        for _ in 0..100 {
            queue.push(&[7; 2000], None);
        }
        while !queue.is_empty() {
            queue.pop();
        }
        assert!(queue.bytes.capacity() <= QUEUE_BYTES_KEPT);
    }
}
