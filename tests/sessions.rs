//! Sessions over real sockets: who is let in, who is kicked, and that everybody is logged out in the end.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod util;

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, unbounded};
use netwheel::codec::LengthField;
use netwheel::{
    CloseReason, ConnectionHandle, Context, Duplicate, Failure, Handler, Pipeline, Result,
    RunningServer, Session, Sessions,
};
use util::{Caller, PATIENCE, eventually, reset, serve};

type Users = Sessions<String, Bytes>;
type Handle = ConnectionHandle<Bytes>;
/// How a connection comes to its end.
type Ending = fn(Caller, &Handle);

/// `login NAME`, `logout`, `fail`, `panic`; tells the test its handle.
struct Desk {
    users: Users,
    handles: Sender<Handle>,
}

impl Handler<Bytes, Bytes> for Desk {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result<()> {
        Ok(self.handles.send(cx.handle())?)
    }

    fn on_message(&mut self, cx: &mut Context<'_, Bytes, Bytes>, message: Bytes) -> Result<()> {
        let text = String::from_utf8_lossy(&message).into_owned();
        match text.split_once(' ') {
            Some(("login", user)) => {
                let session = self.users.login(user.to_owned(), &cx.handle())?;
                let id = session.id().to_string();
                cx.attributes().insert(session);
                cx.write(id.into())
            }
            _ if text == "logout" => {
                cx.attributes().remove::<Session<String, Bytes>>();
                cx.write(Bytes::from_static(b"out"))
            }
            _ if text == "panic" => panic!("as told"),
            _ => Err(Failure::msg("as told")),
        }
    }
}

struct Rig {
    server: RunningServer,
    users: Users,
    handles: Receiver<Handle>,
}

impl Rig {
    fn new(users: Users) -> Self {
        let ((handles, got), theirs) = (unbounded(), users.clone());
        let server = serve(2, move |_| {
            Pipeline::new(LengthField::u32()).handler(Desk {
                users: theirs.clone(),
                handles: handles.clone(),
            })
        });
        Self {
            server,
            users,
            handles: got,
        }
    }

    fn connect(&self) -> (Caller, Handle) {
        let caller = Caller::new(self.server.address());
        (caller, self.handles.recv_timeout(PATIENCE).unwrap())
    }

    fn log_in(&self, user: &str) -> (Caller, Handle) {
        let (mut caller, handle) = self.connect();
        let id = caller.ask(format!("login {user}").as_bytes());
        assert_eq!(id.len(), 32, "{id:?}");
        (caller, handle)
    }
}

#[test]
fn a_second_login_is_refused_and_the_first_goes_on() {
    let rig = Rig::new(Users::new());
    let (mut first, _) = rig.log_in("ann");
    let (mut second, refused) = rig.connect();
    second.send(b"login ann");
    assert_eq!(
        refused.wait_closed(PATIENCE).unwrap(),
        CloseReason::Duplicate
    );
    assert_eq!((rig.users.online(), rig.users.users_online()), (1, 1));
    assert_eq!(rig.users.send("ann", &Bytes::from_static(b"hello")), 1);
    assert_eq!(first.expect(), b"hello");
    assert_eq!(rig.users.send("bob", &Bytes::new()), 0);
}

#[test]
fn a_second_login_kicks_the_first_and_keeps_its_place() {
    let rig = Rig::new(Users::with(1, Duplicate::KickOld));
    let (mut first, old) = rig.log_in("ann");
    let (mut second, _) = rig.log_in("ann");
    assert_eq!(old.wait_closed(PATIENCE).unwrap(), CloseReason::Duplicate);
    first.expect_end();
    // The end of the first did not log the second out.
    assert_eq!(rig.users.online(), 1);
    assert_eq!(rig.users.send("ann", &Bytes::from_static(b"hello")), 1);
    assert_eq!(second.expect(), b"hello");
}

