//! Frames that are all of one length.

use bytes::Bytes;

use super::frame_error::{BadFrames, FrameError, FrameErrorKind, OnFrameError};
use super::framed::{Framing, Scan};
use crate::buffer::Output;
use crate::error::Result;

/// Frames that are all of one length, as records of files and old protocols are.
///
/// ```
/// use bytes::BytesMut;
/// use netwheel::codec::{Codec, FixedLength, Framing};
///
/// let mut input = BytesMut::from("aaaaabbbbbcc");
/// let mut framing = FixedLength::new(5);
/// assert_eq!(framing.decode(&mut input)?.as_deref(), Some(&b"aaaaa"[..]));
/// assert_eq!(framing.decode(&mut input)?.as_deref(), Some(&b"bbbbb"[..]));
/// assert_eq!(framing.decode(&mut input)?, None);
/// # Ok::<(), netwheel::Failure>(())
/// ```
/// A message that is sent has exactly that length, unless shorter ones are [padded](Self::pad_with). Padding
/// stays on what is decoded: which bytes of a record are padding, only its author knows.
///
/// **Bad frames**: there is one, what is left when the stream ends inside a frame. Netty drops it without a
/// word; here it is the cause that the connection closes with.
///
/// Threads: the connection's worker. Cost: constant time for each call. Limit: the length.
#[derive(Clone, Debug)]
pub struct FixedLength {
    bytes: usize,
    padding: Option<u8>,
    bad_frames: BadFrames,
}

impl FixedLength {
    /// Frames of `bytes` bytes.
    ///
    /// # Panics
    ///
    /// When `bytes` is zero: there would be no end of frames.
    #[must_use]
    pub const fn new(bytes: usize) -> Self {
        assert!(bytes > 0, "a frame of fixed length has at least one byte");
        Self {
            bytes,
            padding: None,
            bad_frames: BadFrames::new(),
        }
    }

    /// Fills shorter messages up with `byte`, at their end, when they are sent; a space is usual.
    ///
    /// ```
    /// use netwheel::codec::{FixedLength, Framing};
    ///
    /// let mut wire = b"abc".to_vec();
    /// FixedLength::new(5).pad_with(b' ').end(&mut wire, 0)?;
    /// assert_eq!(wire, b"abc  ");
    /// # Ok::<(), netwheel::Failure>(())
    /// ```
    #[must_use]
    pub const fn pad_with(mut self, byte: u8) -> Self {
        self.padding = Some(byte);
        self
    }

    /// Sets what becomes of a bad frame; [`OnFrameError::Close`] unless told otherwise.
    #[must_use]
    pub const fn on_error(mut self, policy: OnFrameError) -> Self {
        self.bad_frames.policy = policy;
        self
    }

    /// The byte that a message of `bytes` bytes is filled up with.
    fn padding_for(&self, bytes: usize) -> Result<u8> {
        let (bytes, whole) = (bytes as u64, self.bytes as u64);
        match self.padding {
            _ if bytes == whole => Ok(0),
            Some(byte) if bytes < whole => Ok(byte),
            None if bytes < whole => {
                let kind = FrameErrorKind::TooShort { bytes, min: whole };
                Err(FrameError::refused(kind))
            }
            _ => {
                let kind = FrameErrorKind::TooLong { bytes, max: whole };
                Err(FrameError::refused(kind))
            }
        }
    }
}

impl Framing for FixedLength {
    #[inline]
    fn scan(&mut self, input: &[u8]) -> Result<Scan, FrameError> {
        let len = self.bytes;
        Ok(if input.len() < len {
            Scan::More(len)
        } else {
            Scan::Frame { body: 0..len, len }
        })
    }

    fn on_bad_frame(&mut self, _error: &FrameError) -> OnFrameError {
        self.bad_frames.note()
    }

    fn take_skips(&mut self) -> u64 {
        self.bad_frames.take_skips()
    }

    fn begin(&mut self, _dst: &mut Vec<u8>) {}

    fn end(&mut self, dst: &mut Vec<u8>, start: usize) -> Result<()> {
        let padding = self.padding_for(dst.len() - start)?;
        dst.resize(start + self.bytes, padding);
        Ok(())
    }

    fn wrap(&mut self, body: Bytes, dst: &mut Output) -> Result<()> {
        let padding = self.padding_for(body.len())?;
        let missing = self.bytes - body.len();
        dst.push(body);
        let tail = dst.tail();
        tail.resize(tail.len() + missing, padding);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::codec::law::{
        Found::{Bad, Message},
        check_cuts, encoded, policy, receive,
    };

    #[test]
    fn whole_frames_come_out_and_the_rest_waits() {
        let reads = ["aaaaabbbbb", "ccccccc", "ddd"];
        let words = ["aaaaa", "bbbbb", "ccccc", "ccddd"].map(|word| Message(word.into()));
        assert_eq!(receive(&FixedLength::new(5), reads), words);
    }

    #[test]
    fn a_short_message_is_padded() {
        let framing = FixedLength::new(200).pad_with(b' ');
        let wire = encoded(&framing, &[b"abc"]).expect("it fits");
        assert_eq!((wire.len(), &wire[..5]), (200, &b"abc  "[..]));
        assert_eq!(wire.iter().filter(|byte| **byte == b' ').count(), 197);
        let whole = vec![b'x'; 200];
        assert_eq!(encoded(&framing, &[&whole]), Ok(whole));
    }

    #[test]
    fn a_large_message_is_shared_and_padded_behind() {
        let (framing, large) = (FixedLength::new(10_000).pad_with(0), vec![1; 9_000]);
        let wire = encoded(&framing, &[&large, b"2"]).expect("they fit");
        assert_eq!(wire.len(), 20_000);
        assert_eq!((wire[8_999], wire[9_000], wire[10_000]), (1, 0, b'2'));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let (exact, padded) = (FixedLength::new(3), FixedLength::new(3).pad_with(b' '));
        let too_long = FrameErrorKind::TooLong { bytes: 4, max: 3 };
        assert_eq!(encoded(&exact, &[b"abcd"]), Err(too_long));
        assert_eq!(encoded(&padded, &[b"abcd"]), Err(too_long));
        let too_short = FrameErrorKind::TooShort { bytes: 2, min: 3 };
        assert_eq!(encoded(&exact, &[b"ab"]), Err(too_short));
    }

    #[test]
    #[should_panic(expected = "at least one byte")]
    fn frames_of_no_bytes_are_refused() {
        let _ = FixedLength::new(0);
    }

    proptest! {
        #[test]
        fn frames_do_not_depend_on_the_cut(
            bytes in 1_usize..9,
            policy in policy(),
            stream in prop::collection::vec(any::<u8>(), 0..60),
            cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..6),
        ) {
            let mut expected: Vec<_> =
                stream.chunks_exact(bytes).map(|frame| Message(frame.to_vec())).collect();
            let rest = stream.len() % bytes;
            if rest > 0 {
                expected.push(Bad(FrameErrorKind::Truncated { bytes: rest, min: bytes }));
            }
            check_cuts(&FixedLength::new(bytes).on_error(policy), &stream, &cuts, &expected)?;
        }
    }
}
