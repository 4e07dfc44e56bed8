//! Who is logged in: sessions by their name and by their user.
//!
//! ```text
//!   login ──> one lock: room for the user? kick or reject, insert ──> Session, a guard
//!                                        the guard is dropped with its connection ──> removed
//! ```
//! The check and the insertion are one step, so of two logins that race for one place one wins. The table is
//! behind a single lock, which is held for a look-up or an insertion, and never while the program's code runs
//! but for the keys' `Hash`, `Eq` and `Clone`. Shards would gain nothing: among 10,000 users a look-up takes
//! 0.14 us and a login with its logout 0.37, and four threads at once (on two cores) 0.18 and 0.34.

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::fmt;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Mutex};

use crate::error::{CloseReason, DuplicateLogin};
use crate::handle::{CloseRequest, ConnectionHandle};
use crate::sync::lock;

/// What becomes of a login of a user who has the most sessions allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Duplicate {
    /// The new one is refused, with [`DuplicateLogin`].
    #[default]
    RejectNew,
    /// The user's oldest session ends, and its connection closes with
    /// [`CloseReason::Duplicate`](crate::CloseReason::Duplicate) once what was sent to it has left.
    KickOld,
}

/// Names one session: 128 bits that a stranger cannot guess, shown as 32 hex digits.
///
/// Threads: any. Cost: 16 bytes, `Copy`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(u128);

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The sessions of a service, by name and by user; what a user is, `K` says: a name, or a name and a platform.
///
/// ```
/// use netwheel::codec::{Lines, Utf8};
/// use netwheel::{Context, Framing, Handler, Pipeline, Result, Server, Sessions};
///
/// /// The first line is a name; each further one goes to whoever has the name before its colon.
/// struct Post(Sessions<String, String>);
///
/// type Cx<'a> = Context<'a, String, String>;
/// type Session = netwheel::Session<String, String>;
///
/// impl Handler<String, String> for Post {
///     fn on_message(&mut self, cx: &mut Cx<'_>, line: String) -> Result<()> {
///         if cx.attribute::<Session>().is_none() {
///             let session = self.0.login(line, &cx.handle())?; // else it closes, as a duplicate
///             cx.attributes().insert(session); // logged out when the connection ends
///             return Ok(());
///         }
///         if let Some((to, text)) = line.split_once(':') {
///             self.0.send(to, &text.to_owned());
///         }
///         Ok(())
///     }
/// }
///
/// let sessions = Sessions::new();
/// let server = Server::new().pipeline(move |_peer| {
///     Pipeline::new(Lines::new().then(Utf8::new())).handler(Post(sessions.clone()))
/// });
/// # let _ = server;
/// ```
///
/// Threads: any; a clone is the same registry. Cost: a lock, held for a look into two hash tables. Limit: so
/// many sessions a user as [`per_user_max`](Self::per_user_max) says, 1 by default; in all, as many as there
/// are guards, which live in connections.
pub struct Sessions<K, Out> {
    shared: Arc<Shared<K, Out>>,
}

struct Shared<K, Out> {
    per_user_max: usize,
    duplicate: Duplicate,
    names: [RandomState; 2],
    table: Mutex<Table<K, Out>>,
}

struct Table<K, Out> {
    /// Logins so far.
    logins: u64,
    sessions: HashMap<SessionId, Entry<K, Out>>,
    /// The names of each user's sessions, oldest first; never an empty list.
    users: HashMap<K, Vec<SessionId>>,
}

struct Entry<K, Out> {
    user: K,
    handle: ConnectionHandle<Out>,
}

impl<K: Clone + Eq + Hash, Out> Sessions<K, Out> {
    /// A registry that allows one session a user, and refuses a second one.
    #[must_use]
    pub fn new() -> Self {
        Self::with(1, Duplicate::RejectNew)
    }

