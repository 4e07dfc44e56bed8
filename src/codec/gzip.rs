//! Messages that are compressed.

use std::cell::Cell;

use flate2::{Compress, Compression, Crc, Decompress, FlushCompress, FlushDecompress, Status};

use super::Body;
use super::frame_error::{FrameError, FrameErrorKind};
use crate::error::{Failure, Result};
use crate::limits::FRAME_BYTES_MAX;

/// What a member of gzip begins with when nothing is said of its origin: magic number, deflate, no flags, no
/// time, no hints, an unknown system.
const HEADER: [u8; 10] = [0x1F, 0x8B, 8, 0, 0, 0, 0, 0, 0, 255];

/// Bytes behind the compressed ones: a checksum, then the length modulo 2^32.
const TRAILER_BYTES: usize = 8;

/// Bytes that a thread keeps for inflated messages between two uses.
const PLAIN_KEPT_MAX: usize = 64 * 1024;

/// Bytes by which memory grows at the least.
const STEP_BYTES: usize = 4096;

/// Another body, compressed with gzip. Needs the feature `gzip`.
///
/// ```
/// use netwheel::codec::{Body, Framing, Gzip, LengthField, Utf8};
///
/// let mut body = Gzip::new(Utf8::new()).inflated_bytes_max(64 << 10);
/// let mut wire = Vec::new();
/// body.encode("na ".repeat(1000), &mut wire)?;
/// assert!(wire.len() < 60);
/// assert_eq!(body.decode(&wire)?.len(), 3000);
///
/// let codec = LengthField::u32().then(body);
/// # Ok::<(), netwheel::Failure>(())
/// ```
/// Each message is one gzip member (RFC 1952), with its checksum, and stands by itself. What is none closes the
/// connection with `protocol_error`, as do bytes behind it.
///
/// **The limit counts inflated bytes**, and is checked while they come: a few bytes that stand for gigabytes (a
/// "zip bomb") close the connection with `over_limit` before memory grows. The framing's own maximum counts the
/// compressed ones.
///
/// Threads: the connection's worker. Cost: compressing takes its time, on the worker; each thread that does it
/// keeps about 350 KiB for the purpose and up to 64 KiB of the last message, so that no message allocates.
/// Limit: `inflated_bytes_max` in both directions, 1 MiB unless told otherwise.
#[derive(Clone, Debug)]
pub struct Gzip<B> {
    body: B,
    bytes_max: usize,
    level: Compression,
}

impl<B: Body> Gzip<B> {
    /// Compresses what `body` writes, and inflates what it reads.
    #[must_use]
    pub fn new(body: B) -> Self {
        Self {
            body,
            bytes_max: FRAME_BYTES_MAX,
            level: Compression::default(),
        }
    }

    /// Sets the longest message before compression; 1 MiB ([`FRAME_BYTES_MAX`]) unless told otherwise.
    #[must_use]
    pub fn inflated_bytes_max(mut self, bytes: usize) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// Sets how hard to try, from 0 (not at all) over 1 (fast) to 9; 6 unless told otherwise.
    ///
    /// # Panics
    ///
    /// When `level` is above 9.
    #[must_use]
    pub fn level(mut self, level: u32) -> Self {
        assert!(level <= 9, "a level of compression is 0 to 9");
        self.level = Compression::new(level);
        self
    }

    fn check(&self, bytes: usize) -> Result<()> {
        let (bytes, max) = (bytes as u64, self.bytes_max as u64);
        if bytes > max {
            let kind = FrameErrorKind::TooLong { bytes, max };
            return Err(FrameError::refused(kind));
        }
        Ok(())
    }
}

impl<B: Body> Body for Gzip<B> {
    type In = B::In;
    type Out = B::Out;

    fn decode(&mut self, frame: &[u8]) -> Result<B::In> {
        with_work(|work| {
            work.inflate(frame, self.bytes_max)?;
            self.body.decode(&work.plain)
        })
    }

    fn encode(&mut self, out: B::Out, dst: &mut Vec<u8>) -> Result<()> {
        with_work(|work| {
            self.body.encode(out, &mut work.plain)?;
            self.check(work.plain.len())?;
            work.deflate(self.level, dst)
        })
    }

    fn weigh(out: &B::Out) -> usize {
        B::weigh(out)
    }
}

/// What compressing needs, kept by each thread for the next message.
#[derive(Default)]
struct Work {
    plain: Vec<u8>,
    deflater: Option<(Compression, Compress)>,
    inflater: Option<Decompress>,
}

