//! What a stage or handler may do during one call.

use std::any::Any;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use super::stage::{Flow, Slot};
use super::state::{Closing, Pause, State};
use super::tail::{Action, Edit, Job, Outlet, Place, Tail};
use super::timers::Due;
use super::turn::Turn;
use super::{AnyPipeline, Attributes, Event, Stage, TimerKey};
use crate::address::Address;
use crate::buffer::Output;
use crate::clock::{Clock, Instant};
use crate::codec::Codec;
use crate::completion::Completion;
use crate::error::{CloseReason, Failure, Result, TrySendError};
use crate::executor::{Executor, Task, WhenFull};
use crate::file_region::FileRegion;
use crate::handle::{Announce, ConnectionHandle, Entry, JobResult, Outbox, refuse};
use crate::id::ConnectionId;
use crate::limits::{FILES_WAITING_MAX, LANE_MESSAGES_MAX};
use crate::stats::WorkerStats;

/// The encoding half of a codec, behind one virtual call a message.
pub(crate) trait Encode<Out> {
    fn encode(&mut self, out: Out, dst: &mut Output) -> Result<()>;
    fn weigher(&self) -> fn(&Out) -> usize;
}

impl<C: Codec> Encode<C::Out> for C {
    fn encode(&mut self, out: C::Out, dst: &mut Output) -> Result<()> {
        Codec::encode(self, out, dst)
    }

    fn weigher(&self) -> fn(&C::Out) -> usize {
        C::weigh
    }
}

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

/// A message on its way out, and what goes with it.
pub(crate) struct Parts<Out> {
    pub(crate) out: Out,
    pub(crate) done: Option<Completion>,
    /// Follows the message as it is.
    pub(crate) file: Option<Box<FileRegion>>,
}

impl<Out> Parts<Out> {
    const fn message(out: Out) -> Self {
        Self {
            out,
            done: None,
            file: None,
        }
    }
}

enum Unsent<Out> {
    Refused(TrySendError<Out>),
    Failed(Failure),
}

