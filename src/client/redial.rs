//! The client that comes back: one connection after the other, and what is done in between.
//!
//! ```text
//!   dial ──> Resolving ──> Connecting ──> Up ──┐        each step carries the number of its try,
//!    ^           └──── failed ────┴────────────┤        and one that comes late finds another
//!    └──────────────── Waiting <───────────────┘        number and does nothing
//! ```
//! There is no thread behind it. Whoever brings news takes the next step: the worker tells of the open and
//! the end, the network's schedule that the wait is over, its resolver what a name stands for.
//!
//! # Locks
//!
//! `dialling`, then `core`, then the outbox of the connection. Code of the program, states, completions and
//! destructors of messages, is called with none of them held. `dialling` is held from the look whether
//! there is to be a dial until it was made, so that none is made after [`close`](Redial::close) returned.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use log::{debug, error, info};

use super::backlog::Backlog;
use super::dial::{Make, service_of};
use super::rotation::Rotation;
use super::{Backoff, ClientState, ClosedCause, DownCause, WhileDown};
use crate::address::{Address, Peer, Place};
use crate::completion::Completion;
use crate::error::{CloseReason, Error, ErrorKind, TrySendError};
use crate::handle::{CloseRequest, Entry, FROM_HANDLE, Outbox, Watch, refuse};
use crate::id::ConnectionId;
use crate::net::Net;
use crate::options::Options;
use crate::panics::contain;
use crate::random::Random;
use crate::schedule::TaskId;
use crate::sync::lock;
use crate::target::Target;
use crate::thread_role;

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

/// One client that comes back.
pub(super) struct Redial<Out> {
    plan: Plan<Out>,
    dialling: Mutex<()>,
    core: Mutex<Core<Out>>,
    settled: Condvar,
}

enum Phase<Out> {
    /// There is nothing to do, until something is sent or the first dial begins.
    Resting,
    /// A name is looked up, until a task says that it took too long.
    Resolving(Option<TaskId>),
    Connecting(Arc<Outbox<Out>>),
    Up(Arc<Outbox<Out>>),
    Waiting(Option<TaskId>),
    Closed,
}

struct Core<Out> {
    phase: Phase<Out>,
    state: ClientState,
    /// The number of the step; whatever was begun under another one comes late.
    step: u64,
    /// Tries that have begun, and waits, since the last open.
    tries: u32,
    waits: u32,
    rotation: Rotation,
    backlog: Backlog<Out>,
    random: Random,
    on_state: Option<OnState>,
    /// States that are to be told. At most a few: a dial waits until all before it was told.
    untold: VecDeque<ClientState>,
    telling: bool,
    /// A wait is over, and the dial waits for the telling.
    dial_due: bool,
}

/// What follows once nothing is locked any more.
enum Next {
    Nothing,
    Wait(u64, Duration),
    End(ClosedCause),
}

/// What a client leaves when it ends.
struct Remains<Out> {
    outbox: Option<Arc<Outbox<Out>>>,
    task: Option<TaskId>,
    entries: VecDeque<Entry<Out>>,
}

impl<Out> Core<Out> {
    fn enter(&mut self, state: ClientState) {
        debug!(target: "netwheel::client", "{state}");
        if self.on_state.is_some() {
            self.untold.push_back(state.clone());
        }
        self.state = state;
    }

