//! Frames that say how long they are, in a field of their header.
//!
//! The semantics are those of Netty's `LengthFieldBasedFrameDecoder` and `LengthFieldPrepender`, in one
//! value that does both, with what hurt their users put right: settings that cannot work are refused
//! when they are made, arithmetic never wraps, decoding goes on behind a bad frame in the same read, and
//! what is found does not depend on how the stream was cut.

use bytes::{Buf, Bytes};

use super::frame_error::{BadFrames, FrameError, FrameErrorKind, OnFrameError};
use super::framed::{Framing, Scan};
use crate::buffer::Output;
use crate::error::{Error, ErrorKind, Failure, Result};
use crate::limits::FRAME_BYTES_MAX;

/// The longest header that a [`LengthFieldBuilder`] accepts, 1 KiB, and the most that may be stripped.
///
/// A header is read before any length is known, so it has a bound of its own. The longest in common
/// use have some tens of bytes.
pub const HEADER_BYTES_MAX: usize = 1024;

/// Frames with a header that holds their length.
///
/// [`u8`](Self::u8) to [`u64`](Self::u64) make the usual layout, the length of the message and then the
/// message. Both sides use the same value, one to decode and the other to encode:
/// ```
/// use bytes::BytesMut;
/// use netwheel::codec::{Codec, Framing, LengthField};
///
/// let mut framing = LengthField::u32().frame_bytes_max(64 << 10);
/// let mut wire = Vec::new();
/// framing.begin(&mut wire);
/// wire.extend_from_slice(b"hello");
/// framing.end(&mut wire, 0)?;
/// assert_eq!(wire, b"\x00\x00\x00\x05hello");
///
/// let mut input = BytesMut::from(&wire[..]);
/// assert_eq!(framing.decode(&mut input)?.as_deref(), Some(&b"hello"[..]));
/// # Ok::<(), netwheel::Failure>(())
/// ```
/// Other layouts come from [`builder`](Self::builder). The numbers mean what they mean in Netty:
///
/// ```text
///   offset     bytes before the length field
///   width      bytes of the length field: 1, 2, 3, 4 or 8
///   adjustment what is added to the field's value to get the number of bytes behind the field
///   strip      bytes taken off the front of the frame; the rest is the message
///
///   whole frame = offset + width + value + adjustment          message = whole frame - strip
/// ```
///
/// | layout, for the message `HELLO` | on the wire | made by |
/// |---|---|---|
/// | length of the message | `00 05` `HELLO` | `u16()` |
/// | length of message and field | `00 07` `HELLO` | `u16().includes_length()` |
/// | low byte first | `05 00` `HELLO` | `u16().little_endian()` |
/// | header kept, as in Netty without strip | `00 05 HELLO` | `builder(2)` |
/// | two bytes of header before the length | `CA FE 00 05 HELLO` | `builder(2).offset(2)` |
/// | one byte of header behind it, not counted | `00 05 CA HELLO` | `builder(2).adjustment(1)` |
/// | length of the whole frame, behind four bytes | `AB EF 01 01 00 00 00 0D HELLO` | `builder(4).offset(4).adjustment(-8)` |
/// | the same, decoded to `HELLO` only | `AB EF 01 01 00 00 00 0D` `HELLO` | `builder(4).offset(4).adjustment(-8).strip(8).decode_only()` |
///
/// The last group of bytes on the wire is the message.
///
/// **Encoding takes what decoding gives.** Where exactly the length field is stripped, the message is
/// what follows it. Where nothing is stripped, the message is the whole frame: its author writes the
/// header, with any bytes in place of the length, and the right length is written over them. From any
/// other layout a frame cannot be made again; it has to be declared
/// [`decode_only`](LengthFieldBuilder::decode_only).
///
/// **The maximum counts the message**, in both directions, so that a maximum of 1 MiB lets exactly
/// 1,048,576 bytes of payload pass whatever the header. Netty counts the frame before stripping: its
/// `maxFrameLength` of M is a [`frame_bytes_max`](Self::frame_bytes_max) of M - strip.
///
/// **Bad frames** close the connection with `over_limit` or `protocol_error`, see
/// [`FrameError::reason`]. They are reported as soon as the header is there (Netty's `failFast`), before
/// memory grows. After [`on_error`](Self::on_error)`(OnFrameError::Skip)` they are passed over instead: the
/// whole of a frame that is too long, be it gigabytes, but only the header where the length makes no
/// sense. The field is unsigned up to four bytes and signed with eight, as in Netty.
///
/// Cost: constant time for each call, whatever has arrived. Limit: a connection holds at most
/// `frame_bytes_max` + [`HEADER_BYTES_MAX`] bytes of an unfinished frame.
#[derive(Clone, Debug)]
pub struct LengthField {
    offset: u16,
    strip: u16,
    adjustment: i16,
    width: u8,
    little_endian: bool,
    includes_length: bool,
    /// Whether the layout is the usual one, a leading big-endian u32: it has a short way of its own.
    plain_u32: bool,
    bytes_max: usize,
    bad_frames: BadFrames,
    /// Bytes of a bad frame that are still to be passed over.
    bad: u64,
}

