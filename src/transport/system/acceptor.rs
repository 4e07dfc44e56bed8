//! The thread that accepts and hands out.
//!
//! Accepts in batches, hands each socket unregistered to a worker (a mio source is bound to its first
//! poll), and wakes a worker once per batch. After an error that only time can cure, such as having no
//! descriptor left, a listener rests: its queue would give no further edge, and trying again at once
//! would spin.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError, unbounded};
use log::{debug, error, warn};
use mio::{Events, Poll, Token, Waker};

use super::driver::Inbound;
use super::socket::{Listener, Stream, rest_after};
use crate::address::Peer;
use crate::clock::{Clock, Instant};
use crate::connection::Service;
use crate::error::Error;
use crate::limits::{ACCEPT_BACKOFF, ACCEPT_BATCH, LOG_REPEAT_INTERVAL};
use crate::mailbox::{Command, Mailbox};
use crate::stats::{AcceptStats, WorkerStats};
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
    Listen(Listener, Arc<Service>),
    /// Close the listeners of services that are ending, and say so.
    Close(Sender<()>),
    Stop,
}

/// The acceptor's thread, as others see it.
pub(crate) struct AcceptorHandle {
    requests: Sender<Request>,
    waker: Arc<Waker>,
}

impl AcceptorHandle {
    pub(crate) fn listen(&self, listener: Listener, service: Arc<Service>) {
        self.ask(Request::Listen(listener, service));
    }

    /// Closes the listeners of services that are ending; returns once they are closed.
    pub(crate) fn close_ended(&self) {
        let (done, closed) = crossbeam_channel::bounded(1);
        self.ask(Request::Close(done));
        // An error means that the thread has gone, and the listeners with it.
        let _ = closed.recv();
    }

    pub(crate) fn stop(&self) {
        self.ask(Request::Stop);
    }

    fn ask(&self, request: Request) {
        if self.requests.send(request).is_ok()
            && let Err(error) = self.waker.wake()
        {
            warn!(target: "netwheel::acceptor", "wake: {error}");
        }
    }
}

/// The state of the acceptor's thread.
pub(crate) struct Acceptor {
    poll: Poll,
    /// Kept, because a wake-up is lost when its descriptor is closed before the poll has seen it: the
    /// last that is asked of an acceptor is to stop, by one who then drops the handle.
    _waker: Arc<Waker>,
    clock: Clock,
    // Unbounded, but a request is made once per listener, server and reactor, and waited for.
    requests: Receiver<Request>,
    listeners: Vec<Open>,
    tokens: usize,
    doors: Vec<WorkerDoor>,
    order: Order,
    connections_max: usize,
    stats: Arc<AcceptStats>,
    next: usize,
    /// Workers that were handed sockets in this batch and are to be woken.
    handed: Vec<bool>,
    /// A socket for which no worker had room.
    held: Option<(Stream, Peer, Arc<Service>)>,
    log: Repeated,
}

struct Open {
    listener: Listener,
    service: Arc<Service>,
    token: Token,
    ready: bool,
    rests_until: Option<Instant>,
}

/// Keeps repeated lines of the log to one in a while, with a count.
#[derive(Default)]
struct Repeated {
    last: Option<Instant>,
    swallowed: u64,
}

impl Repeated {
    fn warn(&mut self, now: Instant, text: &str) {
        if self
            .last
            .is_some_and(|last| now.since(last) < LOG_REPEAT_INTERVAL)
        {
            self.swallowed += 1;
            return;
        }
        warn!(target: "netwheel::acceptor", "{text} ({} more since the last line)", self.swallowed);
        (self.last, self.swallowed) = (Some(now), 0);
    }
}

