//! What names a connection.

use std::fmt;

/// Names one connection of one reactor, for ever: a slot of a worker is used again, its generation is not.
///
/// Threads: any. Cost: 12 bytes, `Copy`. A generation is 32 bits, so a stale id finds a stranger only
/// after one slot was used 4,294,967,296 times while it was kept.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConnectionId {
    worker: u16,
    key: Key,
}

/// Names one entry of a slab with generations ([`Slots`](crate::slots::Slots)).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

impl ConnectionId {
    pub(crate) const fn new(worker: u16, key: Key) -> Self {
        Self { worker, key }
    }

    /// The worker that the connection lives on.
    #[must_use]
    pub const fn worker(self) -> usize {
        self.worker as usize
    }

    pub(crate) const fn key(self) -> Key {
        self.key
    }
}

impl Key {
    /// Slots from here on are those of datagram endpoints, which a worker keeps beside its connections.
    const ENDPOINTS: u32 = 1 << 31;

    /// The key of an endpoint, as the worker's poll, wheel and mailbox know it.
    pub(crate) const fn into_endpoint(self) -> Self {
        Self {
            slot: self.slot | Self::ENDPOINTS,
            generation: self.generation,
        }
    }

    /// The key in the endpoints' own slots.
    pub(crate) const fn of_endpoint(self) -> Self {
        Self {
            slot: self.slot & !Self::ENDPOINTS,
            generation: self.generation,
        }
    }

    pub(crate) const fn is_endpoint(self) -> bool {
        self.slot & Self::ENDPOINTS != 0
    }

    /// The key as one word, for a poll's token: generation above, slot below.
    pub(crate) const fn to_bits(self) -> u64 {
        (self.generation as u64) << 32 | self.slot as u64
    }

    #[expect(
        clippy::cast_possible_truncation,
        reason = "takes the two halves of the word"
    )]
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self {
            slot: bits as u32,
            generation: (bits >> 32) as u32,
        }
    }
}

/// `worker:slot.generation`, as in logs: `w0:17.3`.
impl fmt::Display for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "w{}:{}.{}",
            self.worker, self.key.slot, self.key.generation
        )
    }
}

impl fmt::Debug for ConnectionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}
