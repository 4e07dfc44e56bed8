//! What a client that comes back is at, and what follows from what happens: no threads, no calls.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::backlog::{Backlog, Refused};
use super::dial::Make;
use super::rotation::Rotation;
use super::{Backoff, ClientState, ClosedCause, DownCause, WhileDown};
use crate::address::Address;
use crate::completion::Completion;
use crate::error::{CloseReason, TrySendError};
use crate::handle::{Entry, Outbox};
use crate::id::ConnectionId;
use crate::net::Net;
use crate::options::Options;
use crate::random::Random;
use crate::schedule::TaskId;
use crate::target::Target;

/// Told of each state, in order.
pub(super) type OnState = Arc<dyn Fn(&ClientState) + Send + Sync>;

/// What a client does, whichever connection it is at.
pub(super) struct Plan<Out> {
    pub(super) net: Net,
    pub(super) options: Options,
    pub(super) connect_timeout: Duration,
    pub(super) backoff: Backoff,
    pub(super) while_down: WhileDown,
    /// Whether it dials only when there is something to send.
    pub(super) on_demand: bool,
    pub(super) make: Make<Out>,
}

/// What is there, and what is waited for.
pub(super) enum Phase<Out> {
    /// There is nothing to do, until something is sent or the first dial begins.
    Resting,
    /// A name is looked up, until a task says that it took too long.
    Resolving(Option<TaskId>),
    Connecting(Arc<Outbox<Out>>),
    Up(Arc<Outbox<Out>>),
    Waiting(Option<TaskId>),
    Closed,
}

/// What a client is at. Whoever has its lock moves it on, and does what follows once it is let go.
pub(super) struct Machine<Out> {
    pub(super) phase: Phase<Out>,
    pub(super) state: ClientState,
    /// The number of the step; whatever was begun under another one comes late.
    pub(super) step: u64,
    /// Tries that have begun, and waits, since the last open.
    pub(super) tries: u32,
    pub(super) waits: u32,
    pub(super) rotation: Rotation,
    pub(super) backlog: Backlog<Out>,
    pub(super) random: Random,
    pub(super) on_state: Option<OnState>,
    /// States that are to be told; at most those of one try, and of the end.
    pub(super) untold: VecDeque<ClientState>,
    /// Whether some thread is telling one.
    pub(super) telling: bool,
    /// A try is to begin, and waits for the telling.
    pub(super) dial_due: bool,
}

/// What follows once nothing is locked any more.
pub(super) enum Next {
    Nothing,
    Dial,
    Wait(u64, Duration),
    End(ClosedCause),
}

/// What a client leaves when it ends.
pub(super) struct Remains<Out> {
    pub(super) outbox: Option<Arc<Outbox<Out>>>,
    pub(super) task: Option<TaskId>,
    pub(super) entries: VecDeque<Entry<Out>>,
}

impl<Out> Machine<Out> {
    /// A machine at rest, over at least one target.
    pub(super) fn new(plan: &Plan<Out>, targets: Vec<Target>, on_state: Option<OnState>) -> Self {
        Self {
            phase: Phase::Resting,
            state: ClientState::Resting,
            step: 0,
            tries: 0,
            waits: 0,
            rotation: Rotation::new(targets),
            backlog: Backlog::new(plan.while_down),
            random: Random::new(plan.net.network().seed()),
            on_state,
            untold: VecDeque::new(),
            telling: false,
            dial_due: false,
        }
    }

    fn enter(&mut self, state: ClientState) {
        self.untold.push_back(state.clone());
        self.state = state;
    }

