//! Frames with protobuf's length before them.

use bytes::Bytes;

use super::frame_error::{BadFrames, FrameError, FrameErrorKind, OnFrameError};
use super::framed::{Framing, Scan};
use crate::buffer::Output;
use crate::error::Result;
use crate::limits::FRAME_BYTES_MAX;

/// Bytes of the longest prefix: five groups of seven bits hold a length of 32.
const PREFIX_BYTES_MAX: usize = 5;

/// The longest message that the protocol knows, 2 GiB less one byte: protobuf's lengths are signed.
const LENGTH_MAX: u64 = i32::MAX as u64;

/// The bit of a byte of the prefix that says that another one follows.
const MORE: u8 = 0x80;

/// Frames with a varint of up to 32 bits before them, as protobuf's `writeDelimitedTo` makes them.
///
/// ```
/// use bytes::BytesMut;
/// use netwheel::codec::{Codec, Framing, Varint32};
///
/// let mut framing = Varint32::new().frame_bytes_max(64 << 10);
/// let mut input = BytesMut::from("\x05hello\x02yo");
/// assert_eq!(framing.decode(&mut input)?.as_deref(), Some(&b"hello"[..]));
/// assert_eq!(framing.decode(&mut input)?.as_deref(), Some(&b"yo"[..]));
/// # Ok::<(), netwheel::Failure>(())
/// ```
/// The length stands in groups of seven bits, the lowest first; the top bit of a byte says that another one
/// follows. A length shorter than its prefix could hold is accepted, and never sent.
///
/// **Bad frames** close the connection before memory grows, unless [`on_error`](Self::on_error) says
/// otherwise. Then the whole of a frame that is too long is passed over, but only the prefix where the length
/// makes no sense: above 31 bits, or of more than five bytes.
///
/// Threads: the connection's worker. Cost: constant time for each call; a message that is written in place is
/// moved by some bytes when its prefix is not as long as the last one's. Limit: `frame_bytes_max` and the
/// prefix.
#[derive(Clone, Debug)]
pub struct Varint32 {
    bytes_max: usize,
    bad_frames: BadFrames,
    /// Bytes of a bad frame that are still to be passed over.
    bad: u64,
    /// Bytes of the prefix that was written last: so many are kept free for the next one.
    room: u8,
}

impl Varint32 {
    /// Messages of up to 1 MiB ([`FRAME_BYTES_MAX`]).
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes_max: FRAME_BYTES_MAX,
            bad_frames: BadFrames::new(),
            bad: 0,
            room: 1,
        }
    }

    /// Sets the longest message, sent or received; 1 MiB ([`FRAME_BYTES_MAX`]) unless told otherwise.
    ///
    /// Zero allows empty messages only, and nothing allows more than 2 GiB less one byte.
    #[must_use]
    pub const fn frame_bytes_max(mut self, bytes: usize) -> Self {
        let ceiling = LENGTH_MAX as usize;
        self.bytes_max = if bytes < ceiling { bytes } else { ceiling };
        self
    }

    /// Sets what becomes of a bad frame; [`OnFrameError::Close`] unless told otherwise.
    #[must_use]
    pub const fn on_error(mut self, policy: OnFrameError) -> Self {
        self.bad_frames.policy = policy;
        self
    }

    /// The frame behind a prefix of `prefix` bytes that says `value`, or what is wrong with it and how many
    /// bytes of it to pass over.
    fn frame(&self, prefix: usize, value: u64) -> Result<Scan, (FrameErrorKind, u64)> {
        let (whole, max) = (prefix as u64 + value, self.bytes_max as u64);
        if value > LENGTH_MAX {
            return Err((FrameErrorKind::LengthOverflow { value }, prefix as u64));
        }
        if value > max {
            return Err((FrameErrorKind::TooLong { bytes: value, max }, whole));
        }
        let len = whole as usize;
        Ok(Scan::Frame {
            body: prefix..len,
            len,
        })
    }

    /// Takes up to `arrived` bytes off the bad frame that is being passed over.
    fn pass(&mut self, arrived: usize) -> Scan {
        let count = self.bad.min(arrived as u64);
        self.bad -= count;
        match count {
            0 => Scan::More(1),
            count => Scan::Skip(count as usize),
        }
    }

    fn check(&self, bytes: usize) -> Result<u32> {
        let (bytes, max) = (bytes as u64, self.bytes_max as u64);
        if bytes > max {
            let kind = FrameErrorKind::TooLong { bytes, max };
            return Err(FrameError::refused(kind));
        }
        Ok(bytes as u32)
    }
}

impl Default for Varint32 {
    fn default() -> Self {
        Self::new()
    }
}

