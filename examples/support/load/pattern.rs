//! Bytes that tell where in a stream they belong, so that one which is lost, doubled, or out of its
//! place is found.

use bytes::Bytes;

/// Bytes after which the pattern repeats: a prime, so that no size of message divides it, and small
/// enough to stay in a core's cache.
const PERIOD: usize = 65_521;
/// The prime below, for messages whose size is a multiple of the other: they would all be the same.
const OTHER_PERIOD: usize = 65_519;
/// Between the places at which neighbouring streams begin: a prime, so that no two are alike.
const STREAM_STEP: usize = 7_919;

/// An endless pattern of bytes, kept for the life of the program: what is cut from it costs neither a
/// copy nor a count of references.
#[derive(Clone, Copy)]
pub(super) struct Pattern {
    /// A period, and as much of the next as the longest piece may need.
    bytes: &'static [u8],
    period: usize,
}

impl Pattern {
    /// A pattern for messages of `size` bytes.
    pub(super) fn new(size: usize) -> Self {
        let divides = size > 0 && size.is_multiple_of(PERIOD);
        let period = if divides { OTHER_PERIOD } else { PERIOD };
        let period_bytes: Vec<u8> = noise().take(period).collect();
        let bytes: Vec<u8> = period_bytes
            .into_iter()
            .cycle()
            .take(period + size)
            .collect();
        Self {
            bytes: bytes.leak(),
            period,
        }
    }

    /// The start of one of many streams.
    pub(super) fn stream(self, number: usize) -> Cursor {
        Cursor {
            pattern: self,
            at: number.wrapping_mul(STREAM_STEP) % self.period,
            passed: 0,
        }
    }
}

/// Bytes without a rule that a fault could follow (Marsaglia's xorshift).
fn noise() -> impl Iterator<Item = u8> {
    let mut state = 0x2545_F491_u32;
    std::iter::repeat_with(move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        (state >> 24) as u8
    })
}

/// A place in a stream of the pattern.
pub(super) struct Cursor {
    pattern: Pattern,
    at: usize,
    /// Bytes from the start of the stream.
    passed: u64,
}

impl Cursor {
    /// The next `len` bytes, at most the size that the pattern was made for.
    pub(super) fn cut(&mut self, len: usize) -> Bytes {
        let piece = &self.pattern.bytes[self.at..self.at + len];
        self.pass(len);
        Bytes::from_static(piece)
    }

    /// Passes over `bytes`, which must be the next of the stream.
    pub(super) fn check(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        while !bytes.is_empty() {
            let expected = &self.pattern.bytes[self.at..];
            let len = expected.len().min(bytes.len());
            let (piece, rest) = bytes.split_at(len);
            if piece != &expected[..len] {
                return Err(self.first_fault(piece, expected));
            }
            self.pass(len);
            bytes = rest;
        }
        Ok(())
    }

    fn pass(&mut self, len: usize) {
        self.at = (self.at + len) % self.pattern.period;
        self.passed += len as u64;
    }

    fn first_fault(&self, bytes: &[u8], expected: &[u8]) -> String {
        let mut pairs = (self.passed..).zip(bytes.iter().zip(expected));
        let fault = pairs.find(|(_, (byte, expected))| byte != expected);
        let (place, (byte, expected)) = fault.expect("the two differ");
        format!("byte {place} came back as {byte:#04x}, {expected:#04x} was sent")
    }
}
