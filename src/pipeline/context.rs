//! What a stage or handler may do during one call.

mod edits;
mod sending;

pub use edits::Edits;
pub(crate) use sending::{Encode, Parts};

use std::any::Any;
use std::fmt;
use std::time::Duration;

use super::stage::Slot;
use super::state::{Closing, Pause, State};
use super::tail::{Action, Tail};
use super::timers::Due;
use super::turn::Turn;
use super::{AnyPipeline, Attributes, Event, TimerKey};
use crate::address::Address;
use crate::clock::{Clock, Instant};
use crate::error::CloseReason;
use crate::id::ConnectionId;

/// What a stage or handler is given during one call: the connection, seen from its place in the chain.
///
/// Writes go outward through the stages before it, at once; edits, injected messages and fired events
/// take effect after the current message, in the order in which they were asked for.
///
/// Threads: the connection's worker. Cost: borrows only, nothing is allocated to make one.
pub struct Context<'a, In: 'static, Out: 'static> {
    pub(crate) outer: &'a mut [Slot<In, Out>],
    pub(crate) encoder: &'a mut dyn Encode<Out>,
    pub(crate) tail: &'a mut Tail<In, Out>,
    pub(crate) state: &'a mut State,
    pub(crate) turn: &'a mut Turn,
    pub(crate) owner: u32,
}

impl<In: 'static, Out: 'static> fmt::Debug for Context<'_, In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context")
            .field("id", &self.state.id)
            .field("peer", &self.state.peer().address)
            .finish_non_exhaustive()
    }
}

/// The chain.
impl<In: 'static, Out: 'static> Context<'_, In, Out> {
    /// Edits the chain; the edits apply after the current message, in the order in which they were made.
    ///
    /// ```
    /// use netwheel::{Context, Flow, Pipeline, Result, Stage};
    ///
    /// /// Sees the first message only.
    /// struct Once;
    ///
    /// impl<In: 'static, Out: 'static> Stage<In, Out> for Once {
    ///     fn on_inbound(&mut self, cx: &mut Context<'_, In, Out>, _: &mut In) -> Result<Flow> {
    ///         cx.pipeline().remove("once");
    ///         Ok(Flow::Next)
    ///     }
    /// }
    /// # let _ = Pipeline::raw().stage("once", Once).handle(|cx, bytes| cx.write(bytes));
    /// ```
    pub fn pipeline(&mut self) -> Edits<'_, In, Out> {
        Edits {
            tail: &mut *self.tail,
        }
    }

    /// Sends `message` inward from this place, after the current message.
    pub fn inject(&mut self, message: In) {
        let action = Action::Inject {
            from: self.owner,
            message,
        };
        self.tail.deferred().actions.push_back(action);
    }

    /// Tells the stages behind this one and the handler about `event`, after the current message.
    pub fn fire(&mut self, event: impl Any) {
        let event = Event::User(Box::new(event));
        self.tail.deferred().actions.push_back(Action::Fire {
            from: self.owner,
            event,
        });
    }

    /// Swaps codec, stages and handler for those of `pipeline`, after the current message.
    ///
    /// Bytes that have arrived and were not decoded go to the new codec. What was written before,
    /// also in this callback, leaves in the old encoding. Old handles answer `Closed` from then on.
    /// Timers, deadlines and pauses of the old pipeline end with it. Its filters stay; where the new one has
    /// filters too they come behind those, all bytes from then on are theirs, and the new pipeline is
    /// opened once they are ready (STARTTLS).
    pub fn upgrade(&mut self, pipeline: impl Into<AnyPipeline>) {
        self.state.rare().upgrade = Some(pipeline.into());
    }
}

