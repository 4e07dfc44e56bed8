//! The words for what went wrong, and who caused it.
//!
//! Four types, one for each place an error is met: [`Error`] when something is started or configured,
//! [`Failure`] inside callbacks, [`TrySendError`] when a message is refused and given back, and
//! [`CloseReason`] for why a connection ended.

use std::error::Error as StdError;
use std::fmt;
use std::io;

/// What callbacks return: `Ok`, or a [`Failure`] that closes the connection.
pub type Result<T = (), E = Failure> = std::result::Result<T, E>;

/// Who caused a connection to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Initiator {
    /// The program that uses the crate: a handler, a handle, a shutdown.
    User,
    /// The crate itself: a limit, a deadline.
    Library,
    /// The other side of the connection, or the network.
    Remote,
}

/// Why a connection ended; each connection that opened gets exactly one, in its last event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The peer finished sending (FIN) and everything was answered.
    PeerClosed,
    /// The peer or the network broke the connection (RST, timeout of the kernel).
    Reset,
    /// The program closed it.
    Local,
    /// Nothing arrived or left for the idle time.
    Idle,
    /// The handshake or the connect took longer than its deadline.
    HandshakeTimeout,
    /// A frame was begun and not finished within its deadline.
    FrameTimeout,
    /// Bytes waited for the peer to read and none left within the deadline, or too few.
    WriteStall,
    /// The peer sent what the protocol does not allow.
    ProtocolError,
    /// A limit was passed: frame, queue, memory; or an idle connection made way for another.
    OverLimit,
    /// The connection was not let in, or a connect was refused.
    Refused,
    /// Another connection holds the same login.
    Duplicate,
    /// The peer missed its heartbeats.
    HeartbeatLost,
    /// A handler, stage or codec panicked.
    Panic,
    /// The system reported an error, or a callback failed with one.
    IoError,
    /// The server or the reactor was shut down.
    Shutdown,
}

impl CloseReason {
    /// Every reason, in the order of the enum: for counters and tables.
    pub const ALL: [Self; 15] = [
        Self::PeerClosed,
        Self::Reset,
        Self::Local,
        Self::Idle,
        Self::HandshakeTimeout,
        Self::FrameTimeout,
        Self::WriteStall,
        Self::ProtocolError,
        Self::OverLimit,
        Self::Refused,
        Self::Duplicate,
        Self::HeartbeatLost,
        Self::Panic,
        Self::IoError,
        Self::Shutdown,
    ];

    /// The reason's name in snake case, as it stands in logs, counters and stats files.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::PeerClosed => "peer_closed",
            Self::Reset => "reset",
            Self::Local => "local",
            Self::Idle => "idle",
            Self::HandshakeTimeout => "handshake_timeout",
            Self::FrameTimeout => "frame_timeout",
            Self::WriteStall => "write_stall",
            Self::ProtocolError => "protocol_error",
            Self::OverLimit => "over_limit",
            Self::Refused => "refused",
            Self::Duplicate => "duplicate",
            Self::HeartbeatLost => "heartbeat_lost",
            Self::Panic => "panic",
            Self::IoError => "io_error",
            Self::Shutdown => "shutdown",
        }
    }

    /// Who caused it.
    #[must_use]
    pub const fn initiator(self) -> Initiator {
        match self {
            Self::PeerClosed | Self::Reset | Self::ProtocolError => Initiator::Remote,
            Self::Local | Self::Refused | Self::Duplicate | Self::Panic | Self::Shutdown => {
                Initiator::User
            }
            Self::Idle
            | Self::HandshakeTimeout
            | Self::FrameTimeout
            | Self::WriteStall
            | Self::OverLimit
            | Self::HeartbeatLost
            | Self::IoError => Initiator::Library,
        }
    }

    /// The reason that an error of a socket stands for.
    #[must_use]
    pub fn of_io(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
            | io::ErrorKind::TimedOut
            | io::ErrorKind::NotConnected => Self::Reset,
            io::ErrorKind::ConnectionRefused => Self::Refused,
            io::ErrorKind::UnexpectedEof => Self::PeerClosed,
            io::ErrorKind::InvalidData => Self::ProtocolError,
            _ => Self::IoError,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Why a callback failed: closes the connection with [`reason`](Self::reason).
///
/// Any standard error becomes one by `?`, so handlers read like ordinary code. It is not itself a
/// `std::error::Error`, which is what makes that `?` possible (as in `anyhow`).
///
/// Cost: one pointer; a `Result<()>` fits a register.
pub struct Failure(Box<FailureInner>);

struct FailureInner {
    reason: CloseReason,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

impl Failure {
    /// A failure that closes with `reason` and needs no further words.
    #[must_use]
    pub fn new(reason: CloseReason) -> Self {
        Self(Box::new(FailureInner {
            reason,
            source: None,
        }))
    }

    /// A failure of the program's own, told in words; closes with [`CloseReason::IoError`].
    #[must_use]
    pub fn msg(text: impl Into<String>) -> Self {
        Self::with(CloseReason::IoError, text.into())
    }

    /// A failure with a reason and its cause, an error or a string.
    #[must_use]
    pub fn with(reason: CloseReason, cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self(Box::new(FailureInner {
            reason,
            source: Some(cause.into()),
        }))
    }

    /// What the peer sent breaks the protocol; closes with [`CloseReason::ProtocolError`].
    #[must_use]
    pub fn protocol(cause: impl Into<Box<dyn StdError + Send + Sync>>) -> Self {
        Self::with(CloseReason::ProtocolError, cause)
    }

    /// Gives a failure that names no reason of its own this one.
    #[must_use]
    pub(crate) fn blame(mut self, reason: CloseReason) -> Self {
        if self.0.reason == CloseReason::IoError {
            self.0.reason = reason;
        }
        self
    }

    /// The reason that the connection closes with.
    #[must_use]
    pub fn reason(&self) -> CloseReason {
        self.0.reason
    }

    /// The cause, where there is one: for a `downcast_ref` to the error that `?` carried here.
    #[must_use]
    pub fn cause(&self) -> Option<&(dyn StdError + Send + Sync + 'static)> {
        self.0.source.as_deref()
    }
}

impl<E: StdError + Send + Sync + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let source: Box<dyn StdError + Send + Sync> = Box::new(error);
        let reason = match source.downcast_ref::<io::Error>() {
            Some(error) => CloseReason::of_io(error),
            None if source.is::<DuplicateLogin>() => CloseReason::Duplicate,
            None => CloseReason::IoError,
        };
        Self::with(reason, source)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0.source {
            Some(source) => write!(f, "{}: {source}", self.0.reason),
            None => self.0.reason.fmt(f),
        }
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What kind of thing went wrong at start-up or in a call from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The address is taken, or not this machine's.
    Address,
    /// A setting makes no sense; the text says which and what would.
    Config,
    /// The call is not allowed here, such as a blocking wait on an I/O thread.
    Misuse,
    /// The reactor, server or connection has ended.
    Closed,
    /// The time given has passed.
    Timeout,
    /// A bound of the crate was reached; the text says which.
    OverLimit,
    /// The operating system refused.
    Io,
}

/// What went wrong when something was started, configured or awaited.
pub struct Error {
    kind: ErrorKind,
    text: String,
    source: Option<io::Error>,
}

impl Error {
    /// An error of `kind`, told in words that say what to do.
    #[must_use]
    pub fn new(kind: ErrorKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            text: text.into(),
            source: None,
        }
    }

    pub(crate) fn io(doing: impl Into<String>, source: io::Error) -> Self {
        let kind = match source.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::AddrNotAvailable => ErrorKind::Address,
            io::ErrorKind::TimedOut => ErrorKind::Timeout,
            _ => ErrorKind::Io,
        };
        Self {
            kind,
            text: doing.into(),
            source: Some(source),
        }
    }

    /// What kind of thing went wrong.
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.source {
            Some(source) => write!(f, "{}: {source}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self} ({:?})", self.kind)
    }
}

