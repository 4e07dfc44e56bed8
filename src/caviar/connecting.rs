//! The first connect of a client, which its caller waits for.

use std::fmt;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::error::{CaviarError, CaviarErrorKind};
use crate::client::{ClientState, ClosedCause, DownCause};
use crate::sync::lock;

/// How the first try of a client goes, and why the client has ended, if it has.
#[derive(Default)]
pub(super) struct Connecting {
    seen: Mutex<Seen>,
    changed: Condvar,
}

#[derive(Default)]
struct Seen {
    first: Option<Result<(), DownCause>>,
    ended: Option<ClosedCause>,
}

impl Connecting {
    /// The client is in another state.
    pub(super) fn handle_state(&self, state: &ClientState) {
        let mut seen = lock(&self.seen);
        match state {
            ClientState::Up { .. } => _ = seen.first.get_or_insert(Ok(())),
            ClientState::Down(cause) => _ = seen.first.get_or_insert_with(|| Err(cause.clone())),
            ClientState::Closed(cause) => seen.ended = Some(*cause),
            _ => {}
        }
        drop(seen);
        self.changed.notify_all();
    }

    /// Why the client has ended by itself, if it has.
    pub(super) fn ended(&self) -> Option<ClosedCause> {
        let ended = lock(&self.seen).ended;
        ended.filter(|cause| *cause != ClosedCause::Cancelled)
    }

    /// Waits for the end of the first try.
    pub(super) fn wait(
        &self,
        timeout: Duration,
        to: &impl fmt::Display,
        named: bool,
    ) -> Result<(), CaviarError> {
        let seen = lock(&self.seen);
        let waited = self.changed.wait_timeout_while(seen, timeout, |seen| {
            seen.first.is_none() && seen.ended.is_none()
        });
        let (seen, _) = waited.unwrap_or_else(PoisonError::into_inner);
        match (&seen.first, seen.ended) {
            (Some(Ok(())), _) => Ok(()),
            (Some(Err(cause)), _) => Err(CaviarError::connect(cause, &to.to_string(), named)),
            (None, Some(cause)) => {
                let text = format!("the client ended before it was connected to {to}: {cause}");
                Err(CaviarError::new(CaviarErrorKind::ClientNotRunning, text))
            }
            (None, None) => {
                let text = format!("no connection to {to} within {timeout:?}");
                Err(CaviarError::new(
                    CaviarErrorKind::ClientConnectTimeout,
                    text,
                ))
            }
        }
    }
}