/// Time.
impl<In: 'static, Out: 'static> Context<'_, In, Out> {
    /// The moment the turn began. Cheap; a clock reading shared by everything in the turn.
    #[must_use]
    pub fn now(&self) -> Instant {
        self.turn.now
    }

    /// The reactor's clock, for a moment inside a long turn; moments of [`now`](Self::now) are its own.
    #[must_use]
    pub fn clock(&self) -> &Clock {
        &self.turn.clock
    }

    /// Tells this stage or handler [`Event::Timer`] once, `after` from now; arming a key again moves it.
    ///
    /// Never early, at most a tick (1 ms) and the current turn late. The timer goes when its stage goes.
    /// Cost: a look at the connection's other timers, and one reading of the clock, so that a long turn
    /// makes no timer early.
    ///
    /// ```
    /// use std::time::Duration;
    /// use bytes::Bytes;
    /// use netwheel::{Context, Event, Handler, Pipeline, Result, TimerKey};
    ///
    /// const TICK: TimerKey = TimerKey(1);
    ///
    /// struct Clock;
    ///
    /// impl Handler<Bytes, Bytes> for Clock {
    ///     fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result<()> {
    ///         cx.timer(Duration::from_secs(1), TICK);
    ///         Ok(())
    ///     }
    ///
    ///     fn on_message(&mut self, _: &mut Context<'_, Bytes, Bytes>, _: Bytes) -> Result<()> {
    ///         Ok(())
    ///     }
    ///
    ///     fn on_event(&mut self, cx: &mut Context<'_, Bytes, Bytes>, event: &Event) -> Result<()> {
    ///         if let Event::Timer(TICK) = event {
    ///             cx.timer(Duration::from_secs(1), TICK);
    ///             cx.write(Bytes::from_static(b"tick\n"))?;
    ///         }
    ///         Ok(())
    ///     }
    /// }
    /// # let _ = Pipeline::raw().handler(Clock);
    /// ```
    pub fn timer(&mut self, after: Duration, key: TimerKey) {
        let at = self.turn.clock.now() + after;
        self.state.timers.arm(at, self.owner, Due::Tell(key));
    }

    /// Disarms a timer of this stage or handler.
    pub fn cancel_timer(&mut self, key: TimerKey) {
        self.state.timers.cancel(self.owner, Due::Tell(key));
    }

    /// Closes the connection with `reason`, `after` from now, unless it is cancelled or this stage goes
    /// before; what is queued then does not leave. Another with the same reason moves it.
    pub fn deadline(&mut self, after: Duration, reason: CloseReason) {
        let at = self.turn.clock.now() + after;
        self.state.timers.arm(at, self.owner, Due::Close(reason));
    }

    /// Lifts the deadline with this reason.
    pub fn cancel_deadline(&mut self, reason: CloseReason) {
        self.state.timers.cancel(self.owner, Due::Close(reason));
    }
}

/// The connection.
impl<In: 'static, Out: 'static> Context<'_, In, Out> {
    /// Closes the connection once this callback has returned; what is queued does not leave.
    pub fn close(&mut self, reason: CloseReason) {
        self.state.close(Closing::Now(reason));
    }

    /// Closes the connection once everything queued has left; nothing more is read or written.
    pub fn close_after_flush(&mut self, reason: CloseReason) {
        self.state.close(Closing::AfterFlush(reason));
    }

    /// Stops reading: no message is delivered after this callback until [`resume_reading`](Self::resume_reading).
    pub fn pause_reading(&mut self) {
        self.state.pause(Pause::USER);
    }

    /// Reads again, unless another reason (output, a full lane) pauses it too.
    pub fn resume_reading(&mut self) {
        self.state.resume(Pause::USER, self.turn.stamp);
    }

    /// The connection's name.
    #[must_use]
    pub fn id(&self) -> ConnectionId {
        self.state.id
    }

    /// The other side.
    #[must_use]
    pub fn peer(&self) -> Address {
        self.state.peer().address
    }

    /// This side.
    #[must_use]
    pub fn local(&self) -> Address {
        self.state.peer().local
    }

    /// The value of type `T` that is kept with the connection. Never allocates.
    #[must_use]
    pub fn attribute<T: 'static>(&self) -> Option<&T> {
        self.state.rare_ref()?.attributes.get()
    }

    /// The values that are kept with the connection.
    pub fn attributes(&mut self) -> &mut Attributes {
        &mut self.state.rare().attributes
    }
}
