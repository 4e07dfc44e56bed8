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
//! `dialling`, then `machine`, then the outbox of the connection. Code of the program, which is told of states
//! and completions, keeps a log and drops messages, is called with none of them held. `dialling` is held from the look whether
//! there is to be a dial until it was made, so that none is made after [`close`](Redial::close) returned.

use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use log::{debug, error, info};

use super::dial::service_of;
use super::machine::{Machine, Next, OnState, Phase, Plan};
use super::news::{News, Watcher};
use super::{ClientState, ClosedCause, DownCause};
use crate::address::{Address, Peer, Place};
use crate::completion::Completion;
use crate::error::{CloseReason, Error, ErrorKind, TrySendError};
use crate::handle::{CloseRequest, Entry, Outbox, refuse};
use crate::id::ConnectionId;
use crate::panics::contain;
use crate::sync::lock;
use crate::target::Target;
use crate::thread_role;

/// One client that comes back.
pub(super) struct Redial<Out> {
    plan: Plan<Out>,
    dialling: Mutex<()>,
    machine: Mutex<Machine<Out>>,
    settled: Condvar,
}

impl<Out: Send + 'static> Redial<Out> {
    /// Begins to dial, unless that is done on demand. There is at least one target.
    pub(super) fn start(
        plan: Plan<Out>,
        targets: Vec<Target>,
        on_state: Option<OnState>,
    ) -> Arc<Self> {
        let machine = Machine::new(&plan, targets, on_state);
        let on_demand = plan.on_demand;
        let redial = Arc::new(Self {
            plan,
            dialling: Mutex::new(()),
            machine: Mutex::new(machine),
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
        let Some((step, target)) = lock(&self.machine).begin_try() else {
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

    fn resolved(self: &Arc<Self>, step: u64, found: Result<Vec<SocketAddr>, Error>) {
        let dialling = lock(&self.dialling);
        let (task, picked) = {
            let mut machine = lock(&self.machine);
            if machine.step != step {
                return;
            }
            let task = match &mut machine.phase {
                Phase::Resolving(task) => task.take(),
                _ => return,
            };
            match found {
                Ok(found) => (task, Ok(Place::Inet(machine.rotation.pick(&found)))),
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
        let weigh = lock(&self.machine).backlog.weigher();
        let outbox = Outbox::new(peer, plan.options.limits.output_room(), weigh);
        outbox.watch_by(Arc::new(Watcher {
            redial: Arc::clone(self),
            step,
        }));
        {
            let mut machine = lock(&self.machine);
            if machine.step != step {
                return Next::Nothing;
            }
            machine.phase = Phase::Connecting(Arc::clone(&outbox));
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
        let mut machine = lock(&self.machine);
        if machine.step != step || matches!(machine.phase, Phase::Closed) {
            return Next::Nothing;
        }
        if matches!(machine.phase, Phase::Resolving(_)) {
            machine.rotation.skip();
        }
        let cause = match error.kind() {
            ErrorKind::Closed => DownCause::Closed(CloseReason::Shutdown),
            _ => DownCause::Failed(error.to_string()),
        };
        machine.go_down(&self.plan, cause)
    }

    /// The connection of a step has ended, or could not be made.
    pub(super) fn lost(self: &Arc<Self>, step: u64, reason: CloseReason) {
        let next = {
            let mut machine = lock(&self.machine);
            if machine.step != step {
                return;
            }
            machine.go_down(&self.plan, DownCause::Closed(reason))
        };
        self.go_on(next);
    }

    pub(super) fn opened(self: &Arc<Self>, step: u64, id: ConnectionId, peer: Peer) {
        {
            let mut machine = lock(&self.machine);
            let outbox = match &machine.phase {
                Phase::Connecting(outbox) if machine.step == step => Arc::clone(outbox),
                _ => return,
            };
            machine.come_up(outbox, id, peer.address);
        }
        self.go_on(Next::Nothing);
    }

    /// The time of a wait, or of a lookup, has passed.
    fn ring(self: &Arc<Self>, step: u64) {
        let next = {
            let mut machine = lock(&self.machine);
            if machine.step != step {
                return;
            }
            match machine.phase {
                Phase::Waiting(_) => Next::Dial,
                Phase::Resolving(_) => {
                    machine.rotation.skip();
                    let timeout = self.plan.connect_timeout;
                    let text = format!("no answer to the name within {timeout:?}");
                    machine.go_down(&self.plan, DownCause::Failed(text))
                }
                _ => return,
            }
        };
        self.go_on(next);
    }

    /// Rings after so long a time; the caller holds nothing.
    fn arm(self: &Arc<Self>, step: u64, time: Duration) {
        let news = News::new(self, step);
        let network = self.plan.net.network();
        let task = Box::new(move || news.tell(|redial| redial.ring(step)));
        match network.schedule(time, task) {
            Ok(id) => {
                let mut machine = lock(&self.machine);
                let step_now = machine.step;
                match &mut machine.phase {
                    Phase::Waiting(task) | Phase::Resolving(task) if step_now == step => {
                        *task = Some(id);
                    }
                    _ => {
                        drop(machine);
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
            Next::Dial => self.dial(),
            Next::Wait(step, time) => self.arm(step, time),
            Next::End(cause) => self.end(cause),
        }
        self.tell();
    }

    /// Tells the program and its log of each state, one after the other, whichever thread it happens on.
    fn tell(self: &Arc<Self>) {
        loop {
            let (on_state, state) = {
                let mut machine = lock(&self.machine);
                if machine.telling {
                    return;
                }
                let Some(state) = machine.untold.pop_front() else {
                    let dials = std::mem::take(&mut machine.dial_due);
                    drop(machine);
                    if dials {
                        self.dial();
                    }
                    return;
                };
                machine.telling = true;
                (machine.on_state.clone(), state)
            };
            let told = contain(|| {
                note(&state);
                if let Some(on_state) = &on_state {
                    on_state(&state);
                }
            });
            if told.is_err() {
                error!(target: "netwheel::client", "on_state panicked, and is told nothing any more");
            }
            let gone = {
                let mut machine = lock(&self.machine);
                machine.telling = false;
                let ends = told.is_err() || matches!(state, ClientState::Closed(_));
                ends.then(|| machine.on_state.take())
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
            lock(&self.machine).end(cause)
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
    pub(super) fn orphaned(self: &Arc<Self>, step: u64) {
        let was_to_come = {
            let machine = lock(&self.machine);
            machine.step == step && matches!(machine.phase, Phase::Resolving(_) | Phase::Waiting(_))
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
            let mut machine = lock(&self.machine);
            let outcome = machine.take(out, done);
            (outcome, matches!(machine.phase, Phase::Resting))
        };
        outcome.map_err(|(refused, done)| refuse(refused, done))?;
        if rests {
            self.dial();
        }
        Ok(())
    }

    pub(super) fn state(&self) -> ClientState {
        lock(&self.machine).state.clone()
    }

    /// Messages that wait for a connection.
    pub(super) fn waiting(&self) -> usize {
        lock(&self.machine).backlog.entries.len()
    }

    /// The outbox of the connection that is up.
    pub(super) fn outbox(&self) -> Option<Arc<Outbox<Out>>> {
        match &lock(&self.machine).phase {
            Phase::Up(outbox) => Some(Arc::clone(outbox)),
            _ => None,
        }
    }

    pub(super) fn wait_up(&self, timeout: Duration) -> Result<(), Error> {
        thread_role::refuse_on_io_thread("wait for a client")?;
        let waits =
            |machine: &mut Machine<Out>| !matches!(machine.phase, Phase::Up(_) | Phase::Closed);
        let machine = lock(&self.machine);
        let (machine, _) = self
            .settled
            .wait_timeout_while(machine, timeout, waits)
            .unwrap_or_else(PoisonError::into_inner);
        match &machine.state {
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

/// A line for a try that could not even begin; the worker has one for a connect that failed.
fn note(state: &ClientState) {
    match state {
        ClientState::Down(DownCause::Failed(why)) => info!(target: "netwheel::client", "{why}"),
        _ => debug!(target: "netwheel::client", "{state}"),
    }
}
