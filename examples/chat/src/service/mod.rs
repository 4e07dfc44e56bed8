//! The service: what a connection of the chat goes through. Runs on any network, also on one in memory.
//!
//! ```text
//!   before a login   codec <-> idle <-> login
//!   after it         codec <-> idle <-> heartBeat <-> chat
//! ```
//! A login puts `chat` and `heartBeat` in the place of `login`, and a logout puts `login` back; the connection
//! stays.

mod chat;
mod heart_beat;
mod login;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use netwheel::stages::Idle;
use netwheel::{Duplicate, Executor, HasPipeline, Net, Pipeline, Server, Sessions, WhenFull};

use crate::ledger::store_name;
use crate::limits::{DESK_NEWS_MAX, IDLE_TIMEOUT, LOGIN_TIMEOUT, LOGINS_WAITING_MAX};
use crate::office::{Device, Office, OfficeOptions};
use crate::protocol::{Frame, HeadContent, Packet};
use crate::store::Store;
use crate::users::Users;
use login::Login;

/// What a callback of the service is given.
type Cx<'a> = netwheel::Context<'a, Frame, Packet>;

/// How the service does what it does; the defaults are those of [`limits`](crate::limits).
#[derive(Clone, Debug)]
pub struct Options {
    /// From the connect, or a logout, to a login.
    pub login_timeout: Duration,
    /// Silence after which a connection is given up.
    pub idle_timeout: Duration,
    /// What becomes of a second login of a user on one platform.
    pub duplicate: Duplicate,
    /// Threads that check passwords; zero means twice the cores.
    pub login_threads: usize,
    /// Messages and the time they get.
    pub office: OfficeOptions,
}

impl Options {
    /// The defaults, with a clock that tells the milliseconds since 1970.
    #[must_use]
    pub fn new(clock: fn() -> u64) -> Self {
        Self {
            login_timeout: LOGIN_TIMEOUT,
            idle_timeout: IDLE_TIMEOUT,
            duplicate: Duplicate::RejectNew,
            login_threads: 0,
            office: OfficeOptions {
                copies: true,
                clock,
            },
        }
    }
}

/// What all connections share. A clone is the same service.
#[derive(Clone)]
pub struct Service(Arc<Shared>);

struct Shared {
    options: Options,
    office: Office,
    sessions: Sessions<Device, Packet>,
    users: Arc<dyn Users>,
    store: Arc<dyn Store>,
    /// Told with each login: numbers of messages are of one store.
    store_name: String,
    /// Checks passwords, each of which takes its time, and nothing else.
    doormen: Executor,
    /// Reads histories.
    librarians: Executor,
}

impl Service {
    /// A service on a network.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn new(
        net: &Net,
        store: Arc<dyn Store>,
        users: Arc<dyn Users>,
        options: Options,
    ) -> io::Result<Self> {
        Self::with(|threads| net.executor(threads), store, users, options)
    }

    /// A service of a server that has a reactor of its own, by the system's threads.
    ///
    /// # Errors
    ///
    /// When the store cannot be read.
    pub fn own(store: Arc<dyn Store>, users: Arc<dyn Users>, options: Options) -> io::Result<Self> {
        Self::with(Executor::new, store, users, options)
    }

    fn with(
        pool: impl Fn(usize) -> Executor,
        store: Arc<dyn Store>,
        users: Arc<dyn Users>,
        options: Options,
    ) -> io::Result<Self> {
        let doormen = pool(options.login_threads);
        let clerk = pool(1).queue_max(DESK_NEWS_MAX);
        Ok(Self(Arc::new(Shared {
            office: Office::new(clerk, Arc::clone(&store), options.office)?,
            sessions: Sessions::with(1, options.duplicate),
            users,
            store_name: store_name(&*store)?,
            store,
            doormen: doormen
                .queue_max(LOGINS_WAITING_MAX)
                .on_full(WhenFull::Reject),
            librarians: pool(2).on_full(WhenFull::Reject),
            options,
        })))
    }

    /// Gives a server the service's pipeline.
    #[must_use]
    pub fn on(&self, server: Server) -> Server<HasPipeline> {
        let service = self.clone();
        server.pipeline(move |_peer| service.pipeline())
    }

    /// The pipeline of a connection that is not logged in.
    #[must_use]
    pub fn pipeline(&self) -> Pipeline<Frame, Packet> {
        let idle = Idle::new().read(self.0.options.idle_timeout).close();
        Pipeline::new(HeadContent)
            .stage("idle", idle)
            .stage("login", Login::new(self))
            .handle(|cx, frame| {
                // Of a type that nobody knows: of a newer client, perhaps.
                log::debug!(
                    "{}: a message of type {} is passed over",
                    cx.peer(),
                    frame.message.r#type
                );
                Ok(())
            })
    }

    /// Keeps a connection that is to close until the office has answered it.
    fn stay(&self, cx: &mut Cx<'_>) {
        // By jobs that come behind those of the office: one for what lies on the desk now, and one for what was read
        // together with it.
        let again = self.clone();
        stay(cx, self, move |cx| stay(cx, &again, |_| {}));
    }

    /// Sessions at this moment.
    #[must_use]
    pub fn online(&self) -> usize {
        self.0.sessions.online()
    }
}

fn stay(cx: &mut Cx<'_>, service: &Service, then: impl FnOnce(&mut Cx<'_>) + 'static) {
    let pool = service.0.office.pool();
    // Refused only where many other jobs of the connection wait: it stays for those.
    let _ = cx.offload(
        pool,
        || (),
        |cx, ()| {
            then(cx);
            Ok(())
        },
    );
}

impl std::fmt::Debug for Service {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Service")
            .field("online", &self.online())
            .finish_non_exhaustive()
    }
}