/// Sending.
impl<In: 'static, Out: 'static> Context<'_, In, Out> {
    /// Sends `out` outward through the stages before this one; it leaves at the end of the turn.
    ///
    /// # Errors
    ///
    /// What a stage or the codec failed with; [`CloseReason::OverLimit`] when the connection's output
    /// is full (use [`try_write`](Self::try_write) to get the message back). Passed on by `?`, each of
    /// them closes the connection.
    #[inline]
    pub fn write(&mut self, out: Out) -> Result<()> {
        if self.outer.is_empty()
            && self.tail.outlet.is_none()
            && self.state.closing == Closing::No
            && self
                .state
                .options
                .limits
                .output_room()
                .takes_any(self.state.queued())
        {
            // Nobody to pass, nobody to wait for, and room: the path of a plain echo.
            return self.encode(out, None);
        }
        self.send(Parts::message(out)).map_err(Failure::from)
    }

    /// Sends `out` like [`write`](Self::write) and calls `done` exactly once: with `Ok` when the
    /// kernel has taken its last byte, with the reason when the connection ended before.
    ///
    /// # Errors
    ///
    /// As for [`write`](Self::write).
    pub fn write_then(
        &mut self,
        out: Out,
        done: impl FnOnce(Result<(), CloseReason>) + Send + 'static,
    ) -> Result<()> {
        let mut parts = Parts::message(out);
        parts.done = Some(Completion::new(done));
        self.send(parts).map_err(Failure::from)
    }

    /// Sends `out` like [`write`](Self::write); when it has left, the watcher is told the highest `number` of all that
    /// have. Numbers grow. Cheaper than a completion: nothing is allocated, and a flush is told of once.
    pub(crate) fn write_marked(&mut self, out: Out, number: u64) -> Result<()> {
        let mut parts = Parts::message(out);
        parts.done = Some(Completion::mark(number));
        self.send(parts).map_err(Failure::from)
    }

    /// Who is told of messages that were [marked](Self::write_marked).
    pub(crate) fn watch_marks(&mut self, watcher: impl Fn(u64) + 'static) {
        self.state.rare().watcher = Some(Box::new(watcher));
    }

    /// Sends `out` like [`write`](Self::write) and behind it, as they are, the bytes of a file: `out` is the
    /// header that says so, in whatever words the protocol has.
    ///
    /// What is written later waits behind the file. The file counts for nothing in water marks and bounds;
    /// its [progress](FileRegion::on_progress) is told as it goes. A stage that stops `out` drops the file too.
    ///
    /// # Errors
    ///
    /// As for [`write`](Self::write); [`CloseReason::OverLimit`] also when
    /// [`FILES_WAITING_MAX`](crate::limits::FILES_WAITING_MAX) files wait already.
    pub fn write_file(&mut self, out: Out, file: FileRegion) -> Result<()> {
        let mut parts = Parts::message(out);
        parts.file = Some(Box::new(file));
        self.send(parts).map_err(Failure::from)
    }

    /// Sends `out`, or gives it back.
    ///
    /// A stage or codec that fails closes the connection after this callback, as it does for a message
    /// of a [`ConnectionHandle`].
    ///
    /// # Errors
    ///
    /// [`TrySendError::Full`] when the connection's output is at its bound,
    /// [`TrySendError::Closed`] when it is closing.
    pub fn try_write(&mut self, out: Out) -> Result<(), TrySendError<Out>> {
        match self.send(Parts::message(out)) {
            Ok(()) => Ok(()),
            Err(Unsent::Refused(refused)) => Err(refused),
            Err(Unsent::Failed(failure)) => {
                self.state.fail(failure);
                Ok(())
            }
        }
    }

    fn send(&mut self, parts: Parts<Out>) -> Result<(), Unsent<Out>> {
        let Parts { out, done, file } = parts;
        // What was accepted before a close still leaves, together with what stages add to it on its way.
        if !self.state.accepts_output() && !self.state.outbound {
            return Err(Unsent::Refused(refuse(TrySendError::Closed(out), done)));
        }
        let (room, weigh) = (
            self.state.options.limits.output_room(),
            self.encoder.weigher(),
        );
        let files = self.state.rare_ref().map_or(0, |rare| rare.parcels.len());
        if (file.is_some() && files >= FILES_WAITING_MAX)
            || !room.takes(self.queued_bytes(), || weigh(&out))
        {
            return Err(Unsent::Refused(refuse(TrySendError::Full(out), done)));
        }
        if !self.state.outbound
            && self.tail.must_wait(self.turn)
            && let Some(outlet) = &self.tail.outlet
        {
            let mut entry = Entry::new(out, done, self.owner);
            entry.file = file;
            outlet.outbox.defer(entry);
            return Ok(());
        }
        self.send_outward(Parts { out, done, file })
            .map_err(Unsent::Failed)
    }

    /// Passes a message through the stages before this one and encodes it.
    pub(crate) fn send_outward(&mut self, parts: Parts<Out>) -> Result<()> {
        let Parts {
            mut out,
            done,
            file,
        } = parts;
        let outbound = std::mem::replace(&mut self.state.outbound, true);
        let place = self.turn.stats.whereabouts.label();
        let passed = self.pass_outward(&mut out);
        self.turn.stats.whereabouts.at(place);
        self.state.outbound = outbound;
        if !passed? {
            return Ok(());
        }
        self.encode(out, file)?;
        if let Some(done) = done {
            self.state.complete_when_flushed(done);
        }
        Ok(())
    }

    #[inline]
    fn encode(&mut self, out: Out, file: Option<Box<FileRegion>>) -> Result<()> {
        let output = self.state.sink();
        if output.wants_buffer() {
            output.lend_buffer(self.turn.spare.take());
        }
        self.encoder.encode(out, output)?;
        self.turn.stats.messages_out.add(1);
        if let Some(file) = file {
            self.state.rare().parcels.push(*file);
        }
        Ok(())
    }

    fn pass_outward(&mut self, out: &mut Out) -> Result<bool> {
        for index in (0..self.outer.len()).rev() {
            let (outer, rest) = self.outer.split_at_mut(index);
            let slot = &mut rest[0];
            self.turn.stats.whereabouts.at(slot.label);
            let mut cx = Context {
                outer,
                encoder: &mut *self.encoder,
                tail: &mut *self.tail,
                state: &mut *self.state,
                turn: &mut *self.turn,
                owner: slot.key,
            };
            if slot.stage.on_outbound(&mut cx, out)? != Flow::Next {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A handle to this connection, for other threads.
    ///
    /// Cost: an allocation for the connection's first, a count for each after it.
    pub fn handle(&mut self) -> ConnectionHandle<Out> {
        ConnectionHandle(Arc::clone(&self.outlet().outbox))
    }

    /// What can end the connection, and knows no types of messages.
    pub(crate) fn announcer(&mut self) -> Arc<dyn Announce>
    where
        Out: Send,
    {
        self.outlet().outbox.clone()
    }

    pub(crate) fn outlet(&mut self) -> &mut Outlet<Out> {
        self.state.has_handles = true;
        let told = self.state.queued();
        if self.tail.outlet.is_none() {
            self.state.told_empty = told == 0;
        }
        let (state, turn, weigh) = (&*self.state, &*self.turn, self.encoder.weigher());
        self.tail.outlet.get_or_insert_with(|| {
            let outbox = Outbox::new(state.peer(), state.options.limits.output_room(), weigh);
            outbox.place(&turn.mailbox, &turn.board, state.id);
            outbox.opened(state.peer());
            outbox.tell_output_bytes(told);
            Box::new(Outlet::new(outbox))
        })
    }

    /// Writes what is queued to the socket at once, rather than at the end of the turn: for an answer
    /// that must not wait for other messages or connections.
    ///
    /// Done as soon as the message, timer or event in hand has been dealt with; decoding goes on
    /// behind it. Where handles have sent several messages, behind the last of them. Cost: a system
    /// call. What the socket or the connection's budget for the turn does not take leaves later.
    pub fn flush(&mut self) {
        self.state.flush_now = true;
    }

    /// Bytes that wait to be sent: output, and messages of handles by their weight.
    #[must_use]
    pub fn queued_bytes(&self) -> usize {
        let waiting = self
            .tail
            .outlet
            .as_ref()
            .map_or(0, |outlet| outlet.outbox.waiting_bytes());
        self.state.queued() + waiting
    }

    /// Whether output is below the high water mark, or has come down to the low one since it was above.
    ///
    /// While it is, a write is not refused, whatever its size. After `false`, [`Event::Writable`] comes
    /// once there is room.
    #[must_use]
    pub fn is_writable(&self) -> bool {
        let writable = !self.state.above_high_water
            && self.queued_bytes() <= self.state.options.limits.high_water_bytes;
        if !writable {
            self.state.owes_writable.set(true);
        }
        writable
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

/// Work elsewhere.
impl<In: 'static, Out: Send + 'static> Context<'_, In, Out> {
    /// Runs `job` on the pool, and `done` with its result back here, as the same stage or handler.
    ///
    /// Jobs of one connection may run at once and end in any order. When the stage or the connection
    /// has gone meanwhile, the result is dropped. A panic in `job` closes the connection. When the
    /// pool is full the job waits and reading pauses.
    ///
    /// ```
    /// use netwheel::{Executor, Pipeline};
    ///
    /// let pool = Executor::new(4);
    /// let pipeline = Pipeline::raw().handle(move |cx, name| {
    ///     let path = String::from_utf8_lossy(&name).trim().to_owned();
    ///     cx.offload(&pool, move || std::fs::read(path), |cx, read| cx.write(read?.into()))
    /// });
    /// # let _ = pipeline;
    /// ```
    ///
    /// # Errors
    ///
    /// [`CloseReason::OverLimit`] when the pool is full and it rejects, or when 64 jobs of this
    /// connection wait for it already.
    pub fn offload<T, J, D>(&mut self, pool: &Executor, job: J, done: D) -> Result<()>
    where
        T: Send + 'static,
        J: FnOnce() -> T + Send + 'static,
        D: FnOnce(&mut Context<'_, In, Out>, T) -> Result<()> + 'static,
    {
        let outbox: Arc<dyn Announce> = self.outlet().outbox.clone();
        self.turn.stats.know_pool(pool.gauge());
        let deferred = self.tail.deferred();
        if deferred.backlog_len() >= LANE_MESSAGES_MAX {
            return Err(Failure::with(
                CloseReason::OverLimit,
                "too many jobs wait for the pool",
            ));
        }
        // No job overtakes those of its connection that wait.
        let admitted = !deferred.has_backlog(pool) && pool.acquire_one();
        if !admitted && pool.when_full() == WhenFull::Reject {
            return Err(Failure::with(CloseReason::OverLimit, "the pool is full"));
        }
        let vacant = deferred.jobs.vacant_entry();
        let stats = Arc::clone(&self.turn.stats);
        let task = task(vacant.key(), job, Arc::clone(&outbox), stats);
        vacant.insert(Job {
            owner: self.owner,
            done: Some(Box::new(move |cx, value| match value.downcast() {
                Ok(value) => done(cx, *value),
                Err(_) => unreachable!("a job's result has the job's type"),
            })),
        });
        if admitted {
            pool.run_admitted(task);
        } else {
            deferred.keep(pool, task, outbox);
            self.state.pause(Pause::JOBS);
        }
        Ok(())
    }
}

/// A job as the pool runs it: its result, or the news of its panic, goes to the outbox.
fn task<T: Send + 'static>(
    key: usize,
    job: impl FnOnce() -> T + Send + 'static,
    outbox: Arc<dyn Announce>,
    stats: Arc<WorkerStats>,
) -> Task {
    Box::new(move || {
        let value = catch_unwind(AssertUnwindSafe(job)).ok();
        if value.is_none() {
            stats.pool_panics.fetch_add(1, Ordering::Relaxed);
        }
        let value = value.map(|value| Box::new(value) as Box<dyn Any + Send>);
        outbox.push_result(JobResult { job: key, value });
    })
}

impl<Out> From<Unsent<Out>> for Failure {
    fn from(unsent: Unsent<Out>) -> Self {
        match unsent {
            Unsent::Failed(failure) => failure,
            Unsent::Refused(refused) => Self::with(refused.reason(), refused.to_string()),
        }
    }
}

/// Edits of the chain, to apply after the current message; each answers itself, so they can be strung together.
///
/// An edit that names a missing stage does nothing, but `add_before` and `add_after`, which then add
/// first and last; both are told in the log at debug level. Names are unique: adding one that is there
/// already replaces it in its place.
pub struct Edits<'a, In: 'static, Out: 'static> {
    tail: &'a mut Tail<In, Out>,
}

impl<In: 'static, Out: 'static> fmt::Debug for Edits<'_, In, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Edits")
    }
}

