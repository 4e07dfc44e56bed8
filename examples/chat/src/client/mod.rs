//! A client of the chat: stays logged in, sends what was not acknowledged again, and shows nothing twice.
//!
//! ```text
//!   program ──say, ask──> [ ledger of what is unsent ] ──> connection, whenever there is one
//!   connection ──> pool: shown, then noted, then acknowledged ──> Screen, Notebook
//! ```
//! What is said is in the notebook before it leaves, with a number of its own by which the server knows it when it
//! comes again. What comes is shown before it is noted, and noted before it is acknowledged: whenever the process is
//! killed, nothing is lost, and at the most the message that was being shown is shown again.

mod memory;
mod notebook;
mod reader;
mod stages;

pub use memory::Unsent;
pub use notebook::{FileNotebook, NoNotebook, Notebook};

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use netwheel::{
    Backoff, Client, ClientState, Executor, IntoTarget, Net, Pipeline, ReconnectingHandle,
};
use serde_json::Value;

use crate::limits::{HEARTBEAT_INTERVAL, RECONNECT_INTERVAL};
use crate::lock;
use crate::office::Command;
use crate::protocol::{HeadContent, HeadType, MessageRequest, Packet};
use memory::Memory;
use notebook::Journal;
use reader::Reader;
use stages::Login;

/// What a client shows. Told in order, on one thread at a time, which may block.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum News {
    /// The login has succeeded.
    LoggedIn,
    /// It has failed; whether another try may succeed.
    Refused {
        /// Why.
        why: String,
        /// Whether the client tries again by itself.
        again: bool,
    },
    /// Somebody has said something.
    Said {
        /// The server's number of it.
        id: u64,
        /// Who.
        from: String,
        /// To this user, or in that room.
        to: String,
        /// What.
        content: String,
    },
    /// What this client has said is on the server's disk.
    Kept {
        /// The client's number of it.
        number: u64,
    },
    /// What this client has said will reach nobody.
    NotSent {
        /// The client's number of it.
        number: u64,
        /// Why.
        why: String,
    },
    /// The answer to a command, joined from all its blocks.
    Answer {
        /// The command.
        command: Command,
        /// What came of it, or why nothing.
        result: Result<Vec<Value>, String>,
    },
    /// Something has happened.
    Event(Value),
    /// The notebook was damaged, and what stood behind the damage is forgotten. Told before all else.
    Forgotten {
        /// What is wrong with it, and where it is kept.
        why: String,
    },
    /// The session has ended on this user's word.
    LoggedOut,
}

/// Where news go.
pub trait Screen: Send + Sync + 'static {
    /// Something is to be shown; it counts as seen once this has returned.
    fn show(&self, news: News);

    /// The connection comes or goes; told on its worker, so it must not block.
    fn state(&self, state: &ClientState) {
        let _ = state;
    }
}

/// Who logs in, and how patiently.
#[derive(Clone)]
pub struct Settings {
    /// The user.
    pub uid: String,
    /// The password.
    pub token: String,
    /// The platform, see [`Device`](crate::office::Device).
    pub platform: u32,
    /// Between two heartbeats; after two of them without a word the server is given up.
    pub heartbeat: Duration,
    /// Between two tries to connect.
    pub reconnect: Duration,
}

impl Settings {
    /// A user with a password, on a platform of another kind.
    #[must_use]
    pub fn new(uid: &str, token: &str) -> Self {
        Self {
            uid: uid.to_owned(),
            token: token.to_owned(),
            platform: 5,
            heartbeat: HEARTBEAT_INTERVAL,
            reconnect: RECONNECT_INTERVAL,
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the password.
        f.debug_struct("Settings")
            .field("uid", &self.uid)
            .finish_non_exhaustive()
    }
}

/// What the parts of a client share.
struct Shared {
    settings: Settings,
    memory: Mutex<Memory>,
    /// None once the client was dropped: the next one may have it.
    journal: Mutex<Option<Journal>>,
    screen: Arc<dyn Screen>,
    /// Set once the client has been started; ended by [`Shared::end`], since its own pipeline holds it here.
    handle: OnceLock<ReconnectingHandle<Packet>>,
}

impl Shared {
    /// Comes back no more.
    fn end(&self) {
        if let Some(handle) = self.handle.get() {
            handle.close_after_flush();
        }
    }

