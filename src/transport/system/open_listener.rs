//! A listener in a poll, of the acceptor or of a worker.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::{Registry, Token};

use super::accept_error::AcceptError;
use super::admission::{Admission, NO_ROOM};
use super::socket::{Listener, Stream};
use crate::address::Peer;
use crate::clock::Instant;
use crate::connection::{Listens, Service};
use crate::limits::{ACCEPT_BACKOFF, ACCEPT_BATCH};
use crate::options::Overflow;
use crate::transport::Arrival;

/// Time between two looks for room, while connections wait in the backlog for it.
const ROOM_LOOK: Duration = Duration::from_millis(10);
const NO_DESCRIPTOR: &str = "no descriptor is left";

/// A listener that is served, and whether it has connections.
///
/// A poll tells once, so `ready` stays until an accept has found nothing. After an error that more tries
/// would not cure it rests: its queue would give no further edge, and trying again at once would spin.
pub(crate) struct OpenListener {
    // Closed before it is counted out, hence in this order.
    listener: Listener,
    listens: Listens,
    token: Token,
    ready: bool,
    rests_until: Option<Instant>,
    /// Whether somebody is known to wait: an edge has told, and nobody was accepted since.
    awaited: bool,
    /// Whether there was no descriptor left at the last look.
    starved: bool,
}

/// What a listener has to know before it lets somebody in.
pub(crate) struct Entrance<'a> {
    pub(crate) now: Instant,
    pub(crate) admission: &'a Admission,
    /// Whether no worker behind it has memory for more.
    pub(crate) pressed: bool,
    /// Where it is registered.
    pub(crate) registry: &'a Registry,
}

impl OpenListener {
    /// Puts a listener into the poll.
    pub(crate) fn new(
        mut listener: Listener,
        listens: Listens,
        registry: &Registry,
        token: Token,
    ) -> io::Result<Self> {
        listener.register(registry, token)?;
        Ok(Self {
            listener,
            listens,
            token,
            ready: true,
            rests_until: None,
            awaited: false,
            starved: false,
        })
    }

    pub(crate) fn service(&self) -> &Arc<Service> {
        self.listens.service()
    }

    pub(crate) fn token(&self) -> Token {
        self.token
    }

    /// The poll has told of connections.
    pub(crate) fn note_ready(&mut self) {
        self.awaited = true;
        self.ready = self.rests_until.is_none();
    }

    /// Whether only an event can bring it anything, so that nobody needs to know the time for its sake.
    pub(crate) fn is_quiet(&self) -> bool {
        !self.ready && self.rests_until.is_none()
    }

    /// How long the poll may wait for this listener's sake.
    pub(crate) fn timeout(&self, now: Instant) -> Option<Duration> {
        if self.ready {
            return Some(Duration::ZERO);
        }
        self.rests_until.map(|until| until.since(now))
    }

    /// Whether a try may find a connection that may come in; ends a rest whose time has come, and begins one
    /// where connections are to wait in the backlog.
    pub(crate) fn is_ready(&mut self, entrance: &Entrance<'_>) -> bool {
        let now = entrance.now;
        if self.rests_until.is_some_and(|until| now >= until) {
            (self.rests_until, self.ready) = (None, true);
        }
        if self.ready && self.has_to_wait_for_room(entrance) {
            self.wait_for_room(entrance);
        } else if self.ready {
            let wait = self.service().accept_wait(now);
            if !wait.is_zero() {
                self.rest(now + wait);
            }
        }
        self.ready
    }

    fn has_to_wait_for_room(&self, entrance: &Entrance<'_>) -> bool {
        let service = self.service();
        let waits = service.options.overflow == Overflow::Wait;
        entrance.pressed || (waits && !entrance.admission.has_room(service))
    }

    /// Accepts nobody until there is room. Where nobody is known to wait, asks the poll for a new edge instead of
    /// looking for room again and again.
    fn wait_for_room(&mut self, entrance: &Entrance<'_>) {
        if self.awaited {
            entrance.admission.note_waiting();
            return self.rest(entrance.now + ROOM_LOOK);
        }
        self.ready = false;
        if self
            .listener
            .reregister(entrance.registry, self.token)
            .is_err()
        {
            self.rest(entrance.now + ROOM_LOOK);
        }
    }

    fn rest(&mut self, until: Instant) {
        self.ready = false;
        self.rests_until = Some(until);
    }

