//! A codec in two halves: where a message ends, and what it means.

use std::ops::Range;

use bytes::{Buf, Bytes, BytesMut};
use log::debug;

use super::frame_error::{FrameError, FrameErrorKind, OnFrameError};
use super::{Codec, chunk};
use crate::buffer::Output;
use crate::error::Result;

/// Messages up to this long, 2 KiB, are copied out of the input; longer ones share its memory.
///
/// The reason is memory, not time: a message that shares holds the whole of a worker's read buffer
/// until it is dropped, and small messages are the ones that programs keep by the thousand.
///
/// Measured with [`LengthField`](super::LengthField), 64 messages a read, dropped at once (bytes 1.12,
/// two shared cores of an AMD EPYC), in ns per message:
///
/// | bytes | 16 | 64 | 256 | 512 | 1024 | 2048 | 4096 |
/// |---|---|---|---|---|---|---|---|
/// | copied | 37 | 39 | 53 | 68 | 90 | 161 | 272 |
/// | shared | 35 | 39 | 46 | 57 | 69 | 105 | 185 |
///
/// So copies are free where they matter most and cost half as much again where they end. One copy of
/// each read, shared by its messages, was 8 ns faster than a copy of each at 16 to 64 bytes, but 12 ns
/// slower with a single message a read, and no faster from 512 bytes on.
pub const FRAME_COPY_BYTES_MAX: usize = 2048;

/// What a framing found at the front of the bytes that have arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scan {
    /// A whole frame of `len` bytes, whose message stands at `body`.
    Frame {
        /// Where the message lies, inside the frame.
        body: Range<usize>,
        /// Bytes of the whole frame, from the front of the input; never zero.
        len: usize,
    },
    /// More bytes are needed: at least so many in all. A hint; memory never grows on its word.
    More(usize),
    /// So many bytes, at least one, belong to a bad frame and are passed over before the scan goes on.
    Skip(usize),
}