// Every framed connection has one, idle or not: 512 bytes are to do for all of it.
const _: () = assert!(size_of::<LengthField>() <= 40);

impl LengthField {
    /// A length of one byte, then the message: at most 255 bytes.
    #[must_use]
    pub const fn u8() -> Self {
        Self::prefix(1)
    }

    /// A length of two bytes, then the message: at most 65,535 bytes.
    #[must_use]
    pub const fn u16() -> Self {
        Self::prefix(2)
    }

    /// A length of three bytes, then the message.
    #[must_use]
    pub const fn u24() -> Self {
        Self::prefix(3)
    }

    /// A length of four bytes, then the message: the usual choice.
    #[must_use]
    pub const fn u32() -> Self {
        Self::prefix(4)
    }

    /// A length of eight bytes, then the message; the length is signed, and negative ones are refused.
    #[must_use]
    pub const fn u64() -> Self {
        Self::prefix(8)
    }

    /// Starts a layout of another kind, around a length field of `width` bytes.
    ///
    /// A private protocol with a four-byte magic number, the length of the whole frame and a type:
    /// ```
    /// use netwheel::codec::{Framing, LengthField};
    ///
    /// let mut framing = LengthField::builder(4).offset(4).adjustment(-8).build()?;
    /// let mut frame = b"\xab\xef\x01\x01????\x05".to_vec();
    /// framing.end(&mut frame, 0)?;
    /// assert_eq!(frame, b"\xab\xef\x01\x01\x00\x00\x00\x09\x05");
    /// # Ok::<(), netwheel::Failure>(())
    /// ```
    #[must_use]
    pub const fn builder(width: usize) -> LengthFieldBuilder {
        LengthFieldBuilder {
            width,
            offset: 0,
            adjustment: 0,
            strip: 0,
            decode_only: false,
        }
    }

    const fn prefix(width: u8) -> Self {
        Self {
            offset: 0,
            strip: width as u16,
            adjustment: 0,
            width,
            little_endian: false,
            includes_length: false,
            plain_u32: width == 4,
            bytes_max: FRAME_BYTES_MAX,
            bad_frames: BadFrames::new(),
            bad: 0,
        }
    }

    /// Sends and expects the low byte of the length first; the default is the high byte first.
    #[must_use]
    pub const fn little_endian(mut self) -> Self {
        self.little_endian = true;
        self.plain_u32 = false;
        self
    }

    /// Counts the length field itself in its value, on top of what the adjustment says.
    #[must_use]
    pub const fn includes_length(mut self) -> Self {
        self.includes_length = true;
        self.plain_u32 = false;
        self
    }

    /// Sets the longest message, sent or received; 1 MiB ([`FRAME_BYTES_MAX`]) unless told otherwise.
    ///
    /// Zero allows empty messages only.
    ///
    /// # Panics
    ///
    /// When not even the shortest message of the layout may pass. That needs a message which carries its
    /// header, so it cannot happen after [`u8`](Self::u8) to [`u64`](Self::u64).
    #[must_use]
    pub const fn frame_bytes_max(mut self, bytes: usize) -> Self {
        let min = self.frame_bytes_min().saturating_sub(self.strip as u64);
        assert!(
            bytes as u64 >= min,
            "frame_bytes_max lets no message of this layout pass"
        );
        // No memory is longer than this, so that a frame's length fits `usize` everywhere.
        let ceiling = isize::MAX as usize - HEADER_BYTES_MAX;
        self.bytes_max = if bytes < ceiling { bytes } else { ceiling };
        self
    }

    /// Sets what becomes of a bad frame; [`OnFrameError::Close`] unless told otherwise.
    #[must_use]
    pub const fn on_error(mut self, policy: OnFrameError) -> Self {
        self.bad_frames.policy = policy;
        self
    }

    /// Bytes up to the end of the length field.
    const fn header(&self) -> usize {
        self.offset as usize + self.width as usize
    }

    /// What is added to the field's value to get the number of bytes behind the field.
    const fn adjustment(&self) -> i64 {
        let own = if self.includes_length {
            self.width as i64
        } else {
            0
        };
        self.adjustment as i64 - own
    }

    /// Bytes of the shortest frame that the layout can have.
    const fn frame_bytes_min(&self) -> u64 {
        let behind = self.adjustment();
        self.header() as u64 + if behind > 0 { behind as u64 } else { 0 }
    }

