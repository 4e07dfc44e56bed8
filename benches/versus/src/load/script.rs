//! What is sent: an endless repetition of random messages, so that any misplaced byte shows.

/// Small scripts stay in the load core's cache; large enough that no two messages of a burst are alike.
const MESSAGES_MIN: usize = 521;
const BYTES_MIN: usize = 4 * 64 * 1024;

/// The byte stream every connection speaks, each from a message of its own.
#[derive(Debug)]
pub struct Script {
    /// Two periods, so that any slice up to one period is contiguous.
    twice: Vec<u8>,
    period: usize,
    message_bytes: usize,
}

impl Script {
    /// Messages of `payload` random bytes, with a 4-byte big-endian length before each when `framed`.
    pub fn new(payload: usize, framed: bool, burst: usize) -> Self {
        let header = if framed { 4 } else { 0 };
        let message_bytes = header + payload;
        let count = if message_bytes < 4096 {
            MESSAGES_MIN
        } else {
            BYTES_MIN.div_ceil(message_bytes) + 1
        };
        let count = count.max(burst);
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        let mut bytes = Vec::with_capacity(2 * count * message_bytes);
        for _ in 0..count {
            if framed {
                bytes.extend_from_slice(&(payload as u32).to_be_bytes());
            }
            bytes.extend((0..payload).map(|_| random.next() as u8));
        }
        let period = bytes.len();
        bytes.extend_from_within(..);
        Self {
            twice: bytes,
            period,
            message_bytes,
        }
    }

    /// Bytes of one message on the wire, header included.
    pub fn message_bytes(&self) -> u64 {
        self.message_bytes as u64
    }

    /// Where the `index`th connection starts: another message than its neighbours.
    pub fn origin(&self, index: usize) -> u64 {
        (index * self.message_bytes % self.period) as u64
    }

    /// The stream from `from` to `to`, cut at one period.
    pub fn slice(&self, from: u64, to: u64) -> &[u8] {
        let start = (from % self.period as u64) as usize;
        let len = (to - from).min(self.period as u64) as usize;
        &self.twice[start..start + len]
    }

    /// Whether `bytes` are the stream from `from` on.
    pub fn matches(&self, mut from: u64, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            let expected = self.slice(from, from + bytes.len() as u64);
            let (head, rest) = bytes.split_at(expected.len());
            if head != expected {
                return false;
            }
            from += head.len() as u64;
            bytes = rest;
        }
        true
    }
}

/// xorshift64*: payloads only need to differ.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stream_repeats_and_a_wrong_byte_shows() {
        let script = Script::new(64, true, 32);
        let from = script.origin(7) + 3;
        let period = script.period as u64;
        let mut bytes = script.slice(from, from + period).to_vec();
        bytes.extend_from_slice(script.slice(from, from + 100));
        assert!(script.matches(from, &bytes));
        assert!(script.matches(from + period, &bytes));
        assert!(!script.matches(from + 1, &bytes));
        let last = bytes.len() - 1;
        bytes[last] ^= 1;
        assert!(!script.matches(from, &bytes));
    }

    #[test]
    fn frames_say_their_length_and_differ() {
        let script = Script::new(64, true, 32);
        let len = script.message_bytes();
        assert_eq!(len, 68);
        assert_eq!(script.slice(0, 4), [0, 0, 0, 64]);
        assert_ne!(script.slice(0, len), script.slice(len, 2 * len));
    }
}