#[test]
fn a_user_may_have_several_sessions_and_all_of_them_hear() {
    let rig = Rig::new(Users::with(3, Duplicate::KickOld));
    let mut all: Vec<_> = (0..3).map(|_| rig.log_in("ann")).collect();
    let (_bob, _) = rig.log_in("bob");
    assert_eq!((rig.users.online(), rig.users.users_online()), (4, 2));
    assert_eq!(rig.users.send("ann", &Bytes::from_static(b"hello")), 3);
    for (caller, _) in &mut all {
        assert_eq!(caller.expect(), b"hello");
    }
    let oldest = rig.users.of_user("ann")[0].0;
    assert_eq!(rig.users.user(oldest).as_deref(), Some("ann"));
    let (_fourth, _) = rig.log_in("ann");
    assert_eq!(
        all[0].1.wait_closed(PATIENCE).unwrap(),
        CloseReason::Duplicate
    );
    assert!(rig.users.get(oldest).is_none());
    assert_eq!(rig.users.of_user("ann").len(), 3);
}

#[test]
fn every_way_to_the_end_logs_out() {
    let rig = Rig::new(Users::new());
    let ways: [(&str, Ending); 7] = [
        ("FIN", |caller, _| drop(caller)),
        ("reset", |caller, _| reset(caller.0)),
        ("handler error", |mut caller, _| caller.send(b"fail")),
        ("panic", |mut caller, _| caller.send(b"panic")),
        ("close by handle", |_caller, handle| handle.close()),
        ("close after flush", |_caller, handle| {
            handle.close_after_flush();
        }),
        ("logout", |mut caller, _| {
            assert_eq!(caller.ask(b"logout"), b"out");
        }),
    ];
    for (way, end) in ways {
        // The same user, so that a place that was not freed shows.
        let (caller, handle) = rig.log_in("ann");
        end(caller, &handle);
        eventually(way, || !rig.users.is_online("ann"));
    }
    let _still_here = rig.log_in("ann");
    let users = rig.users.clone();
    rig.server.shutdown(Duration::from_secs(1));
    assert_eq!((users.online(), users.users_online()), (0, 0));
}

#[test]
fn of_racing_logins_exactly_one_wins() {
    const RACERS: usize = 4;
    let rig = Rig::new(Users::new());
    let (_caller, handle) = rig.connect();
    let start = Arc::new(Barrier::new(RACERS));
    let end = Arc::new(Barrier::new(RACERS));
    let racers: Vec<_> = (0..RACERS)
        .map(|_| {
            let (users, handle) = (rig.users.clone(), handle.clone());
            let (start, end) = (Arc::clone(&start), Arc::clone(&end));
            thread::spawn(move || {
                let mut wins = 0;
                for round in 0..1000 {
                    start.wait();
                    let session = users.login(format!("user {round}"), &handle);
                    wins += usize::from(session.is_ok());
                    end.wait();
                    drop(session);
                }
                wins
            })
        })
        .collect();
    let wins: usize = racers.into_iter().map(|racer| racer.join().unwrap()).sum();
    assert_eq!(wins, 1000);
    assert_eq!(rig.users.online(), 0);
}

#[test]
fn of_racing_logins_that_kick_exactly_one_stays() {
    let rig = Rig::new(Users::with(1, Duplicate::KickOld));
    let crowd: Vec<_> = (0..4).map(|_| rig.connect()).collect();
    let start = Arc::new(Barrier::new(crowd.len()));
    let racers: Vec<_> = crowd
        .iter()
        .map(|(_, handle)| {
            let (users, handle, start) = (rig.users.clone(), handle.clone(), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                users.login("ann".to_owned(), &handle).unwrap()
            })
        })
        .collect();
    let sessions: Vec<_> = racers
        .into_iter()
        .map(|racer| racer.join().unwrap())
        .collect();
    let live: Vec<_> = sessions
        .iter()
        .filter(|session| session.is_live())
        .collect();
    assert_eq!(live.len(), 1);
    assert_eq!(rig.users.of_user("ann")[0].0, live[0].id());
    let closed = || {
        crowd
            .iter()
            .filter(|(_, handle)| handle.closed() == Some(CloseReason::Duplicate))
            .count()
    };
    eventually("the others are closed", || closed() == 3);
    drop(sessions);
    assert_eq!(rig.users.online(), 0);
}