    /// Bytes of the longest frame that the length field can tell.
    const fn frame_bytes_told(&self) -> u64 {
        let value = if self.width == 8 {
            i64::MAX as u64
        } else {
            (1 << (8 * self.width)) - 1
        };
        (value + self.header() as u64).saturating_add_signed(self.adjustment())
    }

    /// Whether a frame can be made from its message: it lacks nothing, or only a leading length field.
    const fn encodes(&self) -> bool {
        self.strip == 0 || (self.offset == 0 && self.strip == self.width as u16)
    }

    /// Bytes of the frame that `header` opens; for a bad one, what is wrong and how much of it to pass over.
    fn frame_bytes(&self, header: &[u8]) -> Result<usize, (FrameErrorKind, u64)> {
        let end = header.len() as i64;
        let value = self.read(header);
        let signed = value as i64;
        if signed < 0 {
            return Err((FrameErrorKind::NegativeLength { value: signed }, end as u64));
        }
        let adjustment = self.adjustment();
        let behind = signed.checked_add(adjustment);
        if behind.is_some_and(|behind| behind < 0) {
            let min = adjustment.unsigned_abs();
            return Err((FrameErrorKind::LengthBelowHeader { value, min }, end as u64));
        }
        let Some(whole) = behind.and_then(|behind| behind.checked_add(end)) else {
            return Err((FrameErrorKind::LengthOverflow { value }, end as u64));
        };
        let (whole, strip, max) = (whole as u64, u64::from(self.strip), self.bytes_max as u64);
        match whole.checked_sub(strip) {
            None => Err((
                FrameErrorKind::TooShort {
                    bytes: whole,
                    min: strip,
                },
                whole,
            )),
            Some(bytes) if bytes > max => Err((FrameErrorKind::TooLong { bytes, max }, whole)),
            Some(_) => Ok(whole as usize),
        }
    }

    /// The value that tells the length of a message of `bytes` bytes.
    fn value_for(&self, bytes: usize) -> Result<u64> {
        if !self.encodes() {
            return Err(Failure::msg(
                "this layout of LengthField was declared decode_only",
            ));
        }
        let (bytes, strip) = (bytes as u64, u64::from(self.strip));
        let (whole, min) = (bytes + strip, self.frame_bytes_min());
        if whole < min {
            return Err(FrameError::refused(FrameErrorKind::TooShort {
                bytes: whole,
                min,
            }));
        }
        let max = (self.bytes_max as u64).min(self.frame_bytes_told() - strip);
        if bytes > max {
            return Err(FrameError::refused(FrameErrorKind::TooLong { bytes, max }));
        }
        let behind = whole - self.header() as u64;
        Ok(behind.wrapping_add_signed(-self.adjustment()))
    }

    fn read(&self, header: &[u8]) -> u64 {
        let field = &header[usize::from(self.offset)..];
        let join = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        if self.little_endian {
            field.iter().rev().fold(0, join)
        } else {
            field.iter().fold(0, join)
        }
    }

    fn write(&self, field: &mut [u8], value: u64) {
        let width = field.len();
        if self.little_endian {
            field.copy_from_slice(&value.to_le_bytes()[..width]);
        } else {
            field.copy_from_slice(&value.to_be_bytes()[8 - width..]);
        }
    }

    /// Takes up to `arrived` bytes off the bad frame that is being passed over.
    fn pass(&mut self, arrived: usize) -> Scan {
        let count = self.bad.min(arrived as u64);
        self.bad -= count;
        if count == 0 {
            Scan::More(1)
        } else {
            Scan::Skip(count as usize)
        }
    }

    /// Any layout, step by step.
    fn scan_any(&mut self, input: &[u8]) -> Result<Scan, FrameError> {
        if self.bad > 0 {
            return Ok(self.pass(input.len()));
        }
        let Some(header) = input.get(..self.header()) else {
            return Ok(Scan::More(self.header()));
        };
        match self.frame_bytes(header) {
            Ok(len) if len > input.len() => Ok(Scan::More(len)),
            Ok(len) => Ok(Scan::Frame {
                body: usize::from(self.strip)..len,
                len,
            }),
            Err((kind, bad)) => {
                self.bad = bad;
                Err(FrameError::new(kind, input))
            }
        }
    }
}

impl Framing for LengthField {
    #[inline]
    fn scan(&mut self, input: &[u8]) -> Result<Scan, FrameError> {
        if self.plain_u32
            && self.bad == 0
            && let Some(field) = input.first_chunk()
        {
            let bytes = u32::from_be_bytes(*field) as usize;
            let len = 4 + bytes;
            if bytes <= self.bytes_max && len <= input.len() {
                return Ok(Scan::Frame { body: 4..len, len });
            }
        }
        self.scan_any(input)
    }

