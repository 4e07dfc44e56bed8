//! What is wrong with a frame, and what becomes of it.

use std::error::Error as StdError;
use std::fmt;

use crate::error::{CloseReason, Failure};

/// Bytes of the input that an error shows: a header, or the first words of a stranger's protocol.
const FIRST_BYTES_MAX: usize = 16;

/// How requests and answers of HTTP begin, with the opening of HTTP/2 among them.
const HTTP_STARTS: [&[u8]; 11] = [
    b"GET ", b"PUT ", b"HEAD", b"POST", b"PATC", b"DELE", b"OPTI", b"CONN", b"TRAC", b"PRI ",
    b"HTTP",
];

/// How a record of TLS begins that carries a handshake: its type, then the major version.
const TLS_START: &[u8] = &[0x16, 0x03];

/// What a framing does about a bad frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum OnFrameError {
    /// The connection closes with the error's [`reason`](FrameError::reason).
    ///
    /// The default, because what follows a bad length is a guess.
    #[default]
    Close,
    /// The frame is passed over, counted and logged at debug; decoding goes on behind it.
    Skip,
}

/// What is wrong with a frame, in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FrameErrorKind {
    /// The message is longer than is allowed.
    TooLong {
        /// Bytes of the message, or what the peer claims they will be.
        bytes: u64,
        /// The most that is allowed.
        max: u64,
    },
    /// The message does not end where it has to at the latest: how long it gets is not waited for.
    NoEnd {
        /// The most bytes that are allowed.
        max: u64,
    },
    /// The frame is shorter than its layout needs.
    TooShort {
        /// Bytes of the frame.
        bytes: u64,
        /// The fewest that will do.
        min: u64,
    },
    /// The length is negative: only an eight-byte field can say so.
    NegativeLength {
        /// The field's value.
        value: i64,
    },
    /// The length is smaller than the bytes that it always counts.
    LengthBelowHeader {
        /// The field's value.
        value: u64,
        /// The smallest that makes sense.
        min: u64,
    },
    /// The length is so large that the frame's end cannot be computed in 63 bits.
    LengthOverflow {
        /// The field's value.
        value: u64,
    },
    /// The stream ended inside a frame.
    Truncated {
        /// Bytes of the frame that arrived.
        bytes: usize,
        /// Bytes that it has at the least.
        min: usize,
    },
    /// Something else that the framing names.
    Malformed(&'static str),
}

impl fmt::Display for FrameErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooLong { bytes, max } => {
                write!(
                    f,
                    "a message of {bytes} bytes, where at most {max} are allowed"
                )
            }
            Self::NoEnd { max } => {
                write!(
                    f,
                    "a message without an end in the {max} bytes that are allowed"
                )
            }
            Self::TooShort { bytes, min } => {
                write!(
                    f,
                    "a message of {bytes} bytes, where at least {min} are needed"
                )
            }
            Self::NegativeLength { value } => write!(f, "a negative length, {value}"),
            Self::LengthBelowHeader { value, min } => {
                write!(
                    f,
                    "a length of {value}, where the header alone counts for {min}"
                )
            }
            Self::LengthOverflow { value } => write!(f, "a length of {value}, beyond any frame"),
            Self::Truncated { bytes, min } => {
                write!(
                    f,
                    "the stream ended {bytes} bytes into a frame of {min} or more"
                )
            }
            Self::Malformed(what) => f.write_str(what),
        }
    }
}

/// What is wrong with a frame, with the first bytes of it and a guess at who sent them.
///
/// ```
/// use netwheel::codec::{FrameError, FrameErrorKind};
///
/// let kind = FrameErrorKind::TooLong { bytes: 1_195_725_860, max: 1 << 20 };
/// let error = FrameError::new(kind, b"GET / HTTP/1.1\r\n\r\n");
/// assert_eq!(
///     error.to_string(),
///     "a message of 1195725860 bytes, where at most 1048576 are allowed; \
///      it begins with 47 45 54 20 2f 20 48 54 54 50 2f 31 2e 31 0d 0a, which looks like HTTP"
/// );
/// ```
///
/// Cost: no heap memory, however many bytes the peer sent or claims to send.
#[derive(Clone, PartialEq, Eq)]
pub struct FrameError {
    kind: FrameErrorKind,
    first: [u8; FIRST_BYTES_MAX],
    shown: u8,
}

