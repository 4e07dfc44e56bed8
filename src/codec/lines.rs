//! Frames that are lines of text, or of anything.

use bytes::Bytes;
use memchr::{memchr, memchr2};

use super::frame_error::{BadFrames, FrameError, FrameErrorKind, OnFrameError};
use super::framed::{Framing, Scan};
use crate::buffer::Output;
use crate::error::Result;
use crate::limits::FRAME_BYTES_MAX;

const CR: u8 = b'\r';
const LF: u8 = b'\n';

/// Frames that are lines; their ends are taken off and put on.
///
/// ```
/// use bytes::BytesMut;
/// use netwheel::codec::{Codec, Framing, Lines};
///
/// let mut lines = Lines::new().frame_bytes_max(4096);
/// let mut input = BytesMut::from("one\r\ntwo\nthr");
/// assert_eq!(lines.decode(&mut input)?.as_deref(), Some(&b"one"[..]));
/// assert_eq!(lines.decode(&mut input)?.as_deref(), Some(&b"two"[..]));
/// assert_eq!(lines.decode(&mut input)?, None);
/// # Ok::<(), netwheel::Failure>(())
/// ```
///
/// | made by | a line ends with | a CR elsewhere | sent is |
/// |---|---|---|---|
/// | [`new()`](Self::new) | LF, or CR LF | is part of the line | LF |
/// | [`new()`](Self::new)[`.send_crlf()`](Self::send_crlf) | LF, or CR LF | is part of the line | CR LF |
/// | [`crlf()`](Self::crlf) | CR LF only | is an error, as is an LF without CR | CR LF |
///
/// Protocols that others pass on (mail, HTTP) need the strict form: where two programs do not agree on what
/// ends a line, a stranger can smuggle one past the first of them.
///
/// **The maximum counts the line without its end.** A line that is too long is reported as soon as that is
/// certain ([`FrameErrorKind::NoEnd`]), and closes the connection; after
/// [`on_error`](Self::on_error)`(OnFrameError::Skip)` the rest of the line is passed over instead. So is a line
/// with a lone CR or LF in the strict form, up to the next CR LF. A line that the end of the stream cuts off is
/// [truncated](FrameErrorKind::Truncated), and not handed over: half a command is none.
///
/// A message that holds an end of line is refused when it is sent, as it would arrive as two.
///
/// Threads: the connection's worker. Cost: each byte is looked at once (`memchr`), however it arrives. Limit:
/// a connection holds at most `frame_bytes_max` + 2 bytes of an unfinished line.
#[derive(Clone, Debug)]
pub struct Lines {
    bytes_max: usize,
    strict: bool,
    send_crlf: bool,
    bad_frames: BadFrames,
    /// Bytes of the input, from its front, that are known to end no line.
    scanned: usize,
    /// Whether the line at the front is bad and is being passed over.
    bad: bool,
}

