//! Frames that end with bytes of one's own choice.

use std::sync::Arc;

use bytes::Bytes;
use memchr::{memchr, memchr2, memchr3};

use super::frame_error::{BadFrames, FrameError, FrameErrorKind, OnFrameError};
use super::framed::{Framing, Scan};
use crate::buffer::Output;
use crate::error::{Error, ErrorKind, Result};
use crate::limits::FRAME_BYTES_MAX;

/// Frames that end with a delimiter, or with the first of several.
///
/// ```
/// use bytes::BytesMut;
/// use netwheel::codec::{Codec, Delimiter, Framing};
///
/// let mut framing = Delimiter::new("$_").frame_bytes_max(1024);
/// let mut input = BytesMut::from("bbbb$_cccc$_dd$");
/// assert_eq!(framing.decode(&mut input)?.as_deref(), Some(&b"bbbb"[..]));
/// assert_eq!(framing.decode(&mut input)?.as_deref(), Some(&b"cccc"[..]));
/// assert_eq!(framing.decode(&mut input)?, None);
/// # Ok::<(), netwheel::Failure>(())
/// ```
/// Of [several](Self::any_of), the one counts that makes the shortest frame, as in Netty. Where one delimiter
/// stands inside another, the choice would depend on how the stream was cut; such a set is refused. What is
/// sent ends with the first one of the list. For lines, see [`Lines`](super::Lines).
///
/// **The maximum counts the message without its delimiter.** A frame that is too long is reported as soon as
/// that is certain ([`FrameErrorKind::NoEnd`]), and closes the connection; after
/// [`on_error`](Self::on_error)`(OnFrameError::Skip)` it is passed over instead, up to its delimiter, also where
/// that arrives in pieces.
///
/// A message that would arrive otherwise than it was sent, because it holds a delimiter, is refused.
///
/// Threads: the connection's worker; clones share their delimiters. Cost: each byte is looked at once
/// (`memchr` for the delimiters' last bytes), however it arrives. Limit: a connection holds at most
/// `frame_bytes_max` and the longest delimiter of an unfinished frame.
#[derive(Clone, Debug)]
pub struct Delimiter {
    set: Arc<Set>,
    bytes_max: usize,
    keep: bool,
    bad_frames: BadFrames,
    /// Bytes of the input, from its front, at which no delimiter ends.
    scanned: usize,
    /// Whether the frame at the front is bad and is being passed over.
    bad: bool,
}

impl Delimiter {
    /// Frames that end with `delimiter`, of up to 1 MiB.
    ///
    /// # Panics
    ///
    /// When `delimiter` is empty.
    #[must_use]
    pub fn new(delimiter: impl AsRef<[u8]>) -> Self {
        Self::any_of([delimiter]).expect("a delimiter has at least one byte")
    }

    /// Frames that end with one of `delimiters`, of up to 1 MiB; what is sent ends with the first.
    ///
    /// ```
    /// use netwheel::codec::Delimiter;
    ///
    /// assert!(Delimiter::any_of(["\r\n", "\n", "\0"]).is_ok());
    /// assert!(Delimiter::any_of(["ab", "a"]).is_err(), "an `ab` would never be found");
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] for no delimiter, an empty one, or one that stands inside another but not at its
    /// end.
    pub fn any_of(delimiters: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<Self, Error> {
        Ok(Self {
            set: Arc::new(Set::new(delimiters)?),
            bytes_max: FRAME_BYTES_MAX,
            keep: false,
            bad_frames: BadFrames::new(),
            scanned: 0,
            bad: false,
        })
    }

    /// Leaves the delimiter at the end of each message; one that is sent has to bring its own.
    #[must_use]
    pub fn keep(mut self) -> Self {
        self.keep = true;
        self
    }

    /// Sets the longest message, sent or received, without its delimiter; 1 MiB ([`FRAME_BYTES_MAX`]) unless
    /// told otherwise.
    #[must_use]
    pub fn frame_bytes_max(mut self, bytes: usize) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// Sets what becomes of a bad frame; [`OnFrameError::Close`] unless told otherwise.
    #[must_use]
    pub fn on_error(mut self, policy: OnFrameError) -> Self {
        self.bad_frames.policy = policy;
        self
    }

    /// What is found at the front, with no bad frame there, and how far the input is known then.
    fn look(&self, input: &[u8]) -> (Option<Scan>, usize) {
        match self.set.find(input, self.scanned) {
            Some((start, end)) if start > self.bytes_max => (None, end - 1),
            Some((start, end)) => {
                let body = 0..if self.keep { end } else { start };
                (Some(Scan::Frame { body, len: end }), 0)
            }
            None if self.set.certain(input) > self.bytes_max => (None, input.len()),
            None => (Some(Scan::More(input.len() + 1)), input.len()),
        }
    }

    /// Passes over the bad frame at the front: to its end, or all that cannot be part of one.
    fn pass(&mut self, input: &[u8]) -> Scan {
        if let Some((_, end)) = self.set.find(input, self.scanned) {
            (self.bad, self.scanned) = (false, 0);
            return Scan::Skip(end);
        }
        self.scanned = input.len().min(self.set.longest() - 1);
        match input.len() - self.scanned {
            0 => Scan::More(input.len() + 1),
            certain => Scan::Skip(certain),
        }
    }

    /// What to put behind `body`, when it may be sent.
    fn end_for(&self, body: &[u8]) -> Result<&[u8]> {
        let message = if self.keep {
            self.set.whole(body)?
        } else {
            self.set.open(body)?
        };
        let (bytes, max) = (message as u64, self.bytes_max as u64);
        if bytes > max {
            return Err(FrameError::refused(FrameErrorKind::TooLong { bytes, max }));
        }
        Ok(if self.keep { &[] } else { &self.set.sent })
    }
}

