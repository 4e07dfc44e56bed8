//! How the connections of one server or client behave.

use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::limits::{BACKLOG, ConnectionLimits, at_least_one};

/// What becomes of a connection for which a server has no room; see [`Server::overflow`](crate::Server::overflow).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Overflow {
    /// It is accepted and reset at once, so that its peer knows and can go elsewhere.
    #[default]
    Refuse,
    /// It waits unaccepted, in the kernel's backlog, until there is room; its peer notices nothing but the time.
    Wait,
    /// It is let in, and the connection of its worker that has been silent for longest closes for it, with
    /// [`CloseReason::OverLimit`](crate::CloseReason::OverLimit). One with an answer under way is not idle; where
    /// all are busy, the newcomer is refused.
    EvictIdle,
}

/// How fast connections may come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AcceptRate {
    pub(crate) per_second: u32,
    pub(crate) burst: u32,
}

/// How the connections of one server or client behave.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    pub(crate) limits: ConnectionLimits,
    /// Whether reading pauses by itself while the output is above the high water mark.
    pub(crate) auto_pause: bool,
    /// Whether a peer's FIN is an event rather than the end.
    pub(crate) half_open: bool,
    /// TCP_NODELAY: on, because the worker gathers small messages itself.
    pub(crate) nodelay: bool,
    pub(crate) keepalive: Option<Duration>,
    pub(crate) send_buffer_bytes: Option<usize>,
    pub(crate) receive_buffer_bytes: Option<usize>,
    pub(crate) linger: Option<Duration>,
    pub(crate) user_timeout: Option<Duration>,
    /// Connections the kernel keeps for a listener until they are accepted.
    pub(crate) backlog: i32,
    /// SO_REUSEPORT: every worker accepts by itself, and the kernel spreads.
    pub(crate) share_port: bool,
    /// Connections of one server at a time, beside the reactor's bound.
    pub(crate) connections_max: Option<usize>,
    pub(crate) connections_per_address_max: Option<usize>,
    pub(crate) overflow: Overflow,
    pub(crate) accept_rate: Option<AcceptRate>,
}

impl Options {
    /// Refuses what cannot work, in words that say what would.
    pub(crate) fn check(&self) -> Result<(), Error> {
        if self.backlog < 1 {
            let text = format!(
                "a backlog of {} connections; set it to at least 1",
                self.backlog
            );
            return Err(Error::new(ErrorKind::Config, text));
        }
        at_least_one("connections_max", self.connections_max.unwrap_or(1))?;
        let per_address = self.connections_per_address_max;
        at_least_one("connections_per_address_max", per_address.unwrap_or(1))?;
        if let Some(rate) = self.accept_rate {
            at_least_one(
                "accept_rate's connections a second",
                rate.per_second as usize,
            )?;
            at_least_one("accept_rate's burst", rate.burst as usize)?;
        }
        self.limits.check()
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            limits: ConnectionLimits::default(),
            auto_pause: true,
            half_open: false,
            nodelay: true,
            keepalive: None,
            send_buffer_bytes: None,
            receive_buffer_bytes: None,
            linger: None,
            user_timeout: None,
            backlog: BACKLOG,
            share_port: false,
            connections_max: None,
            connections_per_address_max: None,
            overflow: Overflow::default(),
            accept_rate: None,
        }
    }
}