impl Framing for Varint32 {
    #[inline]
    fn scan(&mut self, input: &[u8]) -> Result<Scan, FrameError> {
        if self.bad > 0 {
            return Ok(self.pass(input.len()));
        }
        let found = match read_prefix(input) {
            Prefix::Whole(prefix, value) => self.frame(prefix, value),
            Prefix::Cut => return Ok(Scan::More(input.len() + 1)),
            Prefix::Endless => {
                let kind = FrameErrorKind::Malformed("a length of more than five bytes");
                Err((kind, PREFIX_BYTES_MAX as u64))
            }
        };
        match found {
            Ok(Scan::Frame { len, .. }) if len > input.len() => Ok(Scan::More(len)),
            Ok(scan) => Ok(scan),
            Err((kind, bad)) => {
                self.bad = bad;
                Err(FrameError::new(kind, input))
            }
        }
    }

    fn on_bad_frame(&mut self, _error: &FrameError) -> OnFrameError {
        self.bad_frames.note()
    }

    fn take_skips(&mut self) -> u64 {
        self.bad_frames.take_skips()
    }

    fn begin(&mut self, dst: &mut Vec<u8>) {
        dst.resize(dst.len() + usize::from(self.room), 0);
    }

    fn end(&mut self, dst: &mut Vec<u8>, start: usize) -> Result<()> {
        let body = start + usize::from(self.room);
        let value = self.check(dst.len() - body)?;
        let (prefix, width) = write_prefix(value);
        // Moves the body where the prefix needs other room than was kept for it.
        if width != usize::from(self.room) {
            dst.splice(start..body, prefix[..width].iter().copied());
            self.room = width as u8;
        } else {
            dst[start..body].copy_from_slice(&prefix[..width]);
        }
        Ok(())
    }

    fn wrap(&mut self, body: Bytes, dst: &mut Output) -> Result<()> {
        let (prefix, width) = write_prefix(self.check(body.len())?);
        dst.put(&prefix[..width]);
        dst.push(body);
        Ok(())
    }
}

/// What stands at the front of the input.
enum Prefix {
    /// So many bytes that tell this length.
    Whole(usize, u64),
    /// The input ends inside it.
    Cut,
    /// It goes on where it has to end.
    Endless,
}

#[inline]
fn read_prefix(input: &[u8]) -> Prefix {
    let mut value = 0;
    for (place, byte) in input.iter().take(PREFIX_BYTES_MAX).enumerate() {
        value |= u64::from(byte & !MORE) << (7 * place);
        if byte & MORE == 0 {
            return Prefix::Whole(place + 1, value);
        }
    }
    if input.len() < PREFIX_BYTES_MAX {
        Prefix::Cut
    } else {
        Prefix::Endless
    }
}

