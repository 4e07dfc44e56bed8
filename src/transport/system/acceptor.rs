//! The thread that accepts and hands out.
//!
//! Accepts in batches, hands each socket unregistered to a worker (a mio source is bound to its first
//! poll), and wakes a worker once per batch. Between two batches it calls the tasks that are due, such as
//! the redials of clients: it is the one thread that has a poll and no connection that would wait for it.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, unbounded};
use log::{debug, warn};
use mio::{Events, Poll, Token, Waker};

use super::admission::Admission;
use super::driver::Inbound;
use super::open_listener::{Entrance, OpenListener};
use super::socket::{Listener, Stream};
use crate::address::Peer;
use crate::clock::{Clock, Instant};
use crate::connection::Listens;
use crate::error::Error;
use crate::limits::{ACCEPT_BATCH, TIMERS_PER_TURN};
use crate::mailbox::{Command, Mailbox};
use crate::panics::contain;
use crate::schedule::Schedule;
use crate::stats::WorkerStats;
use crate::transport::Arrival;

const WAKE: Token = Token(usize::MAX);
/// Time between two looks at workers that had no room for a socket: they have at most a turn of work left.
const HAND_OVER_RETRY: Duration = Duration::from_millis(1);

/// The program's own choice of a worker, given the peer and the connections that each worker has.
pub(crate) type Choose = dyn Fn(&Peer, &[usize]) -> usize + Send + Sync;

/// How connections are spread over the workers.
#[derive(Clone, Default)]
pub(crate) enum Order {
    /// In turn.
    #[default]
    RoundRobin,
    /// To the worker that has the fewest.
    LeastConnections,
    /// By the program's own choice.
    Custom(Arc<Choose>),
}

/// One worker, as the acceptor sees it.
#[derive(Clone)]
pub(crate) struct WorkerDoor {
    pub(crate) inbound: Sender<Inbound>,
    pub(crate) mailbox: Arc<Mailbox>,
    pub(crate) stats: Arc<WorkerStats>,
}

enum Request {
    Listen(Listener, Listens),
    /// Close the listeners of services that are ending, and say so to whoever waits.
    Close(Option<Sender<()>>),
    Stop,
}

/// The acceptor's thread, as others see it.
pub(crate) struct AcceptorHandle {
    requests: Sender<Request>,
    waker: Arc<Waker>,
}

impl AcceptorHandle {
    /// Serves a listener; `false` when the thread has ended.
    pub(crate) fn listen(&self, listener: Listener, listens: Listens) -> bool {
        self.ask(Request::Listen(listener, listens))
    }

    /// Closes the listeners of services that are ending; returns once they are closed.
    pub(crate) fn close_ended(&self) {
        let (done, closed) = crossbeam_channel::bounded(1);
        self.ask(Request::Close(Some(done)));
        // An error means that the thread has gone, and the listeners with it.
        let _ = closed.recv();
    }

    /// Closes the listeners of services that are ending, soon: for threads that must not wait.
    pub(crate) fn close_ended_soon(&self) {
        self.ask(Request::Close(None));
    }

    pub(crate) fn stop(&self) {
        self.ask(Request::Stop);
    }

    /// Makes the thread look at its schedule, which has a new task.
    pub(crate) fn wake(&self) {
        if let Err(error) = self.waker.wake() {
            warn!(target: "netwheel::acceptor", "wake: {error}");
        }
    }

    fn ask(&self, request: Request) -> bool {
        let asked = self.requests.send(request).is_ok();
        if asked {
            self.wake();
        }
        asked
    }
}

/// The state of the acceptor's thread.
pub(crate) struct Acceptor {
    poll: Poll,
    /// Kept, though only the handle uses it: a waker that is dropped takes a wake-up with it that the
    /// thread has not seen yet, such as that of the stop.
    _waker: Arc<Waker>,
    clock: Clock,
    // Unbounded, but a request is made once per listener, server and reactor, and waited for.
    requests: Receiver<Request>,
    schedule: Arc<Schedule>,
    listeners: Vec<OpenListener>,
    tokens: usize,
    doors: Vec<WorkerDoor>,
    order: Order,
    admission: Arc<Admission>,
    next: usize,
    /// Workers that were handed sockets in this batch and are to be woken.
    handed: Vec<bool>,
    /// A socket for which no worker had room.
    held: Option<Arrival<Stream>>,
}