    fn on_bad_frame(&mut self, _error: &FrameError) -> OnFrameError {
        self.bad_frames.note()
    }

    fn take_skips(&mut self) -> u64 {
        self.bad_frames.take_skips()
    }

    fn begin(&mut self, dst: &mut Vec<u8>) {
        dst.resize(dst.len() + usize::from(self.strip), 0);
    }

    fn end(&mut self, dst: &mut Vec<u8>, start: usize) -> Result<()> {
        let frame = &mut dst[start..];
        let value = self.value_for(frame.len() - usize::from(self.strip))?;
        self.write(&mut frame[usize::from(self.offset)..self.header()], value);
        Ok(())
    }

    #[inline]
    fn wrap(&mut self, mut body: Bytes, dst: &mut Output) -> Result<()> {
        if self.plain_u32
            && body.len() <= self.bytes_max
            && let Ok(bytes) = u32::try_from(body.len())
        {
            dst.put(&bytes.to_be_bytes());
            dst.push(body);
            return Ok(());
        }
        let value = self.value_for(body.len())?;
        let mut field = [0; 8];
        let field = &mut field[..usize::from(self.width)];
        self.write(field, value);
        dst.put(&body[..usize::from(self.offset)]);
        dst.put(field);
        body.advance(self.header() - usize::from(self.strip));
        dst.push(body);
        Ok(())
    }
}

/// A layout of a [`LengthField`] in the making: see there what the numbers mean.
///
/// All are zero unless set, as in Netty.
#[derive(Clone, Copy, Debug)]
pub struct LengthFieldBuilder {
    width: usize,
    offset: usize,
    adjustment: i64,
    strip: usize,
    decode_only: bool,
}

impl LengthFieldBuilder {
    /// Sets how many bytes of the header stand before the length field.
    #[must_use]
    pub const fn offset(mut self, bytes: usize) -> Self {
        self.offset = bytes;
        self
    }

    /// Sets what is added to the field's value to get the number of bytes behind the field.
    ///
    /// Positive for bytes that the field does not count, negative for bytes before its end that it does.
    /// It is that of Netty's decoder; Netty's prepender has the opposite sign.
    #[must_use]
    pub const fn adjustment(mut self, bytes: i64) -> Self {
        self.adjustment = bytes;
        self
    }

    /// Sets how many bytes are taken off the front of a frame; what is left is the message.
    #[must_use]
    pub const fn strip(mut self, bytes: usize) -> Self {
        self.strip = bytes;
        self
    }

    /// Accepts a layout that strips what encoding would need; encoding with it fails.
    #[must_use]
    pub const fn decode_only(mut self) -> Self {
        self.decode_only = true;
        self
    }

    /// Makes the framing.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for settings that cannot work, alone or together: the text says which.
    pub fn build(self) -> Result<LengthField, Error> {
        let Self {
            width,
            offset,
            adjustment,
            strip,
            decode_only,
        } = self;
        if !matches!(width, 1..=4 | 8) {
            return config(format!(
                "a length field has 1, 2, 3, 4 or 8 bytes, not {width}"
            ));
        }
        let bounds = [
            ("offset", (offset as u64).saturating_add(width as u64)),
            ("adjustment", adjustment.unsigned_abs()),
            ("strip", strip as u64),
        ];
        if let Some((name, bytes)) = bounds
            .iter()
            .find(|bound| bound.1 > HEADER_BYTES_MAX as u64)
        {
            return config(format!(
                "{name}: {bytes} bytes of header, at most {HEADER_BYTES_MAX}"
            ));
        }
        let framing = LengthField {
            offset: offset as u16,
            strip: strip as u16,
            adjustment: adjustment as i16,
            plain_u32: width == 4 && (offset, strip, adjustment) == (0, 4, 0),
            ..LengthField::prefix(width as u8)
        };
        // Checked with the length counting itself, so that `includes_length` cannot break it later.
        let told = framing.clone().includes_length().frame_bytes_told();
        if told < framing.header() as u64 || told < strip as u64 {
            return config(format!(
                "a length field of {width} bytes tells of frames up to {told} bytes, too few for the \
                 header with adjustment {adjustment} and strip {strip}"
            ));
        }
        if !framing.encodes() && !decode_only {
            return config(format!(
                "with offset {offset} and strip {strip} no frame can be made from its message: strip \
                 nothing, or exactly a length field that comes first, or say decode_only()"
            ));
        }
        Ok(framing)
    }
}

fn config(text: String) -> Result<LengthField, Error> {
    Err(Error::new(ErrorKind::Config, text))
}

#[cfg(test)]
mod law;
#[cfg(test)]
mod tests;
