//! What a callback sends: outward through the stages before it, and encoded.

use std::sync::Arc;

use super::Context;
use crate::buffer::Output;
use crate::codec::Codec;
use crate::completion::Completion;
use crate::error::{CloseReason, Failure, Result, TrySendError};
use crate::file_region::FileRegion;
use crate::handle::{Announce, ConnectionHandle, Entry, Outbox, refuse};
use crate::limits::FILES_WAITING_MAX;
use crate::pipeline::stage::Flow;
use crate::pipeline::state::Closing;
use crate::pipeline::tail::Outlet;

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
    /// While it is, a write is not refused, whatever its size. After `false`,
    /// [`Event::Writable`](crate::Event::Writable) comes once there is room.
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

impl<Out> From<Unsent<Out>> for Failure {
    fn from(unsent: Unsent<Out>) -> Self {
        match unsent {
            Unsent::Failed(failure) => failure,
            Unsent::Refused(refused) => Self::with(refused.reason(), refused.to_string()),
        }
    }
}
