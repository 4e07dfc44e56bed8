//! What is asked is answered, or the connection ends: nobody waits for an answer that is gone.

use std::io::Read;
use std::sync::Arc;
use std::time::Duration;

use chat::protocol::{Code, HeadType};
use chat::service::Service;
use netwheel::limits::ConnectionLimits;
use netwheel::{CloseReason, RunningServer, Server};
use serde_json::json;

use crate::peer::{Peer, WINDOWS};
use crate::stores::{Fragile, Mood};
use crate::{Everybody, PATIENCE, closes, eventually, options, serve_with};

/// A server on a store that holds little for each connection.
fn serve_narrow(store: Arc<Fragile>) -> RunningServer {
    let users = Everybody {
        check: Duration::ZERO,
    };
    let service = Service::own(store, Arc::new(users), options()).expect("a new store");
    let mut limits = ConnectionLimits::default();
    (limits.low_water_bytes, limits.high_water_bytes) = (1000, 2000);
    limits.output_bytes_max = 8000;
    let server = service.on(Server::new().workers(1).limits(limits));
    let server = server.listen("127.0.0.1:0").expect("a free port");
    server.start().expect("threads")
}

#[test]
fn who_does_not_take_its_answers_is_closed() {
    const ASKED: usize = 200;
    let store = Arc::new(Fragile::default());
    let server = serve_narrow(Arc::clone(&store));
    let name = |nth: usize| format!("{nth:02}{}", "x".repeat(60));
    let _crowd: Vec<_> = (0..20)
        .map(|nth| Peer::log_in(&server, &name(nth), WINDOWS))
        .collect();
    let mut peer = Peer::log_in(&server, "ann", WINDOWS);
    store.is(Mood::Slow);
    for _ in 0..ASKED {
        peer.command(&json!({ "cmd": "who" }));
    }
    eventually("all of it is read", || {
        server.stats().messages_in >= 21 + ASKED as u64
    });
    store.is(Mood::Well);
    let mut bytes = Vec::new();
    let mut piece = [0; 4096];
    let mut answers = 0;
    while answers < ASKED {
        match peer.stream.read(&mut piece) {
            Ok(count @ 1..) => bytes.extend_from_slice(&piece[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("{answers} answers of {ASKED}, and the connection lives")
            }
            _ => break,
        }
        while bytes.len() >= 8 {
            let length = u32::from_be_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]);
            let end = 8 + usize::try_from(length).expect("short");
            if bytes.len() < end {
                break;
            }
            bytes.drain(..end);
            answers += 1;
        }
    }
    let all = answers == ASKED;
    eventually("it is closed", || all || server.stats().closed == 1);
}

/// A server on a store that does what it is told to.
fn serve_on(store: &Arc<Fragile>, check: Duration) -> RunningServer {
    serve_with(options(), Everybody { check }, store.clone())
}

#[test]
fn a_panic_of_the_store_is_told_to_who_has_asked_and_the_others_go_on() {
    let store = Arc::new(Fragile::default());
    let server = serve_on(&store, Duration::ZERO);
    let [mut ann, mut bob] = ["ann", "bob"].map(|uid| Peer::log_in(&server, uid, WINDOWS));
    store.is(Mood::Mad);
    assert_eq!(ann.tell("bob", "meanwhile"), Code::Unknown as u32);
    let sequence = ann.command(&json!({ "cmd": "who" }));
    assert_eq!(ann.response(sequence).code, Code::Unknown as u32);
    store.is(Mood::Blind);
    // Its inbox cannot be read.
    let mut cid = Peer::connect(&server);
    cid.send_login("cid", WINDOWS, "pw");
    while !cid.is_at_the_end() {
        cid.receive();
    }
    store.is(Mood::Well);
    assert_eq!(ann.tell("bob", "after"), 0);
    assert_eq!(bob.delivery().2, "after");
    eventually("it has gone", || server.connections() == 2);
    let users = || ann.ask(&json!({ "cmd": "who" }))[0]["users"].clone();
    let mut users = users;
    eventually("it is forgotten", || users() == json!(["ann", "bob"]));
}

#[test]
fn what_was_said_before_a_shutdown_is_answered() {
    let store = Arc::new(Fragile::default());
    let server = serve_on(&store, Duration::ZERO);
    let [mut peer, mut other] = ["ann", "bob"].map(|uid| Peer::log_in(&server, uid, WINDOWS));
    store.is(Mood::Slow);
    let out = other.send(HeadType::LogoutRequest, |_| {});
    let said: Vec<_> = (0..10).map(|_| peer.say("cid", "hello")).collect();
    eventually("it is read", || server.stats().messages_in == 13);
    let down = std::thread::spawn(move || server.shutdown(PATIENCE));
    assert_eq!(peer.event()["event"], "shutdown");
    store.is(Mood::Well);
    for sequence in said {
        assert_eq!(peer.response(sequence).code, 0);
    }
    assert_eq!(other.receive().sequence, out);
    assert!(peer.is_closed() && other.is_closed());
    assert_eq!(down.join().expect("no panic").aborted, 0);
}

#[test]
fn a_flood_of_logins_is_closed_like_any_other_one() {
    let store = Arc::new(Fragile::default());
    let server = serve_on(&store, Duration::from_secs(1));
    let mut stranger = Peer::connect(&server);
    // All of them while the password of the first is checked.
    let logins: Vec<_> = (0..18)
        .map(|_| stranger.send_login("ann", WINDOWS, "pw"))
        .collect();
    for sequence in &logins[1..] {
        let answer = stranger.receive();
        assert_eq!(answer.sequence, *sequence);
        let response = answer.login_response.expect("of its type");
        assert_eq!(response.code, Code::AlreadyLoggedIn as u32);
    }
    assert!(stranger.is_closed());
    closes(&server, CloseReason::OverLimit, 1);
}