    /// A registry that allows so many sessions a user, and deals with one more as `duplicate` says.
    ///
    /// # Panics
    ///
    /// When `per_user_max` is zero, which lets nobody in.
    #[must_use]
    pub fn with(per_user_max: usize, duplicate: Duplicate) -> Self {
        assert!(per_user_max > 0, "a user has room for at least one session");
        Self {
            shared: Arc::new(Shared {
                per_user_max,
                duplicate,
                names: [RandomState::new(), RandomState::new()],
                table: Mutex::new(Table {
                    logins: 0,
                    sessions: HashMap::new(),
                    users: HashMap::new(),
                }),
            }),
        }
    }

    /// Sessions that a user may have at once.
    #[must_use]
    pub fn per_user_max(&self) -> usize {
        self.shared.per_user_max
    }

    /// Begins a session of `user` on a connection; it lasts as long as the guard that is returned.
    ///
    /// Keep the guard where it goes with the connection: in its [`attributes`](crate::Context::attributes),
    /// or in its handler. Of logins that race for the last place exactly one wins; with
    /// [`Duplicate::KickOld`] each wins in turn.
    ///
    /// # Errors
    ///
    /// [`DuplicateLogin`] when the user has the most sessions allowed, and the new one is refused. Passed on by
    /// `?` in a callback, it closes the connection with [`CloseReason::Duplicate`].
    pub fn login(
        &self,
        user: K,
        connection: &ConnectionHandle<Out>,
    ) -> Result<Session<K, Out>, DuplicateLogin> {
        let entry = Entry {
            user: user.clone(),
            handle: connection.clone(),
        };
        let (id, kicked) = self.shared.insert(entry)?;
        // Outside the lock: it takes that of the connection.
        for kicked in kicked {
            let request = CloseRequest::AfterFlush(CloseReason::Duplicate);
            kicked.handle.0.ask_to_close(request);
        }
        Ok(Session {
            id,
            user,
            shared: Arc::clone(&self.shared),
        })
    }

    /// The connection of a session.
    #[must_use]
    pub fn get(&self, id: SessionId) -> Option<ConnectionHandle<Out>> {
        let table = lock(&self.shared.table);
        table.sessions.get(&id).map(|entry| entry.handle.clone())
    }

    /// The user of a session.
    #[must_use]
    pub fn user(&self, id: SessionId) -> Option<K> {
        let table = lock(&self.shared.table);
        table.sessions.get(&id).map(|entry| entry.user.clone())
    }

    /// The sessions of a user at this moment, oldest first, with their connections.
    #[must_use]
    pub fn of_user<Q>(&self, user: &Q) -> Vec<(SessionId, ConnectionHandle<Out>)>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let table = lock(&self.shared.table);
        let ids = table.users.get(user).map_or(&[][..], Vec::as_slice);
        let found = ids.iter().filter_map(|id| {
            let entry = table.sessions.get(id)?;
            Some((*id, entry.handle.clone()))
        });
        found.collect()
    }

    /// Sends `message` to all sessions of a user; answers how many connections have taken it.
    ///
    /// Zero says that the user is offline, or that no connection has room.
    pub fn send<Q>(&self, user: &Q, message: &Out) -> usize
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
        Out: Clone,
    {
        let sessions = self.of_user(user);
        let sent =
            |(_, handle): &&(_, ConnectionHandle<Out>)| handle.try_send(message.clone()).is_ok();
        sessions.iter().filter(sent).count()
    }

    /// The users with at least one session at this moment, in no order. Cost: a copy of each key.
    #[must_use]
    pub fn users(&self) -> Vec<K> {
        lock(&self.shared.table).users.keys().cloned().collect()
    }

    /// Whether a user has a session.
    #[must_use]
    pub fn is_online<Q>(&self, user: &Q) -> bool
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        lock(&self.shared.table).users.contains_key(user)
    }

    /// Sessions at this moment.
    #[must_use]
    pub fn online(&self) -> usize {
        lock(&self.shared.table).sessions.len()
    }

    /// Users with at least one session at this moment.
    #[must_use]
    pub fn users_online(&self) -> usize {
        lock(&self.shared.table).users.len()
    }
}