    /// Begins a try, if one may begin now.
    fn begin_try(&mut self) -> Option<(u64, Target)> {
        if !matches!(self.phase, Phase::Resting | Phase::Waiting(_)) {
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
    fn go_down(&mut self, plan: &Plan<Out>, cause: DownCause) -> Next {
        self.step += 1;
        if let Phase::Connecting(outbox) | Phase::Up(outbox) = &self.phase {
            self.backlog.weigh_by(outbox.weigher());
        }
        let was_up = matches!(self.phase, Phase::Up(_));
        let shutdown = matches!(cause, DownCause::Closed(CloseReason::Shutdown));
        self.enter(ClientState::Down(cause));
        // Settled by what follows; until then nothing begins.
        self.phase = Phase::Waiting(None);
        if shutdown {
            return Next::End(ClosedCause::Shutdown);
        }
        if !was_up && !plan.backoff.allows(self.tries) {
            return Next::End(ClosedCause::TriesUsedUp);
        }
        if plan.on_demand && self.backlog.entries.is_empty() {
            self.phase = Phase::Resting;
            self.enter(ClientState::Resting);
            return Next::Nothing;
        }
        self.waits = self.waits.saturating_add(1);
        let time = plan.backoff.wait(self.waits, self.random.next());
        self.enter(ClientState::Waiting(time));
        Next::Wait(self.step, time)
    }

    /// The connection is open: what has waited leaves before all that comes from now on.
    fn come_up(&mut self, outbox: Arc<Outbox<Out>>, id: ConnectionId, peer: Address) {
        (self.tries, self.waits) = (0, 0);
        self.backlog.weigh_by(outbox.weigher());
        let mut entries = self.backlog.take();
        outbox.accept_waiting(&mut entries);
        self.backlog.put_back(entries);
        self.phase = Phase::Up(outbox);
        self.enter(ClientState::Up { id, peer });
    }

    fn end(&mut self, cause: ClosedCause) -> Option<Remains<Out>> {
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
}

impl<Out: Send + 'static> Redial<Out> {
    /// Begins to dial, unless that is done on demand. There is at least one target.
    pub(super) fn start(
        plan: Plan<Out>,
        targets: Vec<Target>,
        on_state: Option<OnState>,
    ) -> Arc<Self> {
        let core = Core {
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
        };
        let on_demand = plan.on_demand;
        let redial = Arc::new(Self {
            plan,
            dialling: Mutex::new(()),
            core: Mutex::new(core),
            settled: Condvar::new(),
        });
        if !on_demand {
            redial.dial();
        }
        redial
    }

    /// Begins a try, if one may begin now.
    fn dial(self: &Arc<Self>) {
        let dialling = lock(&self.dialling);
        let Some((step, target)) = lock(&self.core).begin_try() else {
            return;
        };
        let next = match &target {
            Target::Place(place) => self.connect(step, place),
            Target::Name { .. } => Next::Nothing,
        };
        drop(dialling);
        if let Target::Name { host, port } = &target {
            self.resolve(step, host, *port);
        }
        self.go_on(next);
    }

    /// Looks a name up, for at most as long as a connect may take.
    fn resolve(self: &Arc<Self>, step: u64, host: &str, port: u16) {
        let (network, timeout) = (self.plan.net.network(), self.plan.connect_timeout);
        let news = News::new(self, step);
        network.resolve(
            host,
            port,
            timeout,
            Box::new(move |found| {
                news.tell(|redial| redial.resolved(step, found));
            }),
        );
        self.arm(step, timeout);
    }

    fn resolved(self: &Arc<Self>, step: u64, found: Result<Vec<std::net::SocketAddr>, Error>) {
        let dialling = lock(&self.dialling);
        let (task, picked) = {
            let mut core = lock(&self.core);
            if core.step != step {
                return;
            }
            let task = match &mut core.phase {
                Phase::Resolving(task) => task.take(),
                _ => return,
            };
            match found {
                Ok(found) => (task, Ok(Place::Inet(core.rotation.pick(&found)))),
                Err(error) => (task, Err(error)),
            }
        };
        let next = match picked {
            Ok(place) => self.connect(step, &place),
            Err(error) => self.fail(step, &error),
        };
        drop(dialling);
        if let Some(task) = task {
            self.plan.net.network().cancel(task);
        }
        self.go_on(next);
    }

    /// Dials; the caller holds `dialling`, and has seen that the try goes on.
    fn connect(self: &Arc<Self>, step: u64, to: &Place) -> Next {
        let plan = &self.plan;
        let address = match to {
            Place::Inet(address) => Address::Inet(*address),
            Place::Unix(_) => Address::Unix,
        };
        let peer = Peer::new(address, Address::Unix);
        let weigh = lock(&self.core).backlog.weigher();
        let outbox = Outbox::new(peer, plan.options.limits.output_room(), weigh);
        outbox.watch_by(Arc::new(Watcher {
            redial: Arc::clone(self),
            step,
        }));
        {
            let mut core = lock(&self.core);
            if core.step != step {
                return Next::Nothing;
            }
            core.phase = Phase::Connecting(Arc::clone(&outbox));
        }
        let service = service_of(&plan.make, &outbox, &plan.options);
        match plan
            .net
            .network()
            .connect(to, &service, plan.connect_timeout)
        {
            Ok(()) => Next::Nothing,
            // Before the service goes, and takes the outbox with it: what that tells comes late then.
            Err(error) => self.fail(step, &error),
        }
    }

    /// A try could not even begin.
    fn fail(&self, step: u64, error: &Error) -> Next {
        let mut core = lock(&self.core);
        if core.step != step || matches!(core.phase, Phase::Closed) {
            return Next::Nothing;
        }
        if matches!(core.phase, Phase::Resolving(_)) {
            core.rotation.skip();
        }
        info!(target: "netwheel::client", "try {}: {error}", core.tries);
        let cause = match error.kind() {
            ErrorKind::Closed => DownCause::Closed(CloseReason::Shutdown),
            _ => DownCause::Failed(error.to_string()),
        };
        core.go_down(&self.plan, cause)
    }

    /// The connection of a step has ended, or could not be made.
    fn lost(self: &Arc<Self>, step: u64, reason: CloseReason) {
        let next = {
            let mut core = lock(&self.core);
            if core.step != step {
                return;
            }
            core.go_down(&self.plan, DownCause::Closed(reason))
        };
        self.go_on(next);
    }

    fn opened(self: &Arc<Self>, step: u64, id: ConnectionId, peer: Peer) {
        {
            let mut core = lock(&self.core);
            let outbox = match &core.phase {
                Phase::Connecting(outbox) if core.step == step => Arc::clone(outbox),
                _ => return,
            };
            core.come_up(outbox, id, peer.address);
        }
        self.go_on(Next::Nothing);
    }

    /// The time of a wait, or of a lookup, has passed.
    fn ring(self: &Arc<Self>, step: u64) {
        let next = {
            let mut core = lock(&self.core);
            if core.step != step {
                return;
            }
            match core.phase {
                Phase::Waiting(_) if core.telling || !core.untold.is_empty() => {
                    core.dial_due = true;
                    return;
                }
                Phase::Waiting(_) => None,
                Phase::Resolving(_) => {
                    core.rotation.skip();
                    let text = format!(
                        "no answer to the name within {:?}",
                        self.plan.connect_timeout
                    );
                    info!(target: "netwheel::client", "try {}: {text}", core.tries);
                    Some(core.go_down(&self.plan, DownCause::Failed(text)))
                }
                _ => return,
            }
        };
        match next {
            None => self.dial(),
            Some(next) => self.go_on(next),
        }
    }

    /// Rings after so long a time; the caller holds nothing.
    fn arm(self: &Arc<Self>, step: u64, time: Duration) {
        let news = News::new(self, step);
        let network = self.plan.net.network();
        let task = Box::new(move || news.tell(|redial| redial.ring(step)));
        match network.schedule(time, task) {
            Ok(id) => {
                let mut core = lock(&self.core);
                let step_now = core.step;
                match &mut core.phase {
                    Phase::Waiting(task) | Phase::Resolving(task) if step_now == step => {
                        *task = Some(id);
                    }
                    _ => {
                        drop(core);
                        network.cancel(id);
                    }
                }
            }
            Err((error, _task)) if error.kind() == ErrorKind::OverLimit => {
                error!(target: "netwheel::client", "{error}");
                self.end(ClosedCause::OverLimit);
            }
            Err(_) => self.end(ClosedCause::Shutdown),
        }
    }

    /// Takes the next step, and tells of those before; the caller holds nothing.
    fn go_on(self: &Arc<Self>, next: Next) {
        self.settled.notify_all();
        match next {
            Next::Nothing => {}
            Next::Wait(step, time) => self.arm(step, time),
            Next::End(cause) => self.end(cause),
        }
        self.tell();
    }

    /// Tells the program of each state, one after the other, whichever thread it happens on.
    fn tell(self: &Arc<Self>) {
        loop {
            let (on_state, state) = {
                let mut core = lock(&self.core);
                if core.telling {
                    return;
                }
                match (core.untold.pop_front(), core.on_state.clone()) {
                    (Some(state), Some(on_state)) => {
                        core.telling = true;
                        (on_state, state)
                    }
                    _ if std::mem::take(&mut core.dial_due) => {
                        drop(core);
                        return self.dial();
                    }
                    _ => return,
                }
            };
            let told = contain(|| on_state(&state));
            let ends = told.is_err() || matches!(state, ClientState::Closed(_));
            if told.is_err() {
                error!(target: "netwheel::client", "on_state panicked, and is told nothing any more");
            }
            let gone = {
                let mut core = lock(&self.core);
                core.telling = false;
                ends.then(|| {
                    core.untold.clear();
                    core.on_state.take()
                })
            };
            let _ = contain(|| drop((gone, on_state)));
        }
    }

    /// Ends it for good.
    fn end(self: &Arc<Self>, cause: ClosedCause) {
        self.end_by(cause, CloseRequest::Now(cause.reason()));
    }

    fn end_by(self: &Arc<Self>, cause: ClosedCause, request: CloseRequest) {
        let remains = {
            // A dial that is being made on another thread is waited for; it is a few system calls.
            let _dialling = lock(&self.dialling);
            lock(&self.core).end(cause)
        };
        let Some(remains) = remains else { return };
        self.settled.notify_all();
        if let Some(outbox) = remains.outbox {
            outbox.ask_to_close(request);
        }
        if let Some(task) = remains.task {
            self.plan.net.network().cancel(task);
        }
        for entry in remains.entries {
            let Entry { out, done, .. } = entry;
            // A panic of a completion is contained and logged where it is called.
            let _ = done.map(|done| done.complete(Err(cause.reason())));
            let _ = contain(|| drop(out));
        }
        self.tell();
    }

    /// The network has gone, and with it what was to come.
    fn orphaned(self: &Arc<Self>, step: u64) {
        let was_to_come = {
            let core = lock(&self.core);
            core.step == step && matches!(core.phase, Phase::Resolving(_) | Phase::Waiting(_))
        };
        if was_to_come {
            self.end(ClosedCause::Shutdown);
        }
    }

    /// Ends it for good, and its connection by `request`: no dial begins after the return.
    pub(super) fn close(self: &Arc<Self>, request: CloseRequest) {
        self.end_by(ClosedCause::Cancelled, request);
    }

    pub(super) fn send(
        self: &Arc<Self>,
        out: Out,
        done: Option<Completion>,
    ) -> Result<(), TrySendError<Out>> {
        let (outcome, rests) = {
            let mut core = lock(&self.core);
            let outcome = core.take(out, done);
            (outcome, matches!(core.phase, Phase::Resting))
        };
        outcome.map_err(|(refused, done)| refuse(refused, done))?;
        if rests {
            self.dial();
        }
        Ok(())
    }

    pub(super) fn state(&self) -> ClientState {
        lock(&self.core).state.clone()
    }

    /// Messages that wait for a connection.
    pub(super) fn waiting(&self) -> usize {
        lock(&self.core).backlog.entries.len()
    }

    /// The outbox of the connection that is up.
    pub(super) fn outbox(&self) -> Option<Arc<Outbox<Out>>> {
        match &lock(&self.core).phase {
            Phase::Up(outbox) => Some(Arc::clone(outbox)),
            _ => None,
        }
    }

    pub(super) fn wait_up(&self, timeout: Duration) -> Result<(), Error> {
        thread_role::refuse_on_io_thread("wait for a client")?;
        let waits = |core: &mut Core<Out>| !matches!(core.phase, Phase::Up(_) | Phase::Closed);
        let core = lock(&self.core);
        let (core, _) = self
            .settled
            .wait_timeout_while(core, timeout, waits)
            .unwrap_or_else(PoisonError::into_inner);
        match &core.state {
            ClientState::Up { .. } => Ok(()),
            state @ ClientState::Closed(_) => Err(Error::new(
                ErrorKind::Closed,
                format!("the client is {state}"),
            )),
            state => {
                let text = format!("the client was not up within {timeout:?}; it is {state}");
                Err(Error::new(ErrorKind::Timeout, text))
            }
        }
    }
}

impl<Out> Core<Out> {
    /// Takes a message: to the connection that is up, or to wait for the next.
    fn take(
        &mut self,
        out: Out,
        done: Option<Completion>,
    ) -> Result<(), super::backlog::Refused<Out>> {
        let (out, done) = match &self.phase {
            Phase::Closed => return Err((TrySendError::Closed(out), done)),
            // What waits already, for the next one, stays ahead.
            Phase::Up(outbox) if self.backlog.entries.is_empty() => {
                match outbox.offer(out, done, FROM_HANDLE) {
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

/// Tells a client of its connection.
struct Watcher<Out: Send + 'static> {
    redial: Arc<Redial<Out>>,
    step: u64,
}

impl<Out: Send + 'static> Watch for Watcher<Out> {
    fn opened(&self, id: ConnectionId, peer: Peer) {
        self.redial.opened(self.step, id, peer);
    }

    fn closed(&self, reason: CloseReason) {
        self.redial.lost(self.step, reason);
    }
}

/// News that are to come. Where they are dropped untold, the network has gone.
struct News<Out: Send + 'static> {
    redial: Option<Arc<Redial<Out>>>,
    step: u64,
}

impl<Out: Send + 'static> News<Out> {
    fn new(redial: &Arc<Redial<Out>>, step: u64) -> Self {
        let redial = Some(Arc::clone(redial));
        Self { redial, step }
    }

    fn tell(mut self, how: impl FnOnce(&Arc<Redial<Out>>)) {
        if let Some(redial) = self.redial.take() {
            how(&redial);
        }
    }
}

impl<Out: Send + 'static> Drop for News<Out> {
    fn drop(&mut self) {
        if let Some(redial) = self.redial.take() {
            redial.orphaned(self.step);
        }
    }
}
