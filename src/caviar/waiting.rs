//! A question whose asker waits for the answer.

use std::sync::mpsc::sync_channel;
use std::time::Duration;

use bytes::Bytes;

use super::error::{CaviarError, CaviarErrorKind};
use super::message::Message;
use super::wire::CaviarWire;
use crate::link::{CallError, Link};
use crate::thread_role;

/// Asks, and waits; with `again` the question goes over each new connection until it is answered.
pub(super) fn ask_and_wait(
    link: &Link<CaviarWire>,
    question: Message,
    timeout: Duration,
    again: bool,
    unanswered: impl FnOnce(CallError) -> CaviarError,
) -> Result<Bytes, CaviarError> {
    thread_role::refuse_on_io_thread("wait for an answer")
        .map_err(|error| CaviarError::of(CaviarErrorKind::WouldDeadlock, &error))?;
    let (tell, told) = sync_channel(1);
    let done = move |outcome| {
        // Whoever waits has the other end; it cannot be full.
        let _ = tell.send(outcome);
    };
    let asked = if again {
        link.call_again(question, timeout, done)
    } else {
        link.call(question, timeout, done)
    };
    asked.map_err(CaviarError::refused)?;
    match told.recv() {
        Ok(Ok(answer)) => Ok(answer.body),
        Ok(Err(error)) => Err(unanswered(error)),
        Err(_) => Err(unanswered(CallError::Closed)),
    }
}
