//! Clients that come back: in simulated worlds, where time is virtual and a seed makes the faults, and
//! over real sockets. `NETWHEEL_SEED=0..100000 cargo test --release --test clients` searches further.
#![allow(missing_docs, clippy::unwrap_used, unreachable_pub, reason = "a test")]

mod batch;
mod ends;
mod names;
mod on_demand;
mod pool;
mod sending;
mod sockets;
mod states;
#[path = "../util/mod.rs"]
mod util;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use netwheel::codec::LengthField;
use netwheel::sim::World;
use netwheel::{
    Backoff, Client, ClientState, ClosedCause, Dial, DownCause, Pipeline, Reconnect, RunningServer,
    Server,
};

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
/// Longer than any delay of a world, and shorter than any wait of these tests.
const SOON: Duration = Duration::from_millis(900);
const SERVER: &str = "10.0.0.1:7000";

type Shared<T> = Arc<Mutex<T>>;

fn frames() -> Pipeline<Bytes, Bytes> {
    Pipeline::new(LengthField::u32()).handle(|_, _| Ok(()))
}

/// A server that answers nothing.
fn serve(world: &World, at: &str) -> RunningServer {
    Server::on(world)
        .pipeline(|_| frames())
        .listen(at)
        .unwrap()
        .start()
        .unwrap()
}

type Framed = Client<Dial<fn() -> Pipeline<Bytes, Bytes>>, Reconnect>;

/// A client that sends frames and keeps its states.
fn client(world: &World, backoff: Backoff) -> (Framed, States) {
    let states = States::default();
    let client = Client::on(world)
        .reconnect(backoff)
        .on_state(states.keeper())
        .pipeline(frames as fn() -> Pipeline<Bytes, Bytes>);
    (client, states)
}

/// What `on_state` has been told.
#[derive(Clone, Default)]
struct States(Shared<Vec<ClientState>>);

impl States {
    fn keeper(&self) -> impl Fn(&ClientState) + Send + Sync + use<> {
        let states = self.0.clone();
        move |state| states.lock().unwrap().push(state.clone())
    }

    fn all(&self) -> Vec<ClientState> {
        self.0.lock().unwrap().clone()
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn last(&self) -> Option<ClientState> {
        self.0.lock().unwrap().last().cloned()
    }

    fn is_up(&self) -> bool {
        matches!(self.last(), Some(ClientState::Up { .. }))
    }

    /// The states as words, the tries and addresses with them.
    fn words(&self) -> Vec<String> {
        let word = |state: &ClientState| match state {
            ClientState::Connecting { attempt, .. } => format!("connecting {attempt}"),
            ClientState::Up { .. } => "up".into(),
            ClientState::Down(DownCause::Closed(reason)) => format!("down {reason}"),
            ClientState::Down(_) => "down failed".into(),
            ClientState::Waiting(_) => "waiting".into(),
            ClientState::Resting => "resting".into(),
            ClientState::Closed(cause) => format!("closed {cause}"),
            other => panic!("unknown: {other}"),
        };
        self.all().iter().map(word).collect()
    }

    fn waits(&self) -> Vec<Duration> {
        let wait = |state: &ClientState| match state {
            ClientState::Waiting(time) => Some(*time),
            _ => None,
        };
        self.all().iter().filter_map(wait).collect()
    }

    /// Where the tries went.
    fn tried(&self) -> Vec<String> {
        let to = |state: &ClientState| match state {
            ClientState::Connecting { to, .. } => Some(to.to_string()),
            _ => None,
        };
        self.all().iter().filter_map(to).collect()
    }

    /// Fails unless the states follow each other as the documentation draws it.
    #[track_caller]
    fn check(&self) {
        let (all, words) = (self.all(), self.words());
        assert!(
            matches!(
                all.first(),
                Some(ClientState::Connecting { attempt: 1, .. })
            ),
            "{words:?}"
        );
        let mut tries = 1;
        for pair in all.windows(2) {
            let follows = match (&pair[0], &pair[1]) {
                (ClientState::Connecting { .. }, ClientState::Up { .. }) => {
                    tries = 0;
                    true
                }
                (ClientState::Waiting(_), ClientState::Connecting { attempt, .. }) => {
                    tries += 1;
                    *attempt == tries
                }
                (ClientState::Connecting { .. } | ClientState::Up { .. }, ClientState::Down(_))
                | (ClientState::Down(_), ClientState::Waiting(_)) => true,
                (ClientState::Down(_), ClientState::Closed(_)) => true,
                (
                    ClientState::Connecting { .. }
                    | ClientState::Up { .. }
                    | ClientState::Waiting(_),
                    ClientState::Closed(cause),
                ) => *cause == ClosedCause::Cancelled || *cause == ClosedCause::Shutdown,
                _ => false,
            };
            assert!(follows, "{} after {}: {words:?}", pair[1], pair[0]);
        }
    }
}