/// Where messages start and end in a stream of bytes.
///
/// A framing by itself is a [`Codec`] of [`Bytes`]; with a [`Body`] it is a codec of that body's types:
/// see [`then`](Self::then). What it finds must depend on the bytes alone and not on how the stream was
/// cut into reads.
///
/// ```text
///   decoding   scan -> Frame: the body is taken, scan is called with what is behind
///                      More:  scan is called again when more bytes have arrived
///                      Skip:  the bytes are dropped, scan is called with what is behind
///                      Err:   on_bad_frame decides; after OnFrameError::Skip, scan answers Skip
///                             until the bad frame is behind
///   encoding   begin, the body's bytes, end     or, for a body that is ready     wrap
/// ```
/// Lines that end with a NUL byte, of at most 100 bytes:
/// ```
/// use bytes::BytesMut;
/// use netwheel::Result;
/// use netwheel::codec::{Codec, FrameError, FrameErrorKind, Framing, Scan};
///
/// struct Nul;
///
/// impl Framing for Nul {
///     fn scan(&mut self, input: &[u8]) -> Result<Scan, FrameError> {
///         match input.iter().take(100).position(|byte| *byte == 0) {
///             Some(end) => Ok(Scan::Frame { body: 0..end, len: end + 1 }),
///             None if input.len() < 100 => Ok(Scan::More(input.len() + 1)),
///             None => Err(FrameError::new(FrameErrorKind::Malformed("no NUL in 100 bytes"), input)),
///         }
///     }
///
///     fn begin(&mut self, _dst: &mut Vec<u8>) {}
///
///     fn end(&mut self, dst: &mut Vec<u8>, _start: usize) -> Result<()> {
///         dst.push(0);
///         Ok(())
///     }
/// }
///
/// let mut input = BytesMut::from("one\0two\0thr");
/// assert_eq!(Nul.decode(&mut input)?.as_deref(), Some(&b"one"[..]));
/// assert_eq!(Nul.decode(&mut input)?.as_deref(), Some(&b"two"[..]));
/// assert_eq!(Nul.decode(&mut input)?, None);
/// # Ok::<(), netwheel::Failure>(())
/// ```
///
/// Threads: the connection's worker. Cost: inlined into the pipeline; a scan should not look at a byte
/// twice, or a peer that sends single bytes makes it quadratic.
pub trait Framing: 'static {
    /// Looks for one frame at the front of `input`.
    ///
    /// # Errors
    ///
    /// A bad frame; [`on_bad_frame`](Self::on_bad_frame) says what becomes of it.
    fn scan(&mut self, input: &[u8]) -> Result<Scan, FrameError>;

    /// Looks for one frame in what is left once the peer has sent its FIN.
    ///
    /// The default reports a frame that was begun as [`FrameErrorKind::Truncated`]; a framing whose last
    /// frame may end with the stream answers it here.
    ///
    /// # Errors
    ///
    /// As for [`scan`](Self::scan).
    fn scan_eof(&mut self, input: &[u8]) -> Result<Scan, FrameError> {
        match self.scan(input)? {
            Scan::More(min) if !input.is_empty() => {
                let kind = FrameErrorKind::Truncated {
                    bytes: input.len(),
                    min,
                };
                Err(FrameError::new(kind, input))
            }
            scan => Ok(scan),
        }
    }

    /// Says what becomes of a bad frame; called once for each.
    fn on_bad_frame(&mut self, error: &FrameError) -> OnFrameError {
        let _ = error;
        OnFrameError::Close
    }

    /// Bad frames passed over since this was last asked, for [`Codec::take_skipped`].
    fn take_skips(&mut self) -> u64 {
        0
    }

    /// Appends what stands before the body: a header, or room for one.
    fn begin(&mut self, dst: &mut Vec<u8>);

    /// Completes the frame that began at `start`: fills in its header, appends its trailer.
    ///
    /// # Errors
    ///
    /// When the body cannot be framed; the caller takes everything from `start` away again.
    fn end(&mut self, dst: &mut Vec<u8>, start: usize) -> Result<()>;

    /// Appends a frame around a body that is ready.
    ///
    /// The default copies it; a framing whose header does not depend on bytes behind the body may
    /// [`push`](Output::push) it, so that a large one is shared.
    ///
    /// # Errors
    ///
    /// As for [`end`](Self::end); nothing of the frame is left in `dst`.
    fn wrap(&mut self, body: Bytes, dst: &mut Output) -> Result<()> {
        write_frame(self, dst, |tail| {
            tail.extend_from_slice(&body);
            Ok(())
        })
    }

    /// Joins this framing with what its frames mean.
    ///
    /// ```
    /// use bytes::BytesMut;
    /// use netwheel::codec::{Body, Codec, Framing, LengthField};
    /// use netwheel::{Failure, Result};
    ///
    /// struct Text;
    ///
    /// impl Body for Text {
    ///     type In = String;
    ///     type Out = String;
    ///
    ///     fn decode(&mut self, frame: &[u8]) -> Result<String> {
    ///         Ok(std::str::from_utf8(frame).map_err(Failure::protocol)?.to_owned())
    ///     }
    ///
    ///     fn encode(&mut self, out: String, dst: &mut Vec<u8>) -> Result<()> {
    ///         dst.extend_from_slice(out.as_bytes());
    ///         Ok(())
    ///     }
    /// }
    ///
    /// let mut codec = LengthField::u8().then(Text);
    /// let mut input = BytesMut::from("\x05hello\x02yo");
    /// assert_eq!(codec.decode(&mut input)?.as_deref(), Some("hello"));
    /// assert_eq!(codec.decode(&mut input)?.as_deref(), Some("yo"));
    /// # Ok::<(), Failure>(())
    /// ```
    fn then<B: Body>(self, body: B) -> Framed<Self, B>
    where
        Self: Sized,
    {
        Framed {
            framing: self,
            body,
        }
    }
}