impl<K: Clone + Eq + Hash, Out> Shared<K, Out> {
    /// Checks and inserts in one step; answers with the new name, and whom it has displaced.
    fn insert(
        &self,
        entry: Entry<K, Out>,
    ) -> Result<(SessionId, Vec<Entry<K, Out>>), DuplicateLogin> {
        let mut guard = lock(&self.table);
        let table = &mut *guard;
        let ids = table.users.get(&entry.user).map_or(&[][..], Vec::as_slice);
        let surplus = (ids.len() + 1).saturating_sub(self.per_user_max);
        if surplus > 0 && self.duplicate == Duplicate::RejectNew {
            return Err(DuplicateLogin {
                per_user_max: self.per_user_max,
            });
        }
        let oldest = ids[..surplus].to_vec();
        let kicked = oldest.into_iter().filter_map(|id| table.remove(id));
        let kicked = kicked.collect();
        let id = self.name(table.logins);
        table.logins += 1;
        table.users.entry(entry.user.clone()).or_default().push(id);
        table.sessions.insert(id, entry);
        Ok((id, kicked))
    }

    /// The name of the session of so manieth a login: a keyed hash, whose keys nobody knows.
    fn name(&self, login: u64) -> SessionId {
        let [high, low] = self.names.each_ref().map(|half| half.hash_one(login));
        SessionId(u128::from(high) << 64 | u128::from(low))
    }
}

impl<K: Eq + Hash, Out> Table<K, Out> {
    fn remove(&mut self, id: SessionId) -> Option<Entry<K, Out>> {
        let entry = self.sessions.remove(&id)?;
        if let Some(ids) = self.users.get_mut(&entry.user) {
            ids.retain(|other| *other != id);
            if ids.is_empty() {
                self.users.remove(&entry.user);
            }
        }
        Some(entry)
    }
}

impl<K: Clone + Eq + Hash, Out> Default for Sessions<K, Out> {
    fn default() -> Self {
        Self::new()
    }
}

impl<K, Out> Clone for Sessions<K, Out> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
        }
    }
}

impl<K, Out> fmt::Debug for Sessions<K, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let online = lock(&self.shared.table).sessions.len();
        f.debug_struct("Sessions").field("online", &online).finish()
    }
}

/// A session of a user, for as long as this guard lives; returned by [`Sessions::login`].
///
/// Dropping it logs out. One that was kicked is out already; dropping its guard does nothing to the session
/// that has its place.
pub struct Session<K: Eq + Hash, Out> {
    id: SessionId,
    user: K,
    shared: Arc<Shared<K, Out>>,
}

impl<K: Eq + Hash, Out> Session<K, Out> {
    /// Its name.
    #[must_use]
    pub fn id(&self) -> SessionId {
        self.id
    }

    /// Whose it is.
    #[must_use]
    pub fn user(&self) -> &K {
        &self.user
    }

    /// Whether it has not been kicked.
    #[must_use]
    pub fn is_live(&self) -> bool {
        lock(&self.shared.table).sessions.contains_key(&self.id)
    }

    /// Goes on with another handle: after [`upgrade`](crate::Context::upgrade) old ones are closed.
    pub fn rebind(&self, connection: &ConnectionHandle<Out>) {
        if let Some(entry) = lock(&self.shared.table).sessions.get_mut(&self.id) {
            entry.handle = connection.clone();
        }
    }
}

impl<K: Eq + Hash, Out> Drop for Session<K, Out> {
    fn drop(&mut self) {
        let entry = lock(&self.shared.table).remove(self.id);
        // Outside the lock: a key or a handle may be the last of something.
        drop(entry);
    }
}

impl<K: Eq + Hash + fmt::Debug, Out> fmt::Debug for Session<K, Out> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Session")
            .field("id", &self.id)
            .field("user", &self.user)
            .finish()
    }
}
