//! Connections that are lent out.

use std::fmt;
use std::ops::Deref;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::clock::{Clock, Instant};
use crate::error::{Error, ErrorKind};
use crate::handle::ConnectionHandle;
use crate::limits::at_least_one;
use crate::sync::lock;
use crate::thread_role;

type Connect<Out> = Box<dyn Fn() -> Result<ConnectionHandle<Out>, Error> + Send + Sync>;
type Check<Out> = Box<dyn Fn(&ConnectionHandle<Out>) -> bool + Send + Sync>;

/// A bounded number of connections that are lent to one user at a time.
///
/// ```no_run
/// use std::time::Duration;
/// use netwheel::{Client, ConnectionPool, Pipeline, Reactor, codec::LengthField};
///
/// # fn main() -> netwheel::Result<()> {
/// let reactor = Reactor::builder().start()?;
/// let client = Client::on(&reactor)
///     .pipeline(|| Pipeline::new(LengthField::u32()).handle(|_, _answer| Ok(())));
/// let pool = ConnectionPool::new(8, move || client.connect("10.0.0.1:7001"))?;
/// let connection = pool.acquire(Duration::from_secs(1))?; // waits while all eight are lent
/// connection.try_send("over a connection of my own".into())?;
/// # Ok(()) // it goes back when it is dropped
/// # }
/// ```
///
/// The one that came back last is lent first, so that others fall idle and may be closed by a stage.
/// One that has ended meanwhile is forgotten, and another one dialled in its place. A clone is the same
/// pool; when the last has gone, those that are not lent are closed.
///
/// Threads: any. Cost: a lock. Limit: the number it was made with.
pub struct ConnectionPool<Out>(Arc<Pool<Out>>);

struct Pool<Out> {
    connect: Connect<Out>,
    check: Option<Check<Out>>,
    max: usize,
    clock: Clock,
    shelf: Mutex<Shelf<Out>>,
    freed: Condvar,
}

struct Shelf<Out> {
    idle: Vec<ConnectionHandle<Out>>,
    /// Connections there are, those that are lent or being dialled included.
    count: usize,
}

/// What an acquire finds.
enum Found<Out> {
    Idle(ConnectionHandle<Out>),
    /// Nothing, but there is room for another one, which is counted already.
    Room,
    Nothing,
}

impl<Out> Pool<Out> {
    /// An idle connection that has not ended, or room for another one.
    fn find(shelf: &mut Shelf<Out>, max: usize) -> Found<Out> {
        while let Some(handle) = shelf.idle.pop() {
            if !handle.is_closing() {
                return Found::Idle(handle);
            }
            shelf.count -= 1;
        }
        if shelf.count < max {
            shelf.count += 1;
            return Found::Room;
        }
        Found::Nothing
    }

    /// Whether the program wants a connection; one that it does not want is closed.
    fn wants(&self, handle: &ConnectionHandle<Out>) -> bool {
        let wanted = self.check.as_ref().is_none_or(|check| check(handle));
        if !wanted {
            handle.close();
        }
        wanted
    }

    fn give_back(&self, handle: ConnectionHandle<Out>) {
        if handle.is_closing() {
            return self.forget();
        }
        lock(&self.shelf).idle.push(handle);
        self.freed.notify_one();
    }

    /// There is room for another one.
    fn forget(&self) {
        lock(&self.shelf).count -= 1;
        self.freed.notify_one();
    }

    fn wait<'a>(
        &self,
        shelf: MutexGuard<'a, Shelf<Out>>,
        deadline: Instant,
    ) -> Option<MutexGuard<'a, Shelf<Out>>> {
        let left = deadline.since(self.clock.now());
        if left.is_zero() {
            return None;
        }
        let waited = self.freed.wait_timeout(shelf, left);
        Some(waited.unwrap_or_else(PoisonError::into_inner).0)
    }
}

/// Room that was counted for a connection which is still to come; given back unless it comes.
struct Room<'a, Out>(Option<&'a Pool<Out>>);

impl<Out> Drop for Room<'_, Out> {
    fn drop(&mut self) {
        if let Some(pool) = self.0 {
            pool.forget();
        }
    }
}

impl<Out> ConnectionPool<Out> {
    /// A pool of at most `max` connections, each dialled by `connect` when it is needed.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Config`] when `max` is zero.
    pub fn new(
        max: usize,
        connect: impl Fn() -> Result<ConnectionHandle<Out>, Error> + Send + Sync + 'static,
    ) -> Result<Self, Error> {
        at_least_one("max", max)?;
        let shelf = Shelf {
            idle: Vec::new(),
            count: 0,
        };
        Ok(Self(Arc::new(Pool {
            connect: Box::new(connect),
            check: None,
            max,
            clock: Clock::system(),
            shelf: Mutex::new(shelf),
            freed: Condvar::new(),
        })))
    }