/// What one frame means: the half of a codec that never sees a stream.
///
/// It serves streams through [`Framing::then`], and datagrams as it is.
pub trait Body: 'static {
    /// What arrives.
    type In: 'static;
    /// What is sent.
    type Out: 'static;

    /// Reads one message out of a whole frame, in place.
    ///
    /// Cost: no copy and no allocation but what the message itself makes.
    ///
    /// # Errors
    ///
    /// An error closes the connection with the reason it carries; use
    /// [`Failure::protocol`](crate::Failure::protocol) for bytes that break the protocol.
    fn decode(&mut self, frame: &[u8]) -> Result<Self::In>;

    /// Appends one message to `dst`, and only appends: earlier messages stand before it.
    ///
    /// # Errors
    ///
    /// An error closes the connection; what was appended is taken away again.
    fn encode(&mut self, out: Self::Out, dst: &mut Vec<u8>) -> Result<()>;

    /// Bytes that a message counts for while it waits: see [`Codec::weigh`].
    fn weigh(out: &Self::Out) -> usize {
        size_of_val(out)
    }
}

/// A framing and a body, joined by [`Framing::then`].
#[derive(Clone, Debug)]
pub struct Framed<F, B> {
    framing: F,
    body: B,
}

impl<F: Framing, B: Body> Framed<F, B> {
    fn read(
        &mut self,
        input: &mut BytesMut,
        scan: impl FnMut(&mut F, &[u8]) -> Result<Scan, FrameError>,
    ) -> Result<Option<B::In>> {
        let Some((body, len)) = next_frame(&mut self.framing, input, scan)? else {
            return Ok(None);
        };
        let message = self.body.decode(&input[body]);
        input.advance(len);
        message.map(Some)
    }
}

impl<F: Framing, B: Body> Codec for Framed<F, B> {
    type In = B::In;
    type Out = B::Out;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<B::In>> {
        self.read(input, F::scan)
    }

    fn decode_eof(&mut self, input: &mut BytesMut) -> Result<Option<B::In>> {
        self.read(input, F::scan_eof)
    }

    fn encode(&mut self, out: B::Out, dst: &mut Output) -> Result<()> {
        write_frame(&mut self.framing, dst, |tail| self.body.encode(out, tail))
    }

    fn take_skipped(&mut self) -> u64 {
        self.framing.take_skips()
    }

    fn weigh(out: &B::Out) -> usize {
        B::weigh(out)
    }
}

/// A framing by itself is a codec of its frames.
///
/// Cost: a copy of each message up to [`FRAME_COPY_BYTES_MAX`], into memory that many share; none of longer
/// ones, nor for a [`Body`] that reads in place.
impl<F: Framing> Codec for F {
    type In = Bytes;
    type Out = Bytes;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>> {
        let frame = next_frame(self, input, F::scan)?;
        Ok(frame.map(|(body, len)| take_frame(input, body, len)))
    }

    fn decode_eof(&mut self, input: &mut BytesMut) -> Result<Option<Bytes>> {
        let frame = next_frame(self, input, F::scan_eof)?;
        Ok(frame.map(|(body, len)| take_frame(input, body, len)))
    }

    fn encode(&mut self, out: Bytes, dst: &mut Output) -> Result<()> {
        self.wrap(out, dst)
    }

    fn take_skipped(&mut self) -> u64 {
        self.take_skips()
    }

    fn weigh(out: &Bytes) -> usize {
        out.len()
    }
}

/// Finds the next good frame at the front of `input`, once the bad ones before it have been dealt with.
fn next_frame<F: Framing>(
    framing: &mut F,
    input: &mut BytesMut,
    mut scan: impl FnMut(&mut F, &[u8]) -> Result<Scan, FrameError>,
) -> Result<Option<(Range<usize>, usize)>> {
    let mut stuck = false;
    loop {
        match scan(framing, input) {
            Ok(Scan::Frame { body, len }) => {
                assert!(
                    body.end <= len && 0 < len && len <= input.len(),
                    "a frame lies in the input"
                );
                return Ok(Some((body, len)));
            }
            Ok(Scan::More(_) | Scan::Skip(0)) => return Ok(None),
            Ok(Scan::Skip(count)) => {
                input.advance(count);
                stuck = false;
            }
            Err(error) => {
                pass_over(framing, input, error, stuck)?;
                stuck = true;
            }
        }
    }
}

