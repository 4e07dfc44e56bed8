//! A listener in a poll, of the acceptor or of a worker.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::{Registry, Token};

use super::admission::Admission;
use super::socket::{Listener, Stream};
use crate::address::Peer;
use crate::clock::Instant;
use crate::connection::{Listens, Service};
use crate::limits::ACCEPT_BACKOFF;

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

    /// Whether a try may find a connection; ends a rest whose time has come.
    pub(crate) fn is_ready(&mut self, now: Instant) -> bool {
        if self.rests_until.is_some_and(|until| now >= until) {
            (self.rests_until, self.ready) = (None, true);
        }
        self.ready
    }

    /// One try: a connection that is let in, or nothing; [`is_ready`](Self::is_ready) tells whether
    /// another try is worth it.
    pub(crate) fn accept(&mut self, now: Instant, admission: &Admission) -> Option<(Stream, Peer)> {
        match self.listener.accept(&self.service().options) {
            // One that is refused is closed by being dropped.
            Ok(accepted) => admission.admits().then_some(accepted),
            Err(error) => {
                self.note_error(&error, now, admission);
                None
            }
        }
    }

    fn note_error(&mut self, error: &io::Error, now: Instant, admission: &Admission) {
        match error.kind() {
            io::ErrorKind::WouldBlock => self.ready = false,
            io::ErrorKind::Interrupted => {}
            _ => {
                admission.note_error(error);
                if !is_of_one_connection(error) {
                    self.ready = false;
                    self.rests_until = Some(now + ACCEPT_BACKOFF);
                }
            }
        }
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

/// Whether an accept failed because of the connection that it would have taken, so that the next may well
/// succeed: it was reset in the queue, or, on Linux, an error of its network was already pending (accept(2)).
///
/// Every other error is the listener's or the system's, such as having no descriptor left.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::NetworkDown
            | io::ErrorKind::NetworkUnreachable
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::TimedOut
            | io::ErrorKind::PermissionDenied
    )
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
            assert!(open.is_ready(now), "the rest has an end");
            open.note_error(&kind.into(), now, &admission);
            open.note_ready();
            assert!(!open.is_ready(now), "{kind:?}");
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
        assert!(open.is_ready(Instant::START));
        assert!(open.accept(Instant::START, &admission).is_none());
        assert!(!open.is_ready(Instant::START), "nobody has connected");
    }
}