impl<In: 'static, Out: 'static> Edits<'_, In, Out> {
    /// Adds a stage next to the codec.
    pub fn add_first(&mut self, name: &'static str, stage: impl Stage<In, Out>) -> &mut Self {
        self.add(Place::First, name, Box::new(stage))
    }

    /// Adds a stage next to the handler.
    pub fn add_last(&mut self, name: &'static str, stage: impl Stage<In, Out>) -> &mut Self {
        self.add(Place::Last, name, Box::new(stage))
    }

    /// Adds a stage on the codec's side of `at`.
    pub fn add_before(
        &mut self,
        at: &'static str,
        name: &'static str,
        stage: impl Stage<In, Out>,
    ) -> &mut Self {
        self.add(Place::Before(at), name, Box::new(stage))
    }

    /// Adds a stage on the handler's side of `at`.
    pub fn add_after(
        &mut self,
        at: &'static str,
        name: &'static str,
        stage: impl Stage<In, Out>,
    ) -> &mut Self {
        self.add(Place::After(at), name, Box::new(stage))
    }

    /// Puts a stage in the place of `old`.
    pub fn replace(
        &mut self,
        old: &'static str,
        name: &'static str,
        stage: impl Stage<In, Out>,
    ) -> &mut Self {
        self.push(Edit::Replace {
            old,
            name,
            stage: Box::new(stage),
        })
    }

    /// Takes a stage out; its timers go with it.
    pub fn remove(&mut self, name: &'static str) -> &mut Self {
        self.push(Edit::Remove { name })
    }

    fn add(&mut self, at: Place, name: &'static str, stage: Box<dyn Stage<In, Out>>) -> &mut Self {
        self.push(Edit::Add { at, name, stage })
    }

    fn push(&mut self, edit: Edit<In, Out>) -> &mut Self {
        self.tail.deferred().actions.push_back(Action::Edit(edit));
        self
    }
}