/// Closes on a bad frame, or lets the scan go on behind it.
///
/// A framing that fails twice at the same byte would do so for ever: `stuck` closes whatever the policy.
#[cold]
fn pass_over<F: Framing>(
    framing: &mut F,
    input: &mut BytesMut,
    error: FrameError,
    stuck: bool,
) -> Result<()> {
    if stuck || framing.on_bad_frame(&error) == OnFrameError::Close {
        return Err(error.into_failure());
    }
    debug!("passed over a bad frame: {error}");
    if matches!(error.kind(), FrameErrorKind::Truncated { .. }) {
        input.clear();
    }
    Ok(())
}

/// Takes the frame's message out of `input` and drops the rest of the frame.
fn take_frame(input: &mut BytesMut, body: Range<usize>, len: usize) -> Bytes {
    if body.len() <= FRAME_COPY_BYTES_MAX {
        let message = chunk::copy(&input[body]);
        input.advance(len);
        return message;
    }
    let (size, trailer) = (body.len(), len - body.end);
    input.advance(body.start);
    let message = input.split_to(size).freeze();
    input.advance(trailer);
    message
}

/// Appends one frame whose body `write` appends; takes it away again when that or the framing fails.
fn write_frame<F: Framing + ?Sized>(
    framing: &mut F,
    dst: &mut Output,
    write: impl FnOnce(&mut Vec<u8>) -> Result<()>,
) -> Result<()> {
    let tail = dst.tail();
    let start = tail.len();
    framing.begin(tail);
    let written = write(tail).and_then(|()| framing.end(tail, start));
    if written.is_err() {
        tail.truncate(start);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::{CloseReason, Failure};

    /// Lines that end with LF, the last one perhaps with the stream; bad ones begin with `!`.
    struct Line {
        policy: OnFrameError,
        progress: bool,
        bad: bool,
    }

    fn line() -> Line {
        Line {
            policy: OnFrameError::Close,
            progress: true,
            bad: false,
        }
    }

    impl Framing for Line {
        fn scan(&mut self, input: &[u8]) -> Result<Scan, FrameError> {
            let Some(end) = input.iter().position(|byte| *byte == b'\n') else {
                return Ok(Scan::More(input.len() + 1));
            };
            if std::mem::take(&mut self.bad) {
                return Ok(Scan::Skip(end + 1));
            }
            if input.starts_with(b"!") {
                self.bad = self.progress;
                return Err(FrameError::new(FrameErrorKind::Malformed("a shout"), input));
            }
            Ok(Scan::Frame {
                body: 0..end,
                len: end + 1,
            })
        }

        fn scan_eof(&mut self, input: &[u8]) -> Result<Scan, FrameError> {
            match self.scan(input)? {
                Scan::More(_) if !input.is_empty() => Ok(Scan::Frame {
                    body: 0..input.len(),
                    len: input.len(),
                }),
                scan => Ok(scan),
            }
        }

        fn on_bad_frame(&mut self, _error: &FrameError) -> OnFrameError {
            self.policy
        }

        fn begin(&mut self, dst: &mut Vec<u8>) {
            dst.push(b'>');
        }

        fn end(&mut self, dst: &mut Vec<u8>, start: usize) -> Result<()> {
            if dst[start..].contains(&b'\n') {
                return Err(Failure::msg("a line holds no line"));
            }
            dst.push(b'\n');
            Ok(())
        }
    }

    /// Numbers in decimal; none above 999 is sent, which is found out halfway.
    struct Decimal;

    impl Body for Decimal {
        type In = u32;
        type Out = u32;

        fn decode(&mut self, frame: &[u8]) -> Result<u32> {
            let text = std::str::from_utf8(frame).map_err(Failure::protocol)?;
            text.parse().map_err(Failure::protocol)
        }

        fn encode(&mut self, out: u32, dst: &mut Vec<u8>) -> Result<()> {
            dst.extend_from_slice(out.to_string().as_bytes());
            if out > 999 {
                Err(Failure::msg("three digits at most"))
            } else {
                Ok(())
            }
        }
    }

    fn text(message: &Bytes) -> &str {
        std::str::from_utf8(message).expect("the tests write text")
    }

    #[test]
    fn a_short_message_is_copied_and_a_long_one_shares_the_input() {
        for (size, shared) in [
            (FRAME_COPY_BYTES_MAX, false),
            (FRAME_COPY_BYTES_MAX + 1, true),
        ] {
            let mut input = BytesMut::new();
            input.extend_from_slice(&vec![b'a'; size]);
            input.extend_from_slice(b"\nnext\n");
            let start = input.as_ptr();
            let message = line()
                .decode(&mut input)
                .expect("well formed")
                .expect("a whole line");
            assert_eq!((message.len(), message.as_ptr() == start), (size, shared));
            let next = line()
                .decode(&mut input)
                .expect("well formed")
                .expect("a whole line");
            assert_eq!((text(&next), input.len()), ("next", 0));
        }
    }

    #[test]
    fn a_framing_may_end_its_last_frame_with_the_stream() {
        let mut input = BytesMut::from("one\ntwo");
        let mut next = |eof| {
            let message = if eof {
                line().decode_eof(&mut input)
            } else {
                line().decode(&mut input)
            };
            message
                .expect("well formed")
                .as_ref()
                .map(text)
                .map(str::to_owned)
        };
        assert_eq!(next(false).as_deref(), Some("one"));
        assert_eq!(next(false), None);
        assert_eq!(next(true).as_deref(), Some("two"));
        assert_eq!(next(true), None);
    }

    #[test]
    fn a_bad_frame_closes_or_is_passed_over_as_the_framing_says() {
        let mut input = BytesMut::from("!what\n!now\nfine\n");
        let failure = line().decode(&mut input).expect_err("a shout");
        assert_eq!(failure.reason(), CloseReason::ProtocolError);
        let mut patient = Line {
            policy: OnFrameError::Skip,
            ..line()
        };
        let message = patient
            .decode(&mut input)
            .expect("passed over")
            .expect("a whole line");
        assert_eq!(text(&message), "fine");
    }

    #[test]
    fn a_framing_that_fails_twice_at_the_same_byte_closes_whatever_its_policy() {
        let mut stuck = Line {
            policy: OnFrameError::Skip,
            progress: false,
            ..line()
        };
        let failure = stuck
            .decode(&mut BytesMut::from("!\n"))
            .expect_err("it would never end");
        assert_eq!(failure.reason(), CloseReason::ProtocolError);
    }

    #[test]
    fn a_failed_message_leaves_nothing_behind_and_the_next_one_is_fine() {
        let mut output = Output::new();
        let mut numbers = line().then(Decimal);
        assert!(numbers.encode(7, &mut output).is_ok());
        assert!(
            numbers.encode(1000, &mut output).is_err(),
            "the body refuses"
        );
        assert!(
            line().encode(Bytes::from("a\nb"), &mut output).is_err(),
            "the framing refuses"
        );
        assert!(numbers.encode(8, &mut output).is_ok());
        assert_eq!(output.tail(), b">7\n>8\n");
    }

    #[test]
    fn a_body_reads_each_frame_once_and_a_bad_one_is_taken_too() {
        let mut numbers = line().then(Decimal);
        let mut input = BytesMut::from("12\nx\n13\n1");
        assert_eq!(numbers.decode(&mut input).expect("a number"), Some(12));
        let failure = numbers.decode(&mut input).expect_err("not a number");
        assert_eq!(failure.reason(), CloseReason::ProtocolError);
        assert_eq!(numbers.decode(&mut input).expect("a number"), Some(13));
        assert_eq!(numbers.decode(&mut input).expect("half a number"), None);
        assert_eq!(numbers.decode_eof(&mut input).expect("a number"), Some(1));
    }
}
