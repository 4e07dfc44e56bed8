//! What may lie on the desk.

use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::Visitor;
use crate::protocol::Packet;

/// Something to be done by the office.
#[derive(Debug)]
pub enum Order {
    /// A message to a user or a room; answered once it is kept.
    Say {
        /// Who says it.
        visitor: Arc<Visitor>,
        /// The sequence of its frame, for the answer.
        sequence: u64,
        /// The sender's own number of it, or zero.
        client_id: u64,
        /// The receiver.
        to: String,
        /// The message as it came.
        raw: Bytes,
    },
    /// A command; answered when it is done.
    Do {
        /// Who gave it.
        visitor: Arc<Visitor>,
        /// The sequence of its frame, for the answer.
        sequence: u64,
        /// What is to be done.
        command: Command,
    },
    /// Somebody has logged in.
    Arrive {
        /// Who.
        visitor: Arc<Visitor>,
        /// What it is told before anything else of its session.
        welcome: Packet,
    },
    /// A visitor has acknowledged deliveries, or has room for more.
    Look(Arc<Visitor>),
    /// A connection has ended, or its user has logged out.
    Leave {
        /// Whose it was.
        visitor: Arc<Visitor>,
        /// What a connection that lives on is told behind everything else of its session.
        farewell: Option<Packet>,
    },
}

impl Order {
    /// Whose it is.
    pub(super) fn visitor(&self) -> &Arc<Visitor> {
        match self {
            Self::Say { visitor, .. }
            | Self::Do { visitor, .. }
            | Self::Arrive { visitor, .. }
            | Self::Look(visitor)
            | Self::Leave { visitor, .. } => visitor,
        }
    }

    /// Whether it counts for the bound: what a client wants, and not what becomes of its connection.
    pub(super) fn is_counted(&self) -> bool {
        matches!(self, Self::Say { .. } | Self::Do { .. })
    }

    /// Bytes of the message in it.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Say { raw, .. } => raw.len(),
            _ => 0,
        }
    }
}

/// What a client may ask for, as JSON in a notification: `{"cmd":"join","room":"#tea"}`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "cmd", rename_all = "snake_case")]
pub enum Command {
    /// Hear a room, and be heard in it.
    Join {
        /// Its name, with the `#`.
        room: String,
        /// The last message of it that was seen: what came later is sent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<u64>,
    },
    /// Hear no more of it.
    Leave {
        /// Its name, with the `#`.
        room: String,
    },
    /// Who is in a room, or online.
    Who {
        /// Its name, with the `#`; everybody without one.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        room: Option<String>,
    },
    /// Whether a user is online, and from now on each change of that.
    Watch {
        /// The user.
        uid: String,
    },
    /// A page of a conversation.
    History {
        /// The other user, or the room.
        with: String,
        /// Only what is before this message; the last ones without it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        before: Option<u64>,
        /// Messages of the page.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        limit: Option<usize>,
    },
}
