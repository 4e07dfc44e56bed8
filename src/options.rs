//! How the connections of one server or client behave.

use std::time::Duration;

use crate::error::{Error, ErrorKind};
use crate::limits::{BACKLOG, ConnectionLimits};

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
        }
    }
}