impl FrameError {
    /// An error of `kind`, met at the front of `input`; keeps a copy of at most 16 bytes.
    #[must_use]
    pub fn new(kind: FrameErrorKind, input: &[u8]) -> Self {
        let mut first = [0; FIRST_BYTES_MAX];
        let shown = input.len().min(FIRST_BYTES_MAX);
        first[..shown].copy_from_slice(&input[..shown]);
        Self {
            kind,
            first,
            shown: shown as u8,
        }
    }

    /// What is wrong.
    ///
    /// For one stream of bytes it is always the same, however the stream was cut into reads.
    #[must_use]
    pub fn kind(&self) -> FrameErrorKind {
        self.kind
    }

    /// The first bytes of the frame, at most 16: as many of them as had arrived.
    #[must_use]
    pub fn first_bytes(&self) -> &[u8] {
        &self.first[..usize::from(self.shown)]
    }

    /// The reason that a connection closes with on this error.
    ///
    /// [`OverLimit`](CloseReason::OverLimit) for what is too long;
    /// [`PeerClosed`](CloseReason::PeerClosed) for a stream that ended inside a frame, as for any other
    /// end of the stream; [`ProtocolError`](CloseReason::ProtocolError) for the rest.
    #[must_use]
    pub fn reason(&self) -> CloseReason {
        match self.kind {
            FrameErrorKind::TooLong { .. }
            | FrameErrorKind::NoEnd { .. }
            | FrameErrorKind::LengthOverflow { .. } => CloseReason::OverLimit,
            FrameErrorKind::Truncated { .. } => CloseReason::PeerClosed,
            _ => CloseReason::ProtocolError,
        }
    }

    /// The failure that closes a connection with this error as its cause.
    ///
    /// For codecs that call a [`Framing`](super::Framing) themselves: a bare `?` would close with
    /// [`CloseReason::IoError`].
    #[must_use]
    pub fn into_failure(self) -> Failure {
        Failure::with(self.reason(), self)
    }

    /// Why a message of our own is not sent: over a limit, or a mistake of the program's.
    pub(super) fn refused(kind: FrameErrorKind) -> Failure {
        let reason = match kind {
            FrameErrorKind::TooLong { .. } => CloseReason::OverLimit,
            _ => CloseReason::IoError,
        };
        Failure::with(reason, Self::new(kind, &[]))
    }

    /// The protocol that the first bytes belong to, where they give it away.
    fn stranger(&self) -> Option<&'static str> {
        let first = self.first_bytes();
        if HTTP_STARTS.iter().any(|start| first.starts_with(start)) {
            Some("HTTP")
        } else if first.starts_with(TLS_START) {
            Some("TLS")
        } else {
            None
        }
    }
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind.fmt(f)?;
        if self.shown > 0 {
            f.write_str("; it begins with")?;
        }
        for byte in self.first_bytes() {
            write!(f, " {byte:02x}")?;
        }
        match self.stranger() {
            Some(protocol) => write!(f, ", which looks like {protocol}"),
            None => Ok(()),
        }
    }
}

impl fmt::Debug for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FrameError({self})")
    }
}

impl StdError for FrameError {}

/// What a framing does about its bad frames, and how many it has passed over.
#[derive(Clone, Copy, Debug)]
pub(super) struct BadFrames {
    pub(super) policy: OnFrameError,
    /// Four bytes, since every idle connection has them.
    skips: u32,
}

impl BadFrames {
    pub(super) const fn new() -> Self {
        Self {
            policy: OnFrameError::Close,
            skips: 0,
        }
    }

    /// Counts a bad frame and says what becomes of it: see [`Framing::on_bad_frame`](super::Framing).
    pub(super) fn note(&mut self) -> OnFrameError {
        let skipped = u32::from(self.policy == OnFrameError::Skip);
        self.skips = self.skips.saturating_add(skipped);
        self.policy
    }

    /// Those passed over since this was last asked.
    pub(super) fn take_skips(&mut self) -> u64 {
        u64::from(std::mem::take(&mut self.skips))
    }
}
