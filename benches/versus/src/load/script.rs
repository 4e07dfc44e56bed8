//! What is sent: an endless repetition of random messages, so that any misplaced byte shows.

use std::iter;
use std::ops::Range;

use super::wire;

/// Small scripts stay in the load core's cache; large enough that no two messages of a burst are alike.
const MESSAGES_MIN: usize = 521;
const BYTES_MIN: usize = 4 * 64 * 1024;

/// What a message is beside its payload, and what comes back for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Bytes as they are; they come back.
    Bare,
    /// A 4-byte big-endian length before it; it comes back.
    Framed,
    /// A question of the stack's wire; its answer has the same id and payload.
    Question,
    /// A ping of the stack's wire, which has no payload; a pong comes back.
    Ping,
    /// A call of tarpc, by its own client.
    Rpc,
}

impl Shape {
    fn asked(self, id: u64, body: &[u8]) -> Vec<u8> {
        match self {
            Self::Bare | Self::Rpc => body.to_vec(),
            Self::Framed => [&(body.len() as u32).to_be_bytes()[..], body].concat(),
            Self::Question => wire::question(id, body),
            Self::Ping => wire::ping(),
        }
    }

    fn answered(self, id: u64, body: &[u8]) -> Vec<u8> {
        match self {
            Self::Question => wire::answer(id, body),
            Self::Ping => wire::pong(),
            Self::Bare | Self::Framed | Self::Rpc => self.asked(id, body),
        }
    }
}

/// The byte stream every connection speaks, each from a message of its own.
#[derive(Debug)]
pub struct Script {
    /// Two periods, so that any slice up to one period is contiguous.
    twice: Vec<u8>,
    /// What comes back, byte by byte, where that is something else.
    answers: Option<Vec<u8>>,
    period: usize,
    message_bytes: usize,
}

impl Script {
    /// Messages of `payload` random bytes in this shape; those of a burst all differ.
    pub fn new(payload: usize, shape: Shape, burst: usize) -> Self {
        let message_bytes = shape.asked(0, &vec![0; payload]).len();
        let count = if message_bytes < 4096 {
            MESSAGES_MIN
        } else {
            BYTES_MIN.div_ceil(message_bytes) + 1
        };
        let count = count.max(burst);
        let (mut twice, mut answers) = (Vec::new(), Vec::new());
        for (id, body) in Self::bodies(payload).take(count).enumerate() {
            twice.extend(shape.asked(id as u64, &body));
            answers.extend(shape.answered(id as u64, &body));
        }
        assert_eq!(twice.len(), answers.len(), "offsets are those of both");
        let period = twice.len();
        twice.extend_from_within(..);
        answers.extend_from_within(..);
        Self {
            answers: (answers != twice).then_some(answers),
            twice,
            period,
            message_bytes,
        }
    }

    /// Random bodies of so many bytes, without an end.
    pub fn bodies(bytes: usize) -> impl Iterator<Item = Vec<u8>> {
        let mut random = Random(0x9E37_79B9_7F4A_7C15);
        iter::repeat_with(move || (0..bytes).map(|_| random.next() as u8).collect())
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
        &self.twice[self.range(from, to)]
    }

    fn range(&self, from: u64, to: u64) -> Range<usize> {
        let start = (from % self.period as u64) as usize;
        let len = (to - from).min(self.period as u64) as usize;
        start..start + len
    }

    /// Whether `bytes` are what comes back for the stream from `from` on.
    pub fn matches(&self, mut from: u64, mut bytes: &[u8]) -> bool {
        let answers = self.answers.as_ref().unwrap_or(&self.twice);
        while !bytes.is_empty() {
            let expected = &answers[self.range(from, from + bytes.len() as u64)];
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
        let script = Script::new(64, Shape::Framed, 32);
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
        let script = Script::new(64, Shape::Framed, 32);
        let len = script.message_bytes();
        assert_eq!(len, 68);
        assert_eq!(script.slice(0, 4), [0, 0, 0, 64]);
        assert_ne!(script.slice(0, len), script.slice(len, 2 * len));
    }

    #[test]
    fn questions_expect_their_own_answers() {
        let script = Script::new(64, Shape::Question, 1024);
        let len = script.message_bytes();
        assert!(script.period as u64 >= 1024 * len, "ids under way differ");
        let mut bytes = script.slice(len, 3 * len).to_vec();
        assert!(!script.matches(len, &bytes), "a question is no answer");
        (bytes[16], bytes[len as usize + 16]) = (1, 1);
        assert!(script.matches(len, &bytes));
        assert!(!script.matches(0, &bytes), "the answers to others");
    }
}
