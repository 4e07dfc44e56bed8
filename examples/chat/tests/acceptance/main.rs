//! The chat's scenarios on raw sockets: bytes in, bytes out, nothing of the chat's client.

mod answers;
mod crowds;
mod devices;
mod doors;
mod messages;
mod order;
mod peer;
mod rooms;
mod sessions;
mod stores;

use std::sync::Arc;
use std::time::Duration;

use chat::service::{Options, Service};
use chat::store::{MemoryStore, Store};
use chat::users::Users;
use netwheel::{Clock, CloseReason, RunningServer, Server};

/// The longest that a test waits for what must happen.
const PATIENCE: Duration = Duration::from_secs(30);

/// Everybody whose password is `pw`, but who is called `nobody`.
struct Everybody {
    /// How long a check takes.
    check: Duration,
}

impl Users for Everybody {
    fn check(&self, uid: &str, token: &str) -> bool {
        std::thread::park_timeout(self.check);
        self.exists(uid) && token == "pw"
    }

    fn exists(&self, uid: &str) -> bool {
        uid != "nobody"
    }
}

fn options() -> Options {
    Options::new(|| 1_700_000_000_000)
}

fn serve(options: Options) -> RunningServer {
    let users = Everybody {
        check: Duration::ZERO,
    };
    serve_with(options, users, Arc::new(MemoryStore::default()))
}

fn serve_with(options: Options, users: Everybody, store: Arc<dyn Store>) -> RunningServer {
    let service = Service::own(store, Arc::new(users), options).expect("a new store");
    let server = service.on(Server::new().workers(2));
    let server = server.listen("127.0.0.1:0").expect("a free port");
    server.start().expect("threads")
}

/// Waits until `holds`: a connection that has ended is counted a moment after its peer has seen it.
fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let clock = Clock::system();
    let start = clock.now();
    while !holds() {
        assert!(
            clock.now().since(start) < PATIENCE,
            "never came true: {what}"
        );
        std::thread::park_timeout(Duration::from_millis(1));
    }
}

/// Waits until so many connections have closed for a reason.
fn closes(server: &RunningServer, reason: CloseReason, count: u64) {
    let what = format!("{count} closes: {reason}");
    eventually(&what, || server.stats().closes(reason) == count);
}
