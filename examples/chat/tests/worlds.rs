//! The chat, server and clients, in simulated worlds: nodes crash, connections break, the network splits, and in the
//! end everybody has seen everything that was said, once and in order.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use chat::client::{ChatClient, News, NoNotebook, Notebook, Screen, Settings};
use chat::office::Command;
use chat::service::{Options, Service};
use chat::store::{MemoryStore, Store};
use chat::users::Anybody;
use netwheel::sim::{Faults, Node, Runs, World};
use netwheel::{ClientState, Net, RunningServer, Server};

/// What each user says to each other one and in the room.
const WORDS: usize = 8;
const USERS: [&str; 3] = ["ann", "bob", "cid"];
const ROOM: &str = "#tea";
/// For so long faults happen, and for so long all may take to recover from them.
const STORM: Duration = Duration::from_secs(20);
const CALM: Duration = Duration::from_secs(300);

/// What a user has on disk, and before its eyes: a crash takes neither.
#[derive(Default)]
struct Desk {
    notes: Mutex<Option<String>>,
    /// By number: what was said, and how often it was shown.
    seen: Mutex<Vec<(u64, String, String)>>,
    /// What this user still has to say, and to whom.
    to_say: Mutex<Vec<(String, String)>>,
}

#[derive(Clone)]
struct Place(Arc<Desk>);

impl Notebook for Place {
    fn load(&self) -> Option<String> {
        self.0.notes.lock().expect("no panic").clone()
    }

    fn append(&self, lines: &str) -> io::Result<()> {
        let mut notes = self.0.notes.lock().expect("no panic");
        notes.get_or_insert_default().push_str(lines);
        Ok(())
    }

    fn replace(&self, text: &str) -> io::Result<()> {
        *self.0.notes.lock().expect("no panic") = Some(text.to_owned());
        Ok(())
    }
}

impl Screen for Place {
    fn show(&self, news: News) {
        if let News::Said {
            id,
            from,
            to,
            content,
        } = news
        {
            let mut seen = self.0.seen.lock().expect("no panic");
            seen.push((id, format!("{from} {to}"), content));
        }
    }
}

fn serve(net: &Net, store: &Arc<MemoryStore>) -> RunningServer {
    let store: Arc<dyn Store> = store.clone();
    let mut options = Options::new(|| 1_700_000_000_000);
    // A session whose connection is lost is in the way of the next one for so long.
    options.idle_timeout = Duration::from_secs(6);
    let service = Service::new(net, store, Arc::new(Anybody), options).expect("a store");
    let server = service.on(Server::on(net)).listen("0.0.0.0:7000");
    server.expect("its own port").start().expect("a network")
}

fn chat(net: &Net, uid: &str, desk: &Arc<Desk>, clock: u64) -> ChatClient {
    let place = Place(Arc::clone(desk));
    let mut settings = Settings::new(uid, uid);
    settings.heartbeat = Duration::from_secs(2);
    settings.reconnect = Duration::from_secs(1);
    let screen = Arc::new(place.clone());
    let client = ChatClient::start(net, "server:7000", settings, place, screen, clock);
    client.expect("a name")
}

/// Says the next thing that is to be said, if there is something; each is said once, also after a crash.
fn say_next(client: &ChatClient, desk: &Desk) {
    let mut to_say = desk.to_say.lock().expect("no panic");
    if let Some((to, words)) = to_say.pop()
        && client.say(&to, &words).is_err()
    {
        to_say.push((to, words));
    }
}

/// A user's program, and the way of the test to it: in a crash the client goes.
fn start(node: &Node, uid: &'static str, desk: &Arc<Desk>) -> Arc<Mutex<Option<Arc<ChatClient>>>> {
    let current = Arc::new(Mutex::new(None));
    let (slot, desk) = (Arc::clone(&current), Arc::clone(desk));
    let mut lives = 0;
    node.start(move |net| {
        lives += 1;
        let client = Arc::new(chat(net, uid, &desk, lives));
        *slot.lock().expect("no panic") = Some(Arc::clone(&client));
        client
    });
    current
}