    /// Begins a try, if one may begin. It waits until all before it was told, or what is untold would grow
    /// behind a program that listens slowly; whoever tells begins it then.
    pub(super) fn begin_try(&mut self) -> Option<(u64, Target)> {
        if !matches!(self.phase, Phase::Resting | Phase::Waiting(_)) {
            return None;
        }
        if self.telling || !self.untold.is_empty() {
            self.dial_due = true;
            return None;
        }
        self.step += 1;
        self.tries = self.tries.saturating_add(1);
        self.dial_due = false;
        let target = self.rotation.turn();
        self.phase = Phase::Resolving(None);
        self.enter(ClientState::Connecting {
            attempt: self.tries,
            to: target.clone(),
        });
        Some((self.step, target))
    }

    /// There is no connection, or none any more.
    pub(super) fn go_down(&mut self, plan: &Plan<Out>, cause: DownCause) -> Next {
        self.step += 1;
        if let Phase::Connecting(outbox) | Phase::Up(outbox) = &self.phase {
            self.backlog.weigh_by(outbox.weigher());
        }
        let was_up = matches!(self.phase, Phase::Up(_));
        let shutdown = matches!(cause, DownCause::Closed(CloseReason::Shutdown));
        let was_idle = was_up && matches!(cause, DownCause::Closed(CloseReason::Idle));
        self.enter(ClientState::Down(cause));
        // Settled by what follows; until then nothing begins.
        self.phase = Phase::Waiting(None);
        if shutdown {
            return Next::End(ClosedCause::Shutdown);
        }
        if !was_up && !plan.backoff.allows(self.tries) {
            return Next::End(ClosedCause::TriesUsedUp);
        }
        let wanted = !self.backlog.entries.is_empty();
        // What was sent while an idle connection closed has no fault to wait for.
        if plan.on_demand && (!wanted || was_idle) {
            self.phase = Phase::Resting;
            self.enter(ClientState::Resting);
            return if wanted { Next::Dial } else { Next::Nothing };
        }
        self.waits = self.waits.saturating_add(1);
        let time = plan.backoff.wait(self.waits, self.random.next());
        self.enter(ClientState::Waiting(time));
        Next::Wait(self.step, time)
    }

    /// The connection is open: what has waited leaves before all that comes from now on.
    pub(super) fn come_up(&mut self, outbox: Arc<Outbox<Out>>, id: ConnectionId, peer: Address) {
        (self.tries, self.waits) = (0, 0);
        self.backlog.weigh_by(outbox.weigher());
        let mut entries = self.backlog.take();
        outbox.accept_waiting(&mut entries);
        self.backlog.put_back(entries);
        self.phase = Phase::Up(outbox);
        self.enter(ClientState::Up { id, peer });
    }

    pub(super) fn end(&mut self, cause: ClosedCause) -> Option<Remains<Out>> {
        let (outbox, task) = match std::mem::replace(&mut self.phase, Phase::Closed) {
            Phase::Closed => return None,
            Phase::Resting => (None, None),
            Phase::Resolving(task) | Phase::Waiting(task) => (None, task),
            Phase::Connecting(outbox) | Phase::Up(outbox) => (Some(outbox), None),
        };
        self.step += 1;
        self.dial_due = false;
        self.enter(ClientState::Closed(cause));
        let entries = self.backlog.take();
        Some(Remains {
            outbox,
            task,
            entries,
        })
    }

    /// Takes a message: to the connection that is up, or to wait for the next.
    pub(super) fn take(&mut self, out: Out, done: Option<Completion>) -> Result<(), Refused<Out>> {
        let (out, done) = match &self.phase {
            Phase::Closed => return Err((TrySendError::Closed(out), done)),
            // What waits already, for the next one, stays ahead.
            Phase::Up(outbox) if self.backlog.entries.is_empty() => {
                match outbox.offer(out, done) {
                    // It is closing, and its end is on the way.
                    Err((TrySendError::Closed(out), done)) => (out, done),
                    outcome => return outcome,
                }
            }
            Phase::Connecting(outbox) => {
                self.backlog.weigh_by(outbox.weigher());
                (out, done)
            }
            _ => (out, done),
        };
        self.backlog.push(out, done)
    }
}