    /// Looks at each connection before it is lent again; one that `check` answers `false` for is closed,
    /// and another one taken. Runs on the thread that acquires. That it has not ended is always looked at.
    ///
    /// # Panics
    ///
    /// When the pool is in use already.
    #[must_use]
    pub fn check(
        mut self,
        check: impl Fn(&ConnectionHandle<Out>) -> bool + Send + Sync + 'static,
    ) -> Self {
        let pool = Arc::get_mut(&mut self.0).expect("a check is set before the pool is shared");
        pool.check = Some(Box::new(check));
        self
    }

    /// Lends a connection that is open: an idle one, or a new one, or the next that comes back.
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Timeout`] after `timeout`, [`ErrorKind::Closed`] when the one that was dialled could
    /// not be opened, [`ErrorKind::Misuse`] on an I/O thread, where
    /// [`try_acquire`](Self::try_acquire) is the one to call; otherwise what `connect` answers.
    pub fn acquire(&self, timeout: Duration) -> Result<Pooled<Out>, Error> {
        thread_role::refuse_on_io_thread("wait for a connection of a pool")?;
        let deadline = self.0.clock.now() + timeout;
        loop {
            if let Some(lent) = self.find()? {
                let left = deadline.since(self.0.clock.now());
                lent.wait_open(left).inspect_err(|_| lent.close())?;
                return Ok(lent);
            }
            let shelf = lock(&self.0.shelf);
            if shelf.count < self.0.max || !shelf.idle.is_empty() {
                continue;
            }
            if self.0.wait(shelf, deadline).is_none() {
                let max = self.0.max;
                let text = format!("all {max} connections of the pool were lent for {timeout:?}");
                return Err(Error::new(ErrorKind::Timeout, text));
            }
        }
    }

    /// Lends a connection without waiting, or nothing when all are lent. One that is dialled for it may
    /// not be open yet: what is sent waits for that.
    ///
    /// # Errors
    ///
    /// What `connect` answers.
    pub fn try_acquire(&self) -> Result<Option<Pooled<Out>>, Error> {
        self.find()
    }

    fn find(&self) -> Result<Option<Pooled<Out>>, Error> {
        let pool = &self.0;
        loop {
            let found = Pool::find(&mut lock(&pool.shelf), pool.max);
            if let Found::Nothing = found {
                return Ok(None);
            }
            // The program's code may fail or panic; then there is room for another one.
            let mut room = Room(Some(pool));
            let handle = match found {
                Found::Idle(handle) if !pool.wants(&handle) => continue,
                Found::Idle(handle) => handle,
                _ => (pool.connect)()?,
            };
            room.0 = None;
            return Ok(Some(Pooled {
                handle: Some(handle),
                pool: Arc::clone(pool),
            }));
        }
    }

    /// Connections there are, lent or not. A snapshot.
    #[must_use]
    pub fn count(&self) -> usize {
        lock(&self.0.shelf).count
    }

    /// Connections that could be lent at once. A snapshot.
    #[must_use]
    pub fn idle(&self) -> usize {
        lock(&self.0.shelf).idle.len()
    }
}

impl<Out> Drop for Pool<Out> {
    fn drop(&mut self) {
        for handle in lock(&self.shelf).idle.drain(..) {
            handle.close_after_flush();
        }
    }
}

/// A connection on loan; goes back to its pool when it is dropped, unless it has ended.
///
/// Whoever leaves a conversation in the middle, so that the next user would read its rest, closes it first.
#[must_use = "it goes back at once"]
pub struct Pooled<Out> {
    /// Present until the drop.
    handle: Option<ConnectionHandle<Out>>,
    pool: Arc<Pool<Out>>,
}

impl<Out> Deref for Pooled<Out> {
    type Target = ConnectionHandle<Out>;

    fn deref(&self) -> &Self::Target {
        self.handle.as_ref().expect("present until the drop")
    }
}

impl<Out> Drop for Pooled<Out> {
    fn drop(&mut self) {
        if let Some(handle) = self.handle.take() {
            self.pool.give_back(handle);
        }
    }
}

impl<Out> Clone for ConnectionPool<Out> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<Out> fmt::Debug for ConnectionPool<Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shelf = lock(&self.0.shelf);
        f.debug_struct("ConnectionPool")
            .field("max", &self.0.max)
            .field("count", &shelf.count)
            .field("idle", &shelf.idle.len())
            .finish_non_exhaustive()
    }
}

impl<Out> fmt::Debug for Pooled<Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pooled").field(&self.handle).finish()
    }
}