    /// One try: a connection that is let in and counted, or nothing; [`is_ready`](Self::is_ready) tells whether
    /// another try is worth it.
    pub(crate) fn accept(&mut self, entrance: &Entrance<'_>) -> Option<Arrival<Stream>> {
        let (now, admission) = (entrance.now, entrance.admission);
        match self.listener.accept(&self.service().options) {
            Ok((stream, peer)) => {
                (self.starved, self.awaited) = (false, false);
                self.let_in(stream, peer, now, admission)
            }
            Err(error) => {
                self.note_error(&error, now, admission);
                None
            }
        }
    }

    /// Lets a connection in for which there is room, or may be made; resets any other.
    fn let_in(
        &self,
        stream: Stream,
        peer: Peer,
        now: Instant,
        admission: &Admission,
    ) -> Option<Arrival<Stream>> {
        let service = self.service();
        service.note_accepted(now);
        let (full, overflow) = (!admission.has_room(service), service.options.overflow);
        let refused = if !admission.has_reserve() {
            Some(NO_DESCRIPTOR)
        } else if full && overflow == Overflow::Refuse {
            Some(NO_ROOM)
        } else if !service.admit(&peer) {
            Some("its address has as many as connections_per_address_max allows")
        } else {
            None
        };
        if let Some(why) = refused {
            admission.note_refused(why);
            stream.reset();
            // Its descriptor may be the one in reserve, without which nobody else could be told.
            admission.has_reserve();
            return None;
        }
        Some(Arrival {
            stream,
            peer,
            service: Arc::clone(service),
            connect_timeout: None,
            evicts: full && overflow == Overflow::EvictIdle,
        })
    }

    fn note_error(&mut self, error: &io::Error, now: Instant, admission: &Admission) {
        let kind = AcceptError::of(error);
        match kind {
            AcceptError::Nobody => (self.ready, self.awaited) = (false, false),
            AcceptError::Interrupted => {}
            AcceptError::OfOneConnection => admission.note_error(error, kind.advice()),
            AcceptError::OfTheSystem => {
                admission.note_error(error, kind.advice());
                self.rest(now + ACCEPT_BACKOFF);
            }
            AcceptError::NoDescriptor => {
                admission.note_error(error, kind.advice());
                self.rest(now + ACCEPT_BACKOFF);
                // One that lasts a moment costs nobody a connection.
                if std::mem::replace(&mut self.starved, true) {
                    self.turn_away_waiting(admission);
                }
            }
        }
    }

    /// Tells those who wait that there is no descriptor for them, one after the other by the one in reserve: else
    /// they would wait in the backlog without an end in sight.
    fn turn_away_waiting(&self, admission: &Admission) {
        let (listener, options) = (&self.listener, &self.listens.service().options);
        admission.with_reserve(|| {
            for _ in 0..ACCEPT_BATCH {
                let Ok((stream, _)) = listener.accept(options) else {
                    return;
                };
                admission.note_refused(NO_DESCRIPTOR);
                stream.reset();
            }
        });
    }