    /// Writes down what is to be known after a crash.
    fn note(&self, memory: &mut Memory) {
        if let Some(journal) = &mut *lock(&self.journal) {
            let failed_before = journal.is_torn();
            match journal.write(memory) {
                Err(error) if !failed_before => {
                    log::error!("the cursor file cannot be written, it is tried again: {error}");
                }
                _ => {}
            }
        }
    }
}

/// A client that is logged in whenever it can be. Ends when it is dropped.
pub struct ChatClient {
    shared: Arc<Shared>,
    handle: ReconnectingHandle<Packet>,
}

impl ChatClient {
    /// Starts a client on a network: it connects, logs in, and does so again whenever it has to.
    ///
    /// `clock` numbers what is said: the milliseconds since 1970, or anything else that grows from one start of
    /// the client to the next.
    ///
    /// # Errors
    ///
    /// When the address is none, or the notebook cannot be written.
    pub fn start(
        net: &Net,
        to: impl IntoTarget,
        settings: Settings,
        notebook: impl Notebook,
        screen: Arc<dyn Screen>,
        clock: u64,
    ) -> io::Result<Self> {
        let (journal, memory, fault) = Journal::open(Box::new(notebook), clock)?;
        if let Some(why) = fault {
            screen.show(News::Forgotten { why });
        }
        let backoff = Backoff::every(settings.reconnect).jitter(0.1);
        let shared = Arc::new(Shared {
            settings,
            memory: Mutex::new(memory),
            journal: Mutex::new(Some(journal)),
            screen: Arc::clone(&screen),
            handle: OnceLock::new(),
        });
        // One thread: what is shown is shown in order, and a slow screen holds the server back.
        let pool: Executor = net.executor(1);
        let own = Arc::clone(&shared);
        let handle = Client::on(net)
            .keepalive(Duration::from_secs(7200))
            .reconnect(backoff)
            .on_state(move |state| screen.state(state))
            .pipeline(move || {
                Pipeline::new(HeadContent)
                    .stage("login", Login::new(&own))
                    .handler_on(&pool, Reader::new(&own))
            })
            .connect(to)?;
        shared.handle.get_or_init(|| handle.clone());
        Ok(Self { shared, handle })
    }

    /// Says something to a user or in a room; answers with its number.
    ///
    /// It leaves at once, or when there is a connection, as often as need be, until the server has acknowledged
    /// it: [`News::Kept`], or [`News::NotSent`].
    ///
    /// # Errors
    ///
    /// Gives the words back when [`UNSENT_MESSAGES_MAX`](crate::limits::UNSENT_MESSAGES_MAX) wait already.
    pub fn say(&self, to: &str, content: &str) -> Result<u64, String> {
        let mut memory = lock(&self.shared.memory);
        let Some(number) = memory.add(to, content) else {
            return Err(content.to_owned());
        };
        self.shared.note(&mut memory);
        memory.pump(false, |packet| self.handle.try_send(packet).is_ok());
        Ok(number)
    }

    /// Gives a command; what comes of it is [`News::Answer`]. A room that was joined is joined again after each
    /// login, until it is left.
    ///
    /// # Errors
    ///
    /// Gives the command back while nobody is logged in, or too many wait for their answers.
    pub fn ask(&self, command: Command) -> Result<(), Command> {
        let mut memory = lock(&self.shared.memory);
        if !memory.may_ask() {
            return Err(command);
        }
        let packet = memory.ask(command.clone());
        self.shared.note(&mut memory);
        self.handle.try_send(packet).map_err(|_| command)
    }

    /// Ends the session, in good order: [`News::LoggedOut`] is told when the server has agreed.
    pub fn log_out(&self) {
        let mut memory = lock(&self.shared.memory);
        let sequence = memory.next_sequence();
        let packet = Packet::new(HeadType::LogoutRequest, sequence, |_| {});
        let _ = self.handle.try_send(packet);
    }

    /// What was said and is not acknowledged.
    #[must_use]
    pub fn unsent(&self) -> usize {
        lock(&self.shared.memory).unsent.len()
    }

    /// Rooms that were joined.
    #[must_use]
    pub fn rooms(&self) -> Vec<String> {
        lock(&self.shared.memory).rooms.keys().cloned().collect()
    }

    /// Whether the server knows who this is.
    #[must_use]
    pub fn is_logged_in(&self) -> bool {
        lock(&self.shared.memory).logged_in
    }

    /// Whether it comes back no more: its user has logged out, or may not log in.
    #[must_use]
    pub fn is_over(&self) -> bool {
        matches!(self.handle.state(), ClientState::Closed(_))
    }

    /// Ends the client at once.
    pub fn close(&self) {
        self.handle.close();
    }
}

impl Drop for ChatClient {
    fn drop(&mut self) {
        self.handle.close();
        drop(lock(&self.shared.journal).take());
    }
}

impl fmt::Debug for ChatClient {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChatClient")
            .field("settings", &self.shared.settings)
            .finish_non_exhaustive()
    }
}

/// A message of ours, as it leaves.
fn said(sequence: u64, number: u64, to: &str, content: &str) -> Packet {
    Packet::new(HeadType::MessageRequest, sequence, |message| {
        message.message_request = Some(MessageRequest {
            msg_id: number,
            to: to.to_owned(),
            content: content.to_owned(),
            ..MessageRequest::default()
        });
    })
}
