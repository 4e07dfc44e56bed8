//! Logins, and the guard against second ones.

use netwheel::caviar::{
    CaviarErrorKind, CaviarServer, RequestContext, ServerListener, SessionContext,
};
use netwheel::{Duplicate, Result};

use crate::raw::{Raw, Socket};
use crate::util::eventually;
use crate::{connect, echo, start};

/// Takes the body of a login for a name, and says who has it.
struct Names;

impl ServerListener for Names {
    fn on_login(&self, session: &SessionContext, request: RequestContext) -> Result<()> {
        let name = String::from_utf8_lossy(request.body()).into_owned();
        match session.log_in(&name) {
            Ok(()) => Ok(request.respond("ok")?),
            Err(_) => Ok(request.respond("taken")?),
        }
    }

    fn on_message(&self, session: &SessionContext, request: RequestContext) -> Result<()> {
        let name = session.user().unwrap_or_else(|| "nobody".into());
        Ok(request.respond(name.as_bytes().to_vec())?)
    }
}

#[test]
fn a_name_is_had_by_one_session_until_it_logs_out_or_ends() {
    let server = start(CaviarServer::new(Names));
    let (one, other) = (connect(&server), connect(&server));
    assert_eq!(one.send_sync("who?").unwrap(), "nobody");
    assert_eq!(one.login("ann").unwrap(), "ok");
    assert_eq!(one.send_sync("who?").unwrap(), "ann");
    assert_eq!(other.login("ann").unwrap(), "taken");
    assert_eq!(other.send_sync("who?").unwrap(), "nobody");
    assert_eq!(other.login("bob").unwrap(), "ok");
    assert_eq!(one.login("bob").unwrap(), "taken");
    assert_eq!(one.login("ann").unwrap(), "ok", "it has the name already");
    assert_eq!(
        one.send_sync("who?").unwrap(),
        "ann",
        "a refusal changes nothing"
    );
    assert_eq!(one.logout("").unwrap(), "");
    assert_eq!(other.login("ann").unwrap(), "ok");
    let session = server.sessions().of_user("ann").unwrap();
    assert_eq!(session.user().as_deref(), Some("ann"));
    other.close();
    eventually("the name is free", || one.login("ann").unwrap() == "ok");
}

#[test]
fn the_newest_may_take_the_name_and_the_older_session_ends() {
    let server = start(CaviarServer::new(Names).duplicate(Duplicate::KickOld));
    let [old, new] = [(); 2].map(|()| Socket::dial(server.address()));
    for socket in [&old, &new] {
        socket.send(&Raw::new(1001, 1, b"ann"));
        assert_eq!(socket.receive().body, b"ok");
    }
    assert!(old.try_receive().is_none(), "kicked");
    new.send(&Raw::new(1003, 2, b"who?"));
    assert_eq!(new.receive().body, b"ann");
}

#[test]
fn of_logins_at_the_same_moment_one_gets_the_name() {
    let server = start(CaviarServer::new(Names).threads(8));
    for round in 0..50 {
        let sockets: Vec<_> = (0..4).map(|_| Socket::dial(server.address())).collect();
        let name = format!("user {round}");
        for socket in &sockets {
            socket.send(&Raw::new(1001, 1, name.as_bytes()));
        }
        let won = sockets
            .iter()
            .filter(|socket| socket.receive().body == b"ok");
        assert_eq!(won.count(), 1);
    }
}

#[test]
fn without_a_guard_everybody_may_log_in_as_often_as_they_like() {
    let server = start(CaviarServer::new(echo));
    let clients = [(); 3].map(|()| connect(&server));
    for client in &clients {
        assert_eq!(client.login("ann").unwrap(), "");
    }
    assert_eq!(server.sessions().online(), 3);
}

#[test]
fn one_session_too_many_is_closed() {
    let server = start(CaviarServer::new(echo).sessions_max(1));
    let client = connect(&server);
    assert_eq!(client.send_sync("in").unwrap(), "in");
    assert!(Socket::dial(server.address()).try_receive().is_none());
    assert_eq!(client.send_sync("still in").unwrap(), "still in");
    client.close();
    eventually("there is room again", || {
        let socket = Socket::dial(server.address());
        socket.send(&Raw::new(1003, 1, b"next"));
        socket.try_receive().is_some()
    });
}

#[test]
fn an_error_in_a_login_ends_the_session_unanswered() {
    struct Refuses;
    impl ServerListener for Refuses {
        fn on_login(&self, session: &SessionContext, _request: RequestContext) -> Result<()> {
            Ok(session.log_in("one")?)
        }
        fn on_message(&self, session: &SessionContext, request: RequestContext) -> Result<()> {
            echo(session, request)
        }
    }
    let server = start(CaviarServer::new(Refuses));
    let first = Socket::dial(server.address());
    first.send(&Raw::new(1001, 1, b""));
    first.send(&Raw::new(1003, 2, b"in"));
    assert_eq!(first.receive().id, 2);
    let second = connect(&server);
    let error = second.login("").unwrap_err();
    assert_eq!(error.kind(), CaviarErrorKind::LinkDown);
}