    /// Takes the listener out of the poll when its service is ending; `false` when it is to be dropped.
    pub(crate) fn goes_on(&mut self, registry: &Registry) -> bool {
        let goes_on = !self.service().is_ending();
        if !goes_on {
            self.listener.deregister(registry);
        }
        goes_on
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;

    use mio::{Events, Poll};

    use super::super::socket::Bound;
    use super::*;
    use crate::address::{IntoPlace, Place};
    use crate::clock::Clock;
    use crate::options::Options;

    fn is_ready(open: &mut OpenListener, now: Instant, admission: &Admission, poll: &Poll) -> bool {
        open.is_ready(&at(now, admission, poll))
    }

    fn at<'a>(now: Instant, admission: &'a Admission, poll: &'a Poll) -> Entrance<'a> {
        Entrance {
            now,
            admission,
            pressed: false,
            registry: poll.registry(),
        }
    }

    fn open() -> (OpenListener, Admission, Poll) {
        open_with(Options::default())
    }

    fn open_with(options: Options) -> (OpenListener, Admission, Poll) {
        let poll = Poll::new().expect("a descriptor");
        let place = "127.0.0.1:0".into_place().expect("an address");
        let bound = Bound::new(&place, &options).expect("a free port");
        let service = Service::new(Box::new(|_| unreachable!("nobody connects")), options);
        let listens = Listens::new(&service);
        let listener = OpenListener::new(bound.listener(), listens, poll.registry(), Token(0));
        let admission = Admission::new(Clock::manual(), Vec::new(), 1);
        (listener.expect("a new poll"), admission, poll)
    }

    #[test]
    fn it_rests_after_an_error_that_another_try_would_not_cure() {
        let (mut open, admission, poll) = open();
        let start = Instant::START;
        let errors = [
            io::ErrorKind::Other,
            io::ErrorKind::OutOfMemory,
            io::ErrorKind::InvalidInput,
        ];
        for (n, kind) in errors.into_iter().enumerate() {
            let now = start + u32::try_from(n).expect("few") * ACCEPT_BACKOFF;
            assert!(
                is_ready(&mut open, now, &admission, &poll),
                "the rest has an end"
            );
            open.note_error(&kind.into(), now, &admission);
            open.note_ready();
            assert!(!is_ready(&mut open, now, &admission, &poll), "{kind:?}");
            assert_eq!(open.timeout(now), Some(ACCEPT_BACKOFF));
        }
        assert_eq!(
            admission
                .stats()
                .accept_errors
                .load(std::sync::atomic::Ordering::Relaxed),
            3
        );
    }

    #[test]
    fn it_goes_on_after_an_error_of_one_connection_until_there_is_none() {
        let (mut open, admission, poll) = open();
        open.note_error(
            &io::ErrorKind::ConnectionAborted.into(),
            Instant::START,
            &admission,
        );
        open.note_error(
            &io::ErrorKind::Interrupted.into(),
            Instant::START,
            &admission,
        );
        assert!(is_ready(&mut open, Instant::START, &admission, &poll));
        assert!(
            open.accept(&at(Instant::START, &admission, &poll))
                .is_none()
        );
        assert!(
            !is_ready(&mut open, Instant::START, &admission, &poll),
            "nobody has connected"
        );
    }

    /// Whether the poll tells of the listener, of which it is known whether it should.
    fn tells(poll: &mut Poll, expected: bool) -> bool {
        let patience = if expected { 10_000 } else { 0 };
        let mut events = Events::with_capacity(4);
        poll.poll(&mut events, Some(Duration::from_millis(patience)))
            .expect("a poll");
        !events.is_empty()
    }

    #[test]
    fn it_looks_for_room_only_while_somebody_waits() {
        let (mut open, admission, mut poll) = open_with(Options {
            overflow: Overflow::Wait,
            connections_max: Some(1),
            ..Options::default()
        });
        let start = Instant::START;
        let Place::Inet(address) = open.listener.place() else {
            unreachable!("it listens on an address");
        };
        let _first = TcpStream::connect(address).expect("it listens");
        assert!(tells(&mut poll, true));
        open.note_ready();
        assert!(is_ready(&mut open, start, &admission, &poll));
        let inside = open
            .accept(&at(start, &admission, &poll))
            .expect("room for one");
        // Full, and nobody there: it sleeps until the poll tells.
        assert!(!is_ready(&mut open, start, &admission, &poll));
        assert_eq!(open.timeout(start), None);
        assert!(!tells(&mut poll, false));
        let _second = TcpStream::connect(address).expect("it listens");
        assert!(tells(&mut poll, true));
        open.note_ready();
        assert!(!is_ready(&mut open, start, &admission, &poll));
        assert_eq!(open.timeout(start), Some(ROOM_LOOK));
        inside.service.leave(&inside.peer);
        let later = start + ROOM_LOOK;
        assert!(is_ready(&mut open, later, &admission, &poll));
        assert!(open.accept(&at(later, &admission, &poll)).is_some());
    }

    #[test]
    fn who_waits_already_when_it_fills_is_told_of_once_more() {
        let (mut open, admission, mut poll) = open_with(Options {
            overflow: Overflow::Wait,
            connections_max: Some(1),
            ..Options::default()
        });
        let Place::Inet(address) = open.listener.place() else {
            unreachable!("it listens on an address");
        };
        let _both = [(); 2].map(|()| TcpStream::connect(address).expect("it listens"));
        assert!(tells(&mut poll, true));
        open.note_ready();
        let entrance = at(Instant::START, &admission, &poll);
        assert!(open.is_ready(&entrance) && open.accept(&entrance).is_some());
        assert!(!open.is_ready(&entrance));
        assert!(
            tells(&mut poll, true),
            "the second was in the same edge as the first"
        );
    }
}