impl Acceptor {
    pub(crate) fn new(
        clock: Clock,
        doors: Vec<WorkerDoor>,
        order: Order,
        admission: Arc<Admission>,
        schedule: Arc<Schedule>,
    ) -> Result<(Self, AcceptorHandle), Error> {
        let refused = |error| Error::io("cannot start the acceptor", error);
        let poll = Poll::new().map_err(refused)?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE).map_err(refused)?);
        let (requests, inbox) = unbounded();
        let acceptor = Self {
            poll,
            _waker: Arc::clone(&waker),
            clock,
            requests: inbox,
            schedule,
            listeners: Vec::new(),
            tokens: 0,
            handed: vec![false; doors.len()],
            doors,
            order,
            admission,
            next: 0,
            held: None,
        };
        Ok((acceptor, AcceptorHandle { requests, waker }))
    }

    /// Accepts until told to stop.
    pub(crate) fn run(mut self) {
        let mut events = Events::with_capacity(64);
        loop {
            let timeout = self.timeout();
            match self.poll.poll(&mut events, timeout) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    warn!(target: "netwheel::acceptor", "poll: {error}");
                }
                _ => {}
            }
            for event in &events {
                self.listeners
                    .iter_mut()
                    .filter(|open| open.token() == event.token())
                    .for_each(OpenListener::note_ready);
            }
            if !self.take_requests() {
                return self.schedule.end();
            }
            self.accept_all();
            self.call_tasks();
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if self.held.is_some() {
            return Some(HAND_OVER_RETRY);
        }
        let now = self.clock.now();
        let task = self.schedule.next().map(|at| at.since(now));
        let rests = self.listeners.iter().filter_map(|open| open.timeout(now));
        rests.chain(task).min()
    }

    /// Calls the tasks that are due; what the budget leaves makes the next wait return at once.
    fn call_tasks(&self) {
        let (now, mut budget) = (self.clock.now(), TIMERS_PER_TURN);
        while let Some(task) = self.schedule.take_due(now, &mut budget) {
            if contain(task).is_err() {
                self.admission.note_panic("a task");
            }
        }
    }

    fn take_requests(&mut self) -> bool {
        while let Ok(request) = self.requests.try_recv() {
            match request {
                Request::Listen(listener, listens) => self.add(listener, listens),
                Request::Close(done) => {
                    self.close_ended();
                    if let Some(done) = done {
                        let _ = done.send(());
                    }
                }
                Request::Stop => {
                    self.drop_held();
                    return false;
                }
            }
        }
        true
    }

    fn add(&mut self, listener: Listener, listens: Listens) {
        let token = Token(self.tokens);
        self.tokens += 1;
        match OpenListener::new(listener, listens, self.poll.registry(), token) {
            Ok(open) => self.listeners.push(open),
            Err(error) => warn!(target: "netwheel::acceptor", "register listener: {error}"),
        }
    }

    fn close_ended(&mut self) {
        let registry = self.poll.registry();
        self.listeners.retain_mut(|open| open.goes_on(registry));
        if self
            .held
            .as_ref()
            .is_some_and(|held| held.service.is_ending())
        {
            self.drop_held();
        }
    }

    fn drop_held(&mut self) {
        if let Some(held) = self.held.take() {
            held.stream.reset();
            held.service.leave(&held.peer);
        }
    }

    /// A batch from each listener that has connections, then one wake-up for each worker that got some.
    fn accept_all(&mut self) {
        let now = self.clock.now();
        for index in 0..self.listeners.len() {
            self.accept_batch(index, now);
        }
        for (handed, door) in self.handed.iter_mut().zip(&self.doors) {
            if std::mem::take(handed) {
                door.mailbox.push(Command::Arrivals);
            }
        }
    }

    fn accept_batch(&mut self, index: usize, now: Instant) {
        let pressed = self.admission.is_pressed();
        for _ in 0..ACCEPT_BATCH {
            if let Some(held) = self.held.take()
                && !self.hand_over(held)
            {
                return;
            }
            let entrance = Entrance {
                now,
                admission: &self.admission,
                pressed,
                registry: self.poll.registry(),
            };
            let open = &mut self.listeners[index];
            if !open.is_ready(&entrance) {
                return;
            }
            if let Some(arrival) = open.accept(&entrance) {
                self.hand_over(arrival);
            }
        }
    }

    /// Hands a socket to a worker; holds it when none has room.
    fn hand_over(&mut self, mut arrival: Arrival<Stream>) -> bool {
        let first = self.choose(&arrival);
        for step in 0..self.doors.len() {
            let index = (first + step) % self.doors.len();
            let door = &self.doors[index];
            if door.stats.is_pressed() {
                continue;
            }
            door.stats.connections.enter();
            match door.inbound.try_send(Inbound::Socket(arrival)) {
                Ok(()) => {
                    self.handed[index] = true;
                    return true;
                }
                Err(TrySendError::Full(inbound) | TrySendError::Disconnected(inbound)) => {
                    door.stats.connections.leave();
                    let Inbound::Socket(back) = inbound else {
                        return true;
                    };
                    arrival = back;
                }
            }
        }
        debug!(target: "netwheel::acceptor", "no worker has room for a new connection");
        self.held = Some(arrival);
        false
    }

    fn choose(&mut self, arrival: &Arrival<Stream>) -> usize {
        let chosen = match &self.order {
            // Where most are, some are idle.
            _ if arrival.evicts => self
                .counts()
                .enumerate()
                .max_by_key(|(_, count)| *count)
                .map(|(index, _)| index),
            Order::RoundRobin => None,
            Order::LeastConnections => self
                .counts()
                .enumerate()
                .min_by_key(|(_, count)| *count)
                .map(|(index, _)| index),
            Order::Custom(choose) => {
                let counts: Vec<usize> = self.counts().collect();
                let chosen = contain(|| choose(&arrival.peer, &counts));
                if chosen.is_err() {
                    self.admission.note_panic("the choice of a worker");
                }
                chosen.ok().map(|chosen| chosen % self.doors.len())
            }
        };
        if let Some(index) = chosen {
            return index;
        }
        self.next = (self.next + 1) % self.doors.len();
        self.next
    }

    /// The connections that each worker has.
    fn counts(&self) -> impl Iterator<Item = usize> {
        self.doors.iter().map(|door| door.stats.connections.count())
    }
}
