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
    /// Whether there was no descriptor left at the last look.
    starved: bool,
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
        self.ready = self.rests_until.is_none();
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
    ///
    /// `pressed` says that no worker behind it has memory for more.
    pub(crate) fn is_ready(&mut self, now: Instant, admission: &Admission, pressed: bool) -> bool {
        if self.rests_until.is_some_and(|until| now >= until) {
            (self.rests_until, self.ready) = (None, true);
        }
        if self.ready {
            let wait = if pressed {
                ROOM_LOOK
            } else {
                self.wait(now, admission)
            };
            if !wait.is_zero() {
                self.rest(now + wait);
            }
        }
        self.ready
    }

    /// How long whoever comes has to wait unaccepted.
    fn wait(&self, now: Instant, admission: &Admission) -> Duration {
        let service = self.service();
        if service.options.overflow == Overflow::Wait && !admission.has_room(service) {
            admission.note_waiting();
            return ROOM_LOOK;
        }
        service.accept_wait(now)
    }

    fn rest(&mut self, until: Instant) {
        self.ready = false;
        self.rests_until = Some(until);
    }

    /// One try: a connection that is let in and counted, or nothing; [`is_ready`](Self::is_ready) tells whether
    /// another try is worth it.
    pub(crate) fn accept(
        &mut self,
        now: Instant,
        admission: &Admission,
    ) -> Option<Arrival<Stream>> {
        match self.listener.accept(&self.service().options) {
            Ok((stream, peer)) => {
                self.starved = false;
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
        let refused = if full && overflow == Overflow::Refuse {
            Some(NO_ROOM)
        } else if !service.admit(&peer) {
            Some("its address has as many as connections_per_address_max allows")
        } else {
            None
        };
        if let Some(why) = refused {
            admission.note_refused(why);
            stream.reset();
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
            AcceptError::Nobody => self.ready = false,
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
                admission.note_refused("no descriptor is left");
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
    use mio::Poll;

    use super::super::socket::Bound;
    use super::*;
    use crate::address::IntoPlace;
    use crate::clock::Clock;
    use crate::options::Options;

    fn open() -> (OpenListener, Admission, Poll) {
        let poll = Poll::new().expect("a descriptor");
        let options = Options::default();
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
        let (mut open, admission, _poll) = open();
        let start = Instant::START;
        let errors = [
            io::ErrorKind::Other,
            io::ErrorKind::OutOfMemory,
            io::ErrorKind::InvalidInput,
        ];
        for (n, kind) in errors.into_iter().enumerate() {
            let now = start + u32::try_from(n).expect("few") * ACCEPT_BACKOFF;
            assert!(open.is_ready(now, &admission, false), "the rest has an end");
            open.note_error(&kind.into(), now, &admission);
            open.note_ready();
            assert!(!open.is_ready(now, &admission, false), "{kind:?}");
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
        let (mut open, admission, _poll) = open();
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
        assert!(open.is_ready(Instant::START, &admission, false));
        assert!(open.accept(Instant::START, &admission).is_none());
        assert!(
            !open.is_ready(Instant::START, &admission, false),
            "nobody has connected"
        );
    }
}