impl Framing for Delimiter {
    #[inline]
    fn scan(&mut self, input: &[u8]) -> Result<Scan, FrameError> {
        if self.bad {
            return Ok(self.pass(input));
        }
        let (scan, scanned) = self.look(input);
        (self.bad, self.scanned) = (scan.is_none(), scanned);
        scan.ok_or_else(|| {
            let max = self.bytes_max as u64;
            FrameError::new(FrameErrorKind::NoEnd { max }, input)
        })
    }

    fn scan_eof(&mut self, input: &[u8]) -> Result<Scan, FrameError> {
        match self.scan(input)? {
            Scan::More(_) if self.bad => {
                self.scanned = 0;
                Ok(Scan::Skip(input.len()))
            }
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

/// Delimiters of which none stands inside another, but perhaps at its end.
///
/// So the first byte at which any of them is complete ends the shortest frame, whatever comes behind it; of
/// those that end there, the longest leaves the shortest message.
#[derive(Debug)]
struct Set {
    /// Longest first.
    delimiters: Vec<Box<[u8]>>,
    sent: Box<[u8]>,
    /// The last bytes of all of them, each once.
    lasts: Vec<u8>,
}

impl Set {
    fn new(delimiters: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Result<Self, Error> {
        let listed = delimiters.into_iter();
        let mut delimiters: Vec<Box<[u8]>> = listed.map(|one| one.as_ref().into()).collect();
        let Some(sent) = delimiters.first().cloned() else {
            return config("a frame ends with at least one delimiter; none was given".into());
        };
        check(&delimiters)?;
        delimiters.sort_by_key(|delimiter| std::cmp::Reverse(delimiter.len()));
        let mut lasts: Vec<_> = delimiters
            .iter()
            .filter_map(|one| one.last().copied())
            .collect();
        lasts.sort_unstable();
        lasts.dedup();
        Ok(Self {
            delimiters,
            sent,
            lasts,
        })
    }

    fn longest(&self) -> usize {
        self.delimiters[0].len()
    }

    /// Where the first delimiter starts and ends that does not end before `from`.
    #[inline]
    fn find(&self, input: &[u8], mut from: usize) -> Option<(usize, usize)> {
        while let Some(place) = self.find_last_byte(&input[from..]) {
            from += place + 1;
            let mut fitting = self.delimiters.iter();
            if let Some(found) = fitting.find(|one| input[..from].ends_with(one)) {
                return Some((from - found.len(), from));
            }
        }
        None
    }

    #[inline]
    fn find_last_byte(&self, input: &[u8]) -> Option<usize> {
        match *self.lasts {
            [one] => memchr(one, input),
            [one, two] => memchr2(one, two, input),
            [one, two, three] => memchr3(one, two, three, input),
            _ => input.iter().position(|byte| self.lasts.contains(byte)),
        }
    }

    /// Bytes of `input`, which holds no delimiter, that are part of no delimiter whatever comes behind them.
    fn certain(&self, input: &[u8]) -> usize {
        let first = input.len().saturating_sub(self.longest() - 1);
        let begins = |start: &usize| {
            let mut delimiters = self.delimiters.iter();
            delimiters.any(|one| one.starts_with(&input[*start..]))
        };
        (first..input.len()).find(begins).unwrap_or(input.len())
    }

    /// The length of a message that is to get the delimiter that is sent.
    fn open(&self, body: &[u8]) -> Result<usize> {
        // A delimiter that begins in the body and ends with what comes behind it.
        let crosses = |one: &[u8]| {
            let mut cuts = 1..one.len();
            cuts.any(|cut| body.ends_with(&one[..cut]) && self.sent.starts_with(&one[cut..]))
        };
        if self.find(body, 0).is_some() || self.delimiters.iter().any(|one| crosses(one)) {
            let kind = FrameErrorKind::Malformed("a message that holds a delimiter");
            return Err(FrameError::refused(kind));
        }
        Ok(body.len())
    }

    /// The length, without its delimiter, of a message that brings one.
    fn whole(&self, body: &[u8]) -> Result<usize> {
        match self.find(body, 0) {
            Some((start, end)) if end == body.len() => Ok(start),
            _ => {
                let kind = FrameErrorKind::Malformed("a message without one delimiter, at its end");
                Err(FrameError::refused(kind))
            }
        }
    }
}

/// Refuses an empty delimiter, and one inside another: its frame would end before the other's end is known.
fn check(delimiters: &[Box<[u8]>]) -> Result<(), Error> {
    if delimiters.iter().any(|one| one.is_empty()) {
        return config("a delimiter has at least one byte; one of them has none".into());
    }
    let pairs = delimiters
        .iter()
        .flat_map(|outer| delimiters.iter().map(move |inner| (outer, inner)));
    for (outer, inner) in pairs {
        let body = &outer[..outer.len() - 1];
        if body.windows(inner.len()).any(|window| window == &**inner) {
            let (inner, outer) = (inner.escape_ascii(), outer.escape_ascii());
            return config(format!(
                "the delimiter \"{outer}\" would never be found, because \"{inner}\" stands inside it; \
                 leave one of them out"
            ));
        }
    }
    Ok(())
}

fn config<T>(text: String) -> Result<T, Error> {
    Err(Error::new(ErrorKind::Config, text))
}

#[cfg(test)]
mod tests;