/// The shortest prefix for a length, and how many bytes of it count.
fn write_prefix(mut value: u32) -> ([u8; PREFIX_BYTES_MAX], usize) {
    let (mut prefix, mut place) = ([0; PREFIX_BYTES_MAX], 0);
    while value >= u32::from(MORE) {
        prefix[place] = value as u8 | MORE;
        value >>= 7;
        place += 1;
    }
    prefix[place] = value as u8;
    (prefix, place + 1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::law::{
        Found::{self, Bad, Message},
        check_cuts, encoded, policy, receive,
    };

    /// The cases of Netty's `ProtobufVarint32LengthFieldPrependerTest`, and the bounds of each width.
    #[test]
    fn the_prefix_is_as_long_as_it_must_be() {
        for (size, prefix) in [
            (0, &b"\x00"[..]),
            (10, b"\x0A"),
            (127, b"\x7F"),
            (128, b"\x80\x01"),
            (266, b"\x8A\x02"),
            (0x3FFF, b"\xFF\x7F"),
            (0x4000, b"\x80\x80\x01"),
            (0x20_0000, b"\x80\x80\x80\x01"),
        ] {
            let framing = Varint32::new().frame_bytes_max(4 << 20);
            let message = vec![b'x'; size];
            let wire = encoded(&framing, &[&message, b"y", &message]).expect("they fit");
            assert!(wire.starts_with(prefix), "{size}");
            assert_eq!(wire.len(), 2 * (prefix.len() + size) + 2, "{size}");
            let found = receive(&framing, wire.chunks(40_000));
            let large = Message(message);
            assert_eq!(
                found,
                [large.clone(), Message(b"y".to_vec()), large],
                "{size}"
            );
        }
    }

    /// The cases of Netty's `ProtobufVarint32FrameDecoderTest`.
    #[test]
    fn a_frame_in_pieces_is_one_frame() {
        let tiny = receive(&Varint32::new(), [&b"\x04"[..], b"\x01", b"\x01\x01\x01"]);
        assert_eq!(tiny, [Message(vec![1; 4])]);
        let mut regular = b"\xFE\x0F".to_vec();
        regular.resize(2 + 2046, 7);
        let (one, rest) = regular.split_at(1);
        let (two, rest) = rest.split_at(127);
        let (three, four) = rest.split_at(600);
        let found = receive(&Varint32::new(), [one, two, three, four]);
        assert_eq!(found, [Message(vec![7; 2046])]);
    }

    /// netty #17549: three such bytes made an empty frame, and four failed instead of waiting.
    #[test]
    fn a_length_may_be_longer_than_it_must() {
        let overlong = b"\x80\x80\x80\x00\x82\x80\x80\x80\x00hi";
        let expected = [Message(vec![]), Message(b"hi".to_vec())];
        assert_eq!(receive(&Varint32::new(), overlong.chunks(1)), expected);
        assert_eq!(receive(&Varint32::new(), [overlong]), expected);
    }

    #[test]
    fn an_absurd_length_is_refused_at_once() {
        let overflow = |value| Bad(FrameErrorKind::LengthOverflow { value });
        let endless = Bad(FrameErrorKind::Malformed(
            "a length of more than five bytes",
        ));
        let too_long = Bad(FrameErrorKind::TooLong {
            bytes: LENGTH_MAX,
            max: 1 << 20,
        });
        for (stream, expected) in [
            (b"\xFF\xFF\xFF\xFF\x07", too_long),
            (b"\x80\x80\x80\x80\x08", overflow(1 << 31)),
            (b"\xFF\xFF\xFF\xFF\x7F", overflow((1 << 35) - 1)),
            (b"\xFF\xFF\xFF\xFF\xFF", endless),
        ] {
            assert_eq!(receive(&Varint32::new(), [stream]), [expected]);
        }
    }

    #[test]
    fn what_is_too_long_is_not_sent() {
        let kind = FrameErrorKind::TooLong { bytes: 4, max: 3 };
        let framing = Varint32::new().frame_bytes_max(3);
        assert_eq!(encoded(&framing, &[b"abc", b"abcd"]), Err(kind));
    }

    /// Decodes a stream that is there as a whole, without any state.
    fn oracle(max: usize, policy: OnFrameError, mut stream: &[u8]) -> Vec<Found> {
        let mut found = Vec::new();
        while !stream.is_empty() {
            let (one, behind) = oracle_one(max as u64, stream);
            let bad = matches!(one, Bad(_));
            found.push(one);
            if bad && policy == OnFrameError::Close {
                break;
            }
            stream = &stream[behind.min(stream.len() as u64) as usize..];
        }
        found
    }

    fn oracle_one(max: u64, stream: &[u8]) -> (Found, u64) {
        let continued = stream.iter().take_while(|byte| **byte >= 0x80).count();
        let bytes = stream.len();
        if continued >= 5 {
            let kind = FrameErrorKind::Malformed("a length of more than five bytes");
            return (Bad(kind), 5);
        }
        if continued == bytes {
            let min = bytes + 1;
            return (Bad(FrameErrorKind::Truncated { bytes, min }), bytes as u64);
        }
        let prefix = continued + 1;
        let groups = stream[..prefix].iter().rev();
        let value = groups.fold(0_u64, |value, byte| value << 7 | u64::from(byte & 0x7F));
        let whole = prefix as u64 + value;
        if value > i32::MAX as u64 {
            (Bad(FrameErrorKind::LengthOverflow { value }), prefix as u64)
        } else if value > max {
            (Bad(FrameErrorKind::TooLong { bytes: value, max }), whole)
        } else if whole > bytes as u64 {
            let min = whole as usize;
            (Bad(FrameErrorKind::Truncated { bytes, min }), bytes as u64)
        } else {
            let message = stream[prefix..whole as usize].to_vec();
            (Message(message), whole)
        }
    }

    fn writing() -> impl Strategy<Value = Vec<u8>> {
        let honest = (0_usize..30).prop_map(|size| {
            let mut frame = vec![size as u8];
            frame.resize(1 + size, b'x');
            frame
        });
        let prefix_byte = prop_oneof![Just(0x80), Just(0xFF), Just(0x81), Just(0), 0_u8..20];
        let noise = prop::collection::vec(prefix_byte, 0..9);
        prop_oneof![honest, noise]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]

        #[test]
        fn frames_and_errors_do_not_depend_on_the_cut(
            max in 0_usize..40,
            policy in policy(),
            writings in prop::collection::vec(writing(), 0..8),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let stream = writings.concat();
            let framing = Varint32::new().frame_bytes_max(max).on_error(policy);
            check_cuts(&framing, &stream, &cuts, &oracle(max, policy, &stream))?;
        }

        #[test]
        fn decoding_gives_back_what_was_encoded(
            sizes in prop::collection::vec(0_usize..300, 0..8),
        ) {
            let messages: Vec<_> = sizes.iter().map(|size| vec![b'm'; *size]).collect();
            let slices: Vec<_> = messages.iter().map(Vec::as_slice).collect();
            let wire = encoded(&Varint32::new(), &slices).expect("they fit");
            let sent: Vec<_> = messages.into_iter().map(Message).collect();
            prop_assert_eq!(receive(&Varint32::new(), [&wire]), sent);
        }
    }
}
