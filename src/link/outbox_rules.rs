//! How much is kept for a peer, and for how long.

use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::limits::{OUTBOX_AGE_MAX, OUTBOX_BYTES_MAX, OUTBOX_MESSAGES_MAX};

/// What is kept for one peer, how much and for how long.
///
/// By default [`OUTBOX_MESSAGES_MAX`] messages and [`OUTBOX_BYTES_MAX`] bytes, for [`OUTBOX_AGE_MAX`] after the
/// link broke, not acknowledged, and in one lane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxRules {
    pub(super) messages_max: usize,
    pub(super) bytes_max: usize,
    pub(super) age_max: Option<Duration>,
    pub(super) acknowledged: bool,
    pub(super) lanes: bool,
}

impl OutboxRules {
    /// Messages kept at most; one more comes back to its sender.
    ///
    /// A service on a pool should have room for 128 at the least: so many questions may be with the pool when its
    /// answers fill the outbox.
    #[must_use]
    pub const fn messages_max(mut self, count: usize) -> Self {
        self.messages_max = count;
        self
    }

    /// Bytes kept at most; a message that would pass them comes back to its sender.
    #[must_use]
    pub const fn bytes_max(mut self, bytes: usize) -> Self {
        self.bytes_max = bytes;
        self
    }

    /// How long messages are kept once the link has broken; `None` keeps them for as long as there is room. With
    /// zero a listener forgets its peer with the connection, and the link closes.
    #[must_use]
    pub const fn age_max(mut self, time: Option<Duration>) -> Self {
        self.age_max = time;
        self
    }

    /// Whether messages are kept until the peer says that it has handled them, see the
    /// [guarantees](crate::link#what-is-promised); both sides must agree. Off by default. Turned on, it keeps
    /// them for ever unless [`age_max`](Self::age_max) is set after it.
    #[must_use]
    pub const fn acknowledged(mut self, on: bool) -> Self {
        self.acknowledged = on;
        if on {
            self.age_max = None;
        }
        self
    }

    /// Whether urgent messages pass those that wait; off by default, and not for acknowledged ones, which are
    /// told apart by their order.
    #[must_use]
    pub const fn lanes(mut self, on: bool) -> Self {
        self.lanes = on;
        self
    }

    /// Refuses what cannot work, in words that say what would.
    pub(super) fn check(&self) -> Result<(), Error> {
        let wrong = |text: &str| Err(Error::new(ErrorKind::Config, text));
        if self.messages_max == 0 || self.bytes_max == 0 {
            return wrong(
                "an outbox of size zero refuses every message; set its bounds to at least 1",
            );
        }
        if self.lanes && self.acknowledged {
            return wrong(
                "two lanes change the order by which messages are acknowledged; turn one of them off",
            );
        }
        Ok(())
    }
}

impl Default for OutboxRules {
    fn default() -> Self {
        Self {
            messages_max: OUTBOX_MESSAGES_MAX,
            bytes_max: OUTBOX_BYTES_MAX,
            age_max: Some(OUTBOX_AGE_MAX),
            acknowledged: false,
            lanes: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_that_cannot_work_are_refused() {
        let lanes = OutboxRules::default().lanes(true);
        assert!(lanes.check().is_ok());
        assert!(lanes.acknowledged(true).check().is_err());
        assert!(OutboxRules::default().messages_max(0).check().is_err());
    }
}
