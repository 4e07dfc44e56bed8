//! What holds for each link of a listener or dialer.

use std::time::Duration;

use super::heartbeat::HeartbeatRules;
use super::outbox_rules::OutboxRules;
use crate::error::{Error, ErrorKind};
use crate::limits::{ACK_DELAY, ACK_MESSAGES, CALL_TIMEOUT, CALLS_MAX, HANDSHAKE_TIMEOUT};

/// What holds for each link of one listener or dialer.
///
/// ```
/// use std::time::Duration;
/// use netwheel::link::{HeartbeatRules, LinkRules, OutboxRules};
///
/// let mut rules = LinkRules::dialer();
/// rules.heartbeat = HeartbeatRules::dialer().interval(Duration::from_millis(50));
/// rules.outbox = OutboxRules::default().acknowledged(true);
/// # let _ = rules;
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LinkRules {
    /// Time for the login; `None` where the protocol has none, and a link is up as soon as it is open. By default
    /// [`HANDSHAKE_TIMEOUT`].
    pub handshake: Option<Duration>,
    /// When to ping, and when the other side has gone.
    pub heartbeat: HeartbeatRules,
    /// What is kept for the other side.
    pub outbox: OutboxRules,
    /// Time for the answer to a call that says no other; see [`CALL_TIMEOUT`].
    pub call_timeout: Duration,
    /// Calls that wait for their answers at once; see [`CALLS_MAX`].
    pub calls_max: usize,
    /// See [`ACK_DELAY`].
    pub ack_delay: Duration,
    /// See [`ACK_MESSAGES`].
    pub ack_messages: u32,
}

impl LinkRules {
    /// The rules of the side that dials.
    #[must_use]
    pub fn dialer() -> Self {
        Self {
            handshake: Some(HANDSHAKE_TIMEOUT),
            heartbeat: HeartbeatRules::dialer(),
            outbox: OutboxRules::default(),
            call_timeout: CALL_TIMEOUT,
            calls_max: CALLS_MAX,
            ack_delay: ACK_DELAY,
            ack_messages: ACK_MESSAGES,
        }
    }

    /// The rules of the side that listens.
    #[must_use]
    pub fn listener() -> Self {
        Self {
            heartbeat: HeartbeatRules::listener(),
            ..Self::dialer()
        }
    }

    /// Refuses what cannot work, in words that say what would; `keeps` says whether there is a spool or a cursor.
    pub(super) fn check(&self, keeps: bool) -> Result<(), Error> {
        self.heartbeat.check()?;
        if keeps && !self.outbox.acknowledged {
            let text =
                "a spool or cursor keeps what is acknowledged; turn OutboxRules::acknowledged on";
            return Err(Error::new(ErrorKind::Config, text));
        }
        self.outbox.check()
    }
}
