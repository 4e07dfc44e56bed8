//! What a client that comes back is doing.

use std::fmt;
use std::time::Duration;

use crate::address::Address;
use crate::error::CloseReason;
use crate::id::ConnectionId;
use crate::target::Target;

/// What a [reconnecting client](crate::Client::reconnect) is doing.
///
/// ```text
///               ┌──────────────────────────────────────┐
///               v                                      │ the wait is over
///   ──────> Connecting ──────────> Down ──────────> Waiting
///               │      it failed    ^
///       it opens│                   │ it ended            Closed, from any: final, told once
///               └──────> Up ────────┘
/// ```
/// Each change is told once, in this order. Those of an [on-demand client](crate::Client::on_demand) are
/// `Resting` instead of `Waiting` while there is nothing to send.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClientState {
    /// A try has begun: its name is looked up, then it is dialled.
    Connecting {
        /// Which try it is since the last open, counted from 1.
        attempt: u32,
        /// Where it goes.
        to: Target,
    },
    /// The connection is open, and its pipeline has been told so.
    Up {
        /// Its name.
        id: ConnectionId,
        /// The other side.
        peer: Address,
    },
    /// A try has failed, or the connection has ended.
    Down(DownCause),
    /// The next try comes after so long a time.
    Waiting(Duration),
    /// There is no connection and no need of one, until something is sent.
    Resting,
    /// There will be no connection any more.
    Closed(ClosedCause),
}

/// Why there is no connection at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DownCause {
    /// The connection ended, or could not be made: it was refused, reset, or took too long.
    Closed(CloseReason),
    /// It could not even be tried: the name has no address, or the system or a limit refused.
    Failed(String),
}

/// Why there will be no connection any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ClosedCause {
    /// The program closed the client, or dropped its last handle.
    Cancelled,
    /// As many tries in a row have failed as [`Backoff::tries_max`](crate::Backoff::tries_max) allows.
    TriesUsedUp,
    /// The reactor was shut down.
    Shutdown,
    /// The network keeps [`TASKS_MAX`](crate::limits::TASKS_MAX) waits already, and took this one no more.
    OverLimit,
}

impl ClosedCause {
    /// What messages that still waited are answered with.
    pub(crate) const fn reason(self) -> CloseReason {
        match self {
            Self::Cancelled => CloseReason::Local,
            Self::TriesUsedUp => CloseReason::Refused,
            Self::Shutdown => CloseReason::Shutdown,
            Self::OverLimit => CloseReason::OverLimit,
        }
    }
}

impl fmt::Display for ClientState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Connecting { attempt, to } => write!(f, "connecting to {to}, try {attempt}"),
            Self::Up { peer, .. } => write!(f, "up: {peer}"),
            Self::Down(cause) => write!(f, "down: {cause}"),
            Self::Waiting(time) => write!(f, "waiting {time:.1?}"),
            Self::Resting => f.write_str("resting"),
            Self::Closed(cause) => write!(f, "closed: {cause}"),
        }
    }
}

impl fmt::Display for DownCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(reason) => reason.fmt(f),
            Self::Failed(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for ClosedCause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cancelled => "cancelled",
            Self::TriesUsedUp => "tries used up",
            Self::Shutdown => "shutdown",
            Self::OverLimit => "over limit",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_state_reads_as_one_line() {
        let to: Target = "server.test:7001".parse().expect("a name");
        let said = [
            ClientState::Connecting { attempt: 3, to },
            ClientState::Down(DownCause::Closed(CloseReason::Refused)),
            ClientState::Down(DownCause::Failed("no address".into())),
            ClientState::Waiting(Duration::from_millis(1250)),
            ClientState::Resting,
            ClientState::Closed(ClosedCause::TriesUsedUp),
        ];
        let lines: Vec<String> = said.iter().map(ToString::to_string).collect();
        let expected = [
            "connecting to server.test:7001, try 3",
            "down: refused",
            "down: no address",
            "waiting 1.2s",
            "resting",
            "closed: tries used up",
        ];
        assert_eq!(lines, expected);
    }
}