impl Acceptor {
    pub(crate) fn new(
        clock: Clock,
        doors: Vec<WorkerDoor>,
        order: Order,
        connections_max: usize,
        stats: Arc<AcceptStats>,
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
            listeners: Vec::new(),
            tokens: 0,
            handed: vec![false; doors.len()],
            doors,
            order,
            connections_max,
            stats,
            next: 0,
            held: None,
            log: Repeated::default(),
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
                for open in self
                    .listeners
                    .iter_mut()
                    .filter(|open| open.token == event.token())
                {
                    open.ready = open.rests_until.is_none();
                }
            }
            if !self.take_requests() {
                return;
            }
            self.accept_all();
        }
    }

    fn timeout(&self) -> Option<Duration> {
        if self.held.is_some() {
            return Some(HAND_OVER_RETRY);
        }
        if self.listeners.iter().any(|open| open.ready) {
            return Some(Duration::ZERO);
        }
        let until = self
            .listeners
            .iter()
            .filter_map(|open| open.rests_until)
            .min()?;
        Some(until.since(self.clock.now()))
    }

    fn take_requests(&mut self) -> bool {
        while let Ok(request) = self.requests.try_recv() {
            match request {
                Request::Listen(listener, service) => self.add(listener, service),
                Request::Close(done) => {
                    self.close_ended();
                    let _ = done.send(());
                }
                Request::Stop => {
                    self.drop_held();
                    return false;
                }
            }
        }
        true
    }

    fn add(&mut self, mut listener: Listener, service: Arc<Service>) {
        let token = Token(self.tokens);
        self.tokens += 1;
        if let Err(error) = listener.register(self.poll.registry(), token) {
            return warn!(target: "netwheel::acceptor", "register listener: {error}");
        }
        self.listeners.push(Open {
            listener,
            service,
            token,
            ready: true,
            rests_until: None,
        });
    }

    fn close_ended(&mut self) {
        let registry = self.poll.registry();
        self.listeners.retain_mut(|open| {
            let keep = !open.service.is_ending();
            if !keep {
                open.listener.deregister(registry);
            }
            keep
        });
        if self
            .held
            .as_ref()
            .is_some_and(|(.., service)| service.is_ending())
        {
            self.drop_held();
        }
    }

    fn drop_held(&mut self) {
        if let Some((_, _, service)) = self.held.take() {
            service.leave();
        }
    }

    /// A batch from each listener that has connections, then one wake-up for each worker that got some.
    fn accept_all(&mut self) {
        let now = self.clock.now();
        for index in 0..self.listeners.len() {
            let open = &mut self.listeners[index];
            if open.rests_until.is_some_and(|until| now >= until) {
                (open.rests_until, open.ready) = (None, true);
            }
            self.accept_batch(index, now);
        }
        for (handed, door) in self.handed.iter_mut().zip(&self.doors) {
            if std::mem::take(handed) {
                door.mailbox.push(Command::Arrivals);
            }
        }
    }

    fn accept_batch(&mut self, index: usize, now: Instant) {
        for _ in 0..ACCEPT_BATCH {
            if let Some((stream, peer, service)) = self.held.take()
                && !self.hand_over(stream, peer, service)
            {
                return;
            }
            let open = &mut self.listeners[index];
            if !open.ready {
                return;
            }
            match open.listener.accept(&open.service.options) {
                Ok((stream, peer)) => {
                    let service = Arc::clone(&open.service);
                    self.let_in(stream, peer, service);
                }
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => open.ready = false,
                    io::ErrorKind::Interrupted => {}
                    _ => {
                        self.stats.accept_errors.fetch_add(1, Ordering::Relaxed);
                        if let Some(rest) = rest_after(&error, ACCEPT_BACKOFF) {
                            open.ready = false;
                            open.rests_until = Some(now + rest);
                        }
                        self.log.warn(now, &format!("accept: {error}"));
                    }
                },
            }
        }
    }

    fn let_in(&mut self, stream: Stream, peer: Peer, service: Arc<Service>) {
        let connections: usize = self
            .doors
            .iter()
            .map(|door| door.stats.connections.count())
            .sum();
        if connections >= self.connections_max {
            self.stats.refused.fetch_add(1, Ordering::Relaxed);
            let now = self.clock.now();
            let max = self.connections_max;
            return self
                .log
                .warn(now, &format!("refused {}: {max} connections", peer.address));
        }
        service.enter();
        self.hand_over(stream, peer, service);
    }

    /// Hands a socket to a worker; holds it when none has room.
    fn hand_over(&mut self, stream: Stream, peer: Peer, service: Arc<Service>) -> bool {
        let first = self.choose(&peer);
        let mut arrival = Arrival {
            stream,
            peer,
            service,
            connect_timeout: None,
        };
        for step in 0..self.doors.len() {
            let index = (first + step) % self.doors.len();
            let door = &self.doors[index];
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
        self.held = Some((arrival.stream, arrival.peer, arrival.service));
        false
    }

    fn choose(&mut self, peer: &Peer) -> usize {
        let counts = || self.doors.iter().map(|door| door.stats.connections.count());
        match &self.order {
            Order::RoundRobin => {
                self.next = (self.next + 1) % self.doors.len();
                self.next
            }
            Order::LeastConnections => counts()
                .enumerate()
                .min_by_key(|(_, count)| *count)
                .map_or(0, |(index, _)| index),
            Order::Custom(choose) => {
                let counts: Vec<usize> = counts().collect();
                let chosen = catch_unwind(AssertUnwindSafe(|| choose(peer, &counts)));
                chosen.unwrap_or_else(|_| self.choose_for_the_one_who_panicked(peer))
                    % self.doors.len()
            }
        }
    }

    fn choose_for_the_one_who_panicked(&mut self, peer: &Peer) -> usize {
        error!(target: "netwheel::acceptor", "{}: the choice of a worker panicked", peer.address);
        self.stats.panics.fetch_add(1, Ordering::Relaxed);
        self.next = (self.next + 1) % self.doors.len();
        self.next
    }
}