impl StdError for Error {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        self.source
            .as_ref()
            .map(|source| source as &(dyn StdError + 'static))
    }
}

impl From<Error> for io::Error {
    fn from(error: Error) -> Self {
        let kind = match (&error.source, error.kind) {
            (Some(source), _) => source.kind(),
            (None, ErrorKind::Config | ErrorKind::Misuse) => io::ErrorKind::InvalidInput,
            (None, ErrorKind::Timeout) => io::ErrorKind::TimedOut,
            (None, ErrorKind::Address) => io::ErrorKind::AddrNotAvailable,
            (None, ErrorKind::Closed) => io::ErrorKind::NotConnected,
            (None, ErrorKind::OverLimit) => io::ErrorKind::QuotaExceeded,
            (None, ErrorKind::Io) => io::ErrorKind::Other,
        };
        Self::new(kind, error)
    }
}

/// A message that was not taken, and comes back.
#[derive(Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum TrySendError<T> {
    /// A bound was reached; try again once the connection is writable.
    Full(T),
    /// The connection has gone.
    Closed(T),
    /// The client is between two connections; try again once it is up.
    Down(T),
}

impl<T> TrySendError<T> {
    /// The message.
    pub fn into_inner(self) -> T {
        match self {
            Self::Full(message) | Self::Closed(message) | Self::Down(message) => message,
        }
    }

    /// The same refusal of what `f` makes of the message.
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> TrySendError<U> {
        match self {
            Self::Full(message) => TrySendError::Full(f(message)),
            Self::Closed(message) => TrySendError::Closed(f(message)),
            Self::Down(message) => TrySendError::Down(f(message)),
        }
    }

    /// Whether a bound was reached, so that trying again later may help.
    pub const fn is_full(&self) -> bool {
        matches!(self, Self::Full(_))
    }

    /// Whether it was refused for good.
    pub const fn is_closed(&self) -> bool {
        matches!(self, Self::Closed(_))
    }

    /// The reason a connection closes with when this refusal ends a callback.
    pub(crate) const fn reason(&self) -> CloseReason {
        match self {
            Self::Full(_) => CloseReason::OverLimit,
            Self::Closed(_) | Self::Down(_) => CloseReason::Local,
        }
    }
}

// By hand, so that a message needs no `Debug` (as in crossbeam-channel).
impl<T> fmt::Debug for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "Full(..)",
            Self::Closed(_) => "Closed(..)",
            Self::Down(_) => "Down(..)",
        })
    }
}

impl<T> fmt::Display for TrySendError<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full(_) => "the queue is full",
            Self::Closed(_) => "the connection is closed",
            Self::Down(_) => "the client is not connected at the moment",
        })
    }
}

impl<T> StdError for TrySendError<T> {}

/// A login was refused: the user has the most sessions allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DuplicateLogin {
    /// Sessions that a user may have at once.
    pub per_user_max: usize,
}

impl fmt::Display for DuplicateLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let max = self.per_user_max;
        write!(
            f,
            "the user is logged in already, with the most sessions allowed ({max}); log out there first"
        )
    }
}

impl StdError for DuplicateLogin {}