thread_local! {
    static WORK: Cell<Option<Box<Work>>> = const { Cell::new(None) };
}

/// Lends the thread's own; a body within a body finds none, and makes one.
fn with_work<T>(run: impl FnOnce(&mut Work) -> T) -> T {
    let mut work = WORK.take().unwrap_or_default();
    work.plain.clear();
    let answer = run(&mut work);
    if work.plain.capacity() > PLAIN_KEPT_MAX {
        work.plain = Vec::new();
    }
    WORK.set(Some(work));
    answer
}

impl Work {
    /// Appends what is plain to `dst`, as one member.
    fn deflate(&mut self, level: Compression, dst: &mut Vec<u8>) -> Result<()> {
        self.deflater.take_if(|(made_for, _)| *made_for != level);
        let (_, deflater) = self
            .deflater
            .get_or_insert_with(|| (level, Compress::new(level, false)));
        deflater.reset();
        dst.extend_from_slice(&HEADER);
        loop {
            let rest = &self.plain[deflater.total_in() as usize..];
            dst.reserve(STEP_BYTES.max(rest.len() / 4));
            if deflater.compress_vec(rest, dst, FlushCompress::Finish)? == Status::StreamEnd {
                break;
            }
        }
        dst.extend_from_slice(&trailer(&self.plain));
        Ok(())
    }

    /// Makes plain the one member that `frame` is, of at most `max` bytes.
    fn inflate(&mut self, frame: &[u8], max: usize) -> Result<()> {
        let packed =
            behind_header(frame).ok_or_else(|| Failure::protocol("a message that is not gzip"))?;
        let inflater = self.inflater.get_or_insert_with(|| Decompress::new(false));
        inflater.reset(false);
        loop {
            let (taken, had) = (inflater.total_in(), self.plain.len());
            make_room(&mut self.plain, max)?;
            let rest = &packed[taken as usize..];
            let status = inflater.decompress_vec(rest, &mut self.plain, FlushDecompress::None);
            if status.map_err(Failure::protocol)? == Status::StreamEnd {
                break;
            }
            if (inflater.total_in(), self.plain.len()) == (taken, had) {
                return Err(Failure::protocol("a gzip message that is cut off"));
            }
        }
        // Room may have been there from earlier messages.
        over_limit(self.plain.len(), max)?;
        if packed[inflater.total_in() as usize..] != trailer(&self.plain) {
            return Err(Failure::protocol("a gzip message with a wrong checksum"));
        }
        Ok(())
    }
}

/// Sees to it that another byte fits, unless there are too many already.
fn make_room(plain: &mut Vec<u8>, max: usize) -> Result<()> {
    let bytes = plain.len();
    over_limit(bytes, max)?;
    if bytes == plain.capacity() {
        // One more than is allowed, to see whether it comes.
        let left = (max - bytes).saturating_add(1);
        plain.reserve_exact(bytes.max(STEP_BYTES).min(left));
    }
    Ok(())
}

fn over_limit(bytes: usize, max: usize) -> Result<()> {
    if bytes <= max {
        return Ok(());
    }
    let kind = FrameErrorKind::NoEnd { max: max as u64 };
    Err(FrameError::new(kind, &[]).into_failure())
}

/// The checksum and the length of what is plain.
fn trailer(plain: &[u8]) -> [u8; TRAILER_BYTES] {
    let mut crc = Crc::new();
    crc.update(plain);
    let mut trailer = [0; TRAILER_BYTES];
    trailer[..4].copy_from_slice(&crc.sum().to_le_bytes());
    trailer[4..].copy_from_slice(&(plain.len() as u32).to_le_bytes());
    trailer
}

/// What stands behind the header of a member, with the fields that its flags tell of; `None` if it has none.
fn behind_header(frame: &[u8]) -> Option<&[u8]> {
    let (header, mut rest) = frame.split_at_checked(HEADER.len())?;
    let flags = header[3];
    if header[..3] != HEADER[..3] || flags & 0xE0 != 0 {
        return None;
    }
    if flags & 4 != 0 {
        let (length, behind) = rest.split_first_chunk()?;
        rest = behind.get(usize::from(u16::from_le_bytes(*length))..)?;
    }
    // A name, a comment.
    for flag in [8, 16] {
        if flags & flag != 0 {
            rest = &rest[memchr::memchr(0, rest)? + 1..];
        }
    }
    // A checksum of the header.
    rest.get(usize::from(flags & 2)..)
}

#[cfg(test)]
mod tests;
