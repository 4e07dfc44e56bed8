//! The ready-made stages, each held to what it promises, without a socket and in virtual time.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod doors;
mod five;
mod idle;
mod logging;
mod timeouts;
mod traffic;

use std::cell::RefCell;
use std::fmt::Display;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use netwheel::testing::Harness;
use netwheel::{CloseReason, Context, Event, Handler, Result};

type Cx<'a> = Context<'a, Bytes, Bytes>;
type Wire = Harness<Bytes, Bytes>;

const MILLI: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

/// What happened, in order.
#[derive(Clone, Default)]
struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    fn note(&self, what: impl Display) {
        self.0.borrow_mut().push(what.to_string());
    }

    /// What was noted since this was last asked.
    fn take(&self) -> String {
        std::mem::take(&mut *self.0.borrow_mut()).join(" ")
    }
}

/// A handler that notes what it is told, and echoes.
struct Told(Log);

impl Handler<Bytes, Bytes> for Told {
    fn on_open(&mut self, _: &mut Cx<'_>) -> Result<()> {
        self.0.note("open");
        Ok(())
    }

    fn on_message(&mut self, cx: &mut Cx<'_>, message: Bytes) -> Result<()> {
        match &message[..] {
            b"pause" => cx.pause_reading(),
            b"pause 5" => {
                cx.pause_reading();
                cx.timer(5 * SECOND, netwheel::TimerKey(9));
            }
            _ => cx.write(message)?,
        }
        Ok(())
    }

    fn on_event(&mut self, cx: &mut Cx<'_>, event: &Event) -> Result<()> {
        match event.user::<netwheel::stages::IdleEvent>() {
            Some(idle) => self.0.note(format!("{:?}*{}", idle.silence, idle.times)),
            None if matches!(event, Event::Timer(_)) => cx.resume_reading(),
            None => {}
        }
        Ok(())
    }

    fn on_close(&mut self, _: &mut Cx<'_>, reason: CloseReason) {
        self.0.note(reason);
    }
}
