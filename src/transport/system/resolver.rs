//! Names, looked up where it may take its time.
//!
//! The system's own lookup blocks, for half a minute where a name server is silent, and cannot be broken
//! off. So it runs on threads of its own, which are started when there is something to look up.

use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use log::error;

use crate::clock::{Clock, Instant};
use crate::error::{Error, ErrorKind};
use crate::limits::LOOKUPS_MAX;
use crate::net::Resolved;
use crate::panics::contain;
use crate::sync::lock;
use crate::thread_role;

/// Threads that look up: a silent name server holds one for half a minute, and others should go on.
const THREADS_MAX: usize = 4;

/// What is asked of the threads.
struct Lookup {
    host: String,
    port: u16,
    deadline: Instant,
    done: Resolved,
}

/// The threads that look names up, at most [`THREADS_MAX`].
///
/// Threads: any may ask. Limit: [`LOOKUPS_MAX`] names wait. The threads end with the reactor; one that
/// looks up at that moment is not waited for, as the system does not let go of it.
pub(crate) struct Resolver {
    clock: Clock,
    lookups: Mutex<Option<Sender<Lookup>>>,
    desk: Desk,
    threads: Mutex<Vec<Clerk>>,
}

/// One of the threads.
struct Clerk {
    thread: JoinHandle<()>,
    /// Whether it may be looking up. Set before it looks whether the end has come, as the end is set before
    /// anybody looks here: one of the two sees the other.
    busy: Arc<AtomicBool>,
}

/// What the threads share.
#[derive(Clone)]
struct Desk {
    clock: Clock,
    lookups: Receiver<Lookup>,
    /// Lookups that wait or are being done.
    open: Arc<AtomicUsize>,
    ended: Arc<AtomicBool>,
}

impl Resolver {
    pub(crate) fn new(clock: Clock) -> Self {
        let (sender, lookups) = bounded(LOOKUPS_MAX);
        let desk = Desk {
            clock: clock.clone(),
            lookups,
            open: Arc::default(),
            ended: Arc::default(),
        };
        let lookups = Mutex::new(Some(sender));
        Self {
            clock,
            lookups,
            desk,
            threads: Mutex::default(),
        }
    }

    /// Looks a name up, and tells `done` on one of the threads; dropped uncalled after the end.
    pub(crate) fn resolve(&self, host: &str, port: u16, timeout: Duration, done: Resolved) {
        let lookup = Lookup {
            host: host.to_owned(),
            port,
            deadline: self.clock.now() + timeout,
            done,
        };
        let Some(sender) = lock(&self.lookups).clone() else {
            return;
        };
        self.desk.open.fetch_add(1, Ordering::Relaxed);
        if let Err(refused) = sender.try_send(lookup) {
            self.desk.open.fetch_sub(1, Ordering::Relaxed);
            let text = format!("{LOOKUPS_MAX} names wait to be looked up, the most that may");
            let error = Error::new(ErrorKind::OverLimit, text);
            return (refused.into_inner().done)(Err(error));
        }
        self.start_thread();
    }

    /// Starts a thread, unless there are enough for all that is open.
    fn start_thread(&self) {
        let mut threads = lock(&self.threads);
        let wanted = self.desk.open.load(Ordering::Relaxed).min(THREADS_MAX);
        if threads.len() >= wanted {
            return;
        }
        let (desk, busy) = (self.desk.clone(), Arc::new(AtomicBool::new(false)));
        let told = Arc::clone(&busy);
        let name = format!("netwheel-name-{}", threads.len());
        match thread::Builder::new()
            .name(name)
            .spawn(move || desk.run(&told))
        {
            Ok(thread) => threads.push(Clerk { thread, busy }),
            // What waits is given up at its deadline, unless another thread comes to it.
            Err(error) => {
                error!(target: "netwheel::reactor", "cannot start a thread to look names up: {error}");
            }
        }
    }

    /// Takes no more, and drops what waits.
    pub(crate) fn end(&self) {
        self.desk.ended.store(true, Ordering::SeqCst);
        let sender = lock(&self.lookups).take();
        drop(sender);
        while let Ok(lookup) = self.desk.lookups.try_recv() {
            drop(lookup);
        }
    }

    /// Waits for the threads, but for those that look up; after the end.
    pub(crate) fn join(&self) {
        let threads = std::mem::take(&mut *lock(&self.threads));
        for clerk in threads {
            if !clerk.busy.load(Ordering::SeqCst) && clerk.thread.join().is_err() {
                error!(target: "netwheel::reactor", "a thread that looks names up panicked");
            }
        }
    }
}

impl Desk {
    fn run(&self, busy: &AtomicBool) {
        thread_role::become_io_thread();
        while let Ok(lookup) = self.lookups.recv() {
            busy.store(true, Ordering::SeqCst);
            if !self.ended.load(Ordering::SeqCst) && contain(|| self.answer(lookup)).is_err() {
                error!(target: "netwheel::reactor", "what was told of a name has panicked");
            }
            busy.store(false, Ordering::SeqCst);
            self.open.fetch_sub(1, Ordering::Relaxed);
        }
    }

    fn answer(&self, lookup: Lookup) {
        let Lookup {
            host,
            port,
            deadline,
            done,
        } = lookup;
        if self.clock.now() >= deadline {
            let text = format!("{host} was not looked up in time: other names take long");
            return done(Err(Error::new(ErrorKind::Timeout, text)));
        }
        let found = look_up(&host, port);
        // Whoever asked ends with the network, and hears of it by the drop.
        if !self.ended.load(Ordering::Acquire) {
            done(found);
        }
    }
}

fn look_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, Error> {
    let unknown = |why: String| {
        let text = format!("no address for {host}: {why}");
        Error::new(ErrorKind::Address, text)
    };
    let found = (host, port).to_socket_addrs();
    let found: Vec<_> = found.map_err(|error| unknown(error.to_string()))?.collect();
    if found.is_empty() {
        return Err(unknown("the name has none".into()));
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(30);

    type Answer = Result<Vec<SocketAddr>, Error>;

    fn ask(resolver: &Resolver, host: &str, timeout: Duration) -> mpsc::Receiver<Answer> {
        let (tell, told) = mpsc::channel();
        let done = Box::new(move |found| tell.send(found).expect("the test listens"));
        resolver.resolve(host, 80, timeout, done);
        told
    }

    #[test]
    fn a_name_is_looked_up_on_a_thread_of_its_own() {
        let resolver = Resolver::new(Clock::system());
        let told = ask(&resolver, "localhost", PATIENCE);
        let found = told
            .recv_timeout(PATIENCE)
            .expect("an answer")
            .expect("known");
        assert!(
            found.iter().all(|address| address.ip().is_loopback()),
            "{found:?}"
        );
        assert!(found.iter().all(|address| address.port() == 80));
        resolver.end();
        resolver.join();
    }

    #[test]
    fn a_lookup_that_is_late_already_is_not_begun() {
        let resolver = Resolver::new(Clock::manual());
        let told = ask(&resolver, "localhost", Duration::ZERO);
        let error = told
            .recv_timeout(PATIENCE)
            .expect("an answer")
            .expect_err("late");
        assert_eq!(error.kind(), ErrorKind::Timeout);
    }

    #[test]
    fn after_the_end_nobody_is_told() {
        let resolver = Resolver::new(Clock::system());
        resolver.end();
        let told = ask(&resolver, "localhost", PATIENCE);
        assert_eq!(
            told.recv_timeout(PATIENCE).expect_err("dropped"),
            mpsc::RecvTimeoutError::Disconnected
        );
    }
}