impl Lines {
    /// Lines that end with LF or with CR LF, of up to 1 MiB; what is sent ends with LF.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            bytes_max: FRAME_BYTES_MAX,
            strict: false,
            send_crlf: false,
            bad_frames: BadFrames::new(),
            scanned: 0,
            bad: false,
        }
    }

    /// Lines that end with CR LF and with nothing else, of up to 1 MiB.
    #[must_use]
    pub const fn crlf() -> Self {
        Self {
            strict: true,
            send_crlf: true,
            ..Self::new()
        }
    }

    /// Sends CR LF, whatever is accepted.
    #[must_use]
    pub const fn send_crlf(mut self) -> Self {
        self.send_crlf = true;
        self
    }

    /// Sets the longest line, sent or received; 1 MiB ([`FRAME_BYTES_MAX`]) unless told otherwise.
    #[must_use]
    pub const fn frame_bytes_max(mut self, bytes: usize) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// Sets what becomes of a bad line; [`OnFrameError::Close`] unless told otherwise.
    #[must_use]
    pub const fn on_error(mut self, policy: OnFrameError) -> Self {
        self.bad_frames.policy = policy;
        self
    }

    /// A line of `bytes` bytes, whose end reaches to `len`.
    fn line(&mut self, bytes: usize, len: usize) -> Result<Scan, FrameErrorKind> {
        if bytes > self.bytes_max {
            return Err(self.no_end());
        }
        self.scanned = 0;
        let body = 0..bytes;
        Ok(Scan::Frame { body, len })
    }

    /// There is no end yet, behind `certain` bytes that are part of the line for certain.
    fn wait(&mut self, certain: usize, input: &[u8]) -> Result<Scan, FrameErrorKind> {
        if certain > self.bytes_max {
            return Err(self.no_end());
        }
        self.scanned = certain;
        Ok(Scan::More(input.len() + 1))
    }

    fn no_end(&self) -> FrameErrorKind {
        FrameErrorKind::NoEnd {
            max: self.bytes_max as u64,
        }
    }

    fn scan_lenient(&mut self, input: &[u8]) -> Result<Scan, FrameErrorKind> {
        match memchr(LF, &input[self.scanned..]) {
            Some(place) => {
                let end = self.scanned + place;
                self.line(without_cr(&input[..end]), end + 1)
            }
            None => self.wait(without_cr(input), input),
        }
    }

    fn scan_strict(&mut self, input: &[u8]) -> Result<Scan, FrameErrorKind> {
        let Some(place) = memchr2(CR, LF, &input[self.scanned..]) else {
            return self.wait(input.len(), input);
        };
        let end = self.scanned + place;
        match (input[end], input.get(end + 1)) {
            _ if end > self.bytes_max => Err(self.no_end()),
            (CR, None) => self.wait(end, input),
            (CR, Some(&LF)) => self.line(end, end + 2),
            (CR, _) => Err(FrameErrorKind::Malformed("a CR without an LF behind it")),
            _ => Err(FrameErrorKind::Malformed("an LF without a CR before it")),
        }
    }

    /// Passes over the bad line at the front: to its end, or all that is certainly no end.
    fn pass(&mut self, input: &[u8]) -> Scan {
        let mut from = self.scanned;
        while let Some(place) = memchr(LF, &input[from..]) {
            let end = from + place;
            if !self.strict || input[..end].ends_with(&[CR]) {
                (self.bad, self.scanned) = (false, 0);
                return Scan::Skip(end + 1);
            }
            from = end + 1;
        }
        self.scanned = 0;
        match without_cr(input) {
            0 => Scan::More(input.len() + 1),
            certain => Scan::Skip(certain),
        }
    }

    /// The end of a line to send, when `body` may be one.
    fn end_for(&self, body: &[u8]) -> Result<&'static [u8]> {
        let (bytes, max) = (body.len() as u64, self.bytes_max as u64);
        let holds_end = if self.strict {
            memchr2(CR, LF, body).is_some()
        } else {
            // Before an LF, a last CR would be taken for a part of the end.
            memchr(LF, body).is_some() || (!self.send_crlf && body.ends_with(&[CR]))
        };
        if bytes > max {
            return Err(FrameError::refused(FrameErrorKind::TooLong { bytes, max }));
        }
        if holds_end {
            let kind = FrameErrorKind::Malformed("a line that holds an end of line");
            return Err(FrameError::refused(kind));
        }
        Ok(if self.send_crlf { b"\r\n" } else { b"\n" })
    }
}

/// Bytes of `input` without a CR at its end.
fn without_cr(input: &[u8]) -> usize {
    input.strip_suffix(&[CR]).unwrap_or(input).len()
}

impl Default for Lines {
    fn default() -> Self {
        Self::new()
    }
}

impl Framing for Lines {
    #[inline]
    fn scan(&mut self, input: &[u8]) -> Result<Scan, FrameError> {
        if self.bad {
            return Ok(self.pass(input));
        }
        let scan = if self.strict {
            self.scan_strict(input)
        } else {
            self.scan_lenient(input)
        };
        scan.map_err(|kind| {
            self.bad = true;
            FrameError::new(kind, input)
        })
    }

    fn scan_eof(&mut self, input: &[u8]) -> Result<Scan, FrameError> {
        match self.scan(input)? {
            Scan::More(_) if self.bad => Ok(Scan::Skip(input.len())),
            Scan::More(min) if !input.is_empty() => {
                let bytes = input.len();
                let kind = FrameErrorKind::Truncated { bytes, min };
                self.scanned = 0;
                Err(FrameError::new(kind, input))
            }
            scan => Ok(scan),
        }
    }

    fn on_bad_frame(&mut self, _error: &FrameError) -> OnFrameError {
        self.bad_frames.note()
    }

    fn take_skips(&mut self) -> u64 {
        self.bad_frames.take_skips()
    }

    fn begin(&mut self, _dst: &mut Vec<u8>) {}

    fn end(&mut self, dst: &mut Vec<u8>, start: usize) -> Result<()> {
        let end = self.end_for(&dst[start..])?;
        dst.extend_from_slice(end);
        Ok(())
    }

    fn wrap(&mut self, body: Bytes, dst: &mut Output) -> Result<()> {
        let end = self.end_for(&body)?;
        dst.push(body);
        dst.put(end);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