fn everybody_sees_everything_once(world: &World) {
    let store = Arc::new(MemoryStore::default());
    let kept = Arc::clone(&store);
    world.node("server").start(move |net| serve(net, &kept));
    let mut users = Vec::new();
    for uid in USERS {
        let desk = Arc::new(Desk::default());
        {
            let mut to_say = desk.to_say.lock().expect("no panic");
            let others = USERS.iter().filter(|other| **other != uid);
            for to in others.chain([&ROOM]) {
                to_say.extend(
                    (0..WORDS)
                        .rev()
                        .map(|nth| (to.to_string(), nth.to_string())),
                );
            }
        }
        let node = world.node(uid);
        let client = start(&node, uid, &desk);
        users.push((uid, desk, client));
    }
    // The room first: what is said there is seen by those who have joined.
    let client =
        |slot: &Arc<Mutex<Option<Arc<ChatClient>>>>| slot.lock().expect("no panic").clone();
    let joined = world.run_until(CALM, || {
        users.iter().all(|(_, desk, slot)| {
            let Some(client) = client(slot) else {
                return false;
            };
            if client.rooms().is_empty() {
                let room = ROOM.to_owned();
                let _ = client.ask(Command::Join {
                    room,
                    after: Some(0),
                });
            }
            let notes = desk.notes.lock().expect("no panic");
            notes.as_deref().is_some_and(|notes| notes.contains(ROOM))
        })
    });
    assert!(joined, "nobody can join");
    let mut rest = STORM;
    while !rest.is_zero() {
        for (_, desk, slot) in &users {
            if let Some(client) = client(slot) {
                say_next(&client, desk);
            }
        }
        world.run_for(Duration::from_millis(500));
        rest = rest.saturating_sub(Duration::from_millis(500));
    }
    let all = (USERS.len() - 1) * WORDS * 2;
    let done = || {
        users.iter().all(|(_, desk, slot)| {
            if let Some(client) = client(slot) {
                say_next(&client, desk);
            }
            desk.seen.lock().expect("no panic").len() >= all
        })
    };
    if let Err(stuck) = world.drain_until(CALM, done) {
        let counts: Vec<_> = users
            .iter()
            .map(|(_, desk, _)| desk.seen.lock().expect("no panic").len())
            .collect();
        panic!("{counts:?} of {all}: {stuck}");
    }
    for (uid, desk, _) in &users {
        let mut by_sender: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for (_, way, words) in desk.seen.lock().expect("no panic").iter() {
            by_sender
                .entry(way.clone())
                .or_default()
                .push(words.clone());
        }
        let expected: Vec<_> = (0..WORDS).map(|nth| nth.to_string()).collect();
        let seen = desk.seen.lock().expect("no panic").clone();
        assert_eq!(by_sender.len(), (USERS.len() - 1) * 2, "{uid}: {seen:?}");
        for (way, words) in by_sender {
            assert_eq!(words, expected, "{uid} sees {way}");
        }
    }
}

#[test]
fn everybody_sees_everything_once_and_in_order_whatever_breaks() {
    let threads = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let summary = Runs::seeds(0..1000)
        .faults(Faults::all())
        .threads(threads)
        .run(everybody_sees_everything_once);
    assert!(summary.faults.total() > 0, "{summary}");
}

#[test]
fn a_client_notices_by_itself_that_its_server_is_dead_and_comes_back() {
    /// Why connections have ended, in their order.
    #[derive(Default)]
    struct Ends(Mutex<Vec<String>>);

    impl Screen for Ends {
        fn show(&self, _news: News) {}

        fn state(&self, state: &ClientState) {
            if let ClientState::Down(cause) = state {
                self.0.lock().expect("no panic").push(cause.to_string());
            }
        }
    }

    Runs::seeds(0..20).run(|world| {
        let store = Arc::new(MemoryStore::default());
        let (server, node) = (world.node("server"), world.node("ann"));
        server.start(move |net| serve(net, &store));
        let ends = Arc::new(Ends::default());
        let mut settings = Settings::new("ann", "ann");
        settings.heartbeat = Duration::from_secs(2);
        settings.reconnect = Duration::from_secs(1);
        let client = ChatClient::start(
            &node.net(),
            "server:7000",
            settings,
            NoNotebook,
            ends.clone(),
            1,
        );
        let client = client.expect("a name");
        assert!(world.run_until(CALM, || client.is_logged_in()));
        // Heartbeats keep both ends content: the server would close after 6 s.
        world.run_for(Duration::from_secs(60));
        assert_eq!(*ends.0.lock().expect("no panic"), [""; 0]);
        world.partition(&[&server], &[&node]);
        world.run_for(Duration::from_secs(8));
        let first = ends.0.lock().expect("no panic").first().cloned();
        assert_eq!(first.as_deref(), Some("heartbeat_lost"));
        world.heal();
        assert!(world.run_until(CALM, || {
            client.is_logged_in() && client.ask(Command::Who { room: None }).is_ok()
        }));
    });
}
