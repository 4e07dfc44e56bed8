//! Rooms, and who is there.

use netwheel::CloseReason;
use serde_json::json;

use crate::peer::{ANDROID, Peer, WINDOWS};
use crate::{closes, eventually, options, serve};

#[test]
fn a_room_hears_what_is_said_and_who_comes_and_goes() {
    let server = serve(options());
    let [mut ann, mut bob] = ["ann", "bob"].map(|uid| Peer::log_in(&server, uid, WINDOWS));
    let join = json!({ "cmd": "join", "room": "#tea" });
    ann.ask(&join);
    assert_eq!(
        ann.event(),
        json!({ "event": "joined", "room": "#tea", "uid": "ann" })
    );
    bob.ask(&join);
    for peer in [&mut ann, &mut bob] {
        assert_eq!(peer.event()["uid"], "bob");
    }
    assert_eq!(ann.tell("#tea", "milk?"), 0);
    assert_eq!(bob.delivery().2, "milk?");
    ann.hears_nothing();
    let who = bob.ask(&json!({ "cmd": "who", "room": "#tea" }));
    assert_eq!(who[0]["users"], json!(["ann", "bob"]));
    drop(bob);
    assert_eq!(
        ann.event(),
        json!({ "event": "left", "room": "#tea", "uid": "bob" })
    );
    let sequence = ann.command(&json!({ "cmd": "leave", "room": "#tea" }));
    assert_eq!(ann.response(sequence).code, 0);
    assert_eq!(ann.tell("#tea", "anybody?"), 0);
    ann.hears_nothing();
}

#[test]
fn who_comes_back_to_a_room_is_sent_what_was_missed() {
    let server = serve(options());
    let [mut ann, mut bob] = ["ann", "bob"].map(|uid| Peer::log_in(&server, uid, WINDOWS));
    for text in ["one", "two", "three"] {
        assert_eq!(ann.tell("#tea", text), 0);
    }
    let all = bob.ask(&json!({ "cmd": "join", "room": "#tea", "after": 0 }));
    assert_eq!(all[0]["members"], 1);
    assert_eq!(bob.event()["event"], "joined");
    let one = bob.delivery();
    assert_eq!(one.2, "one");
    assert_eq!(bob.delivery().2, "two");
    assert_eq!(bob.delivery().2, "three");
    ann.ask(&json!({ "cmd": "join", "room": "#tea", "after": one.0.sequence }));
    assert_eq!(ann.event()["event"], "joined");
    assert_eq!(ann.delivery().2, "two");
    assert_eq!(ann.delivery().2, "three");
}

#[test]
fn who_watches_a_user_hears_of_each_change() {
    let server = serve(options());
    let mut ann = Peer::log_in(&server, "ann", WINDOWS);
    let answer = ann.ask(&json!({ "cmd": "watch", "uid": "bob" }));
    assert_eq!(answer, [json!({ "uid": "bob", "online": false })]);
    for online in [true, false] {
        let bob = online.then(|| Peer::log_in(&server, "bob", WINDOWS));
        if online {
            assert_eq!(ann.event()["online"], true);
        }
        drop(bob);
    }
    assert_eq!(
        ann.event(),
        json!({ "event": "presence", "uid": "bob", "online": false })
    );
}

#[test]
fn a_member_that_does_not_read_is_closed_and_comes_back_for_the_rest() {
    const COUNT: usize = 400;
    let server = serve(options());
    let [mut ann, mut bob, mut cid] =
        ["ann", "bob", "cid"].map(|uid| Peer::log_in(&server, uid, WINDOWS));
    for peer in [&mut ann, &mut bob, &mut cid] {
        peer.ask(&json!({ "cmd": "join", "room": "#tea" }));
        peer.deaf = true;
    }
    // Cid reads nothing more.
    let text = |nth: usize| format!("{nth:05}{}", "x".repeat(60_000));
    for nth in 0..COUNT {
        assert_eq!(ann.tell("#tea", &text(nth)), 0);
        assert!(bob.delivery().2 == text(nth), "message {nth}");
        if nth == COUNT / 2 {
            closes(&server, CloseReason::OverLimit, 1);
        }
    }
    drop(cid);
    let (mut next, mut last) = (0, 0);
    while next < COUNT {
        let mut cid = Peer::connect(&server);
        if cid.try_log_in("cid", WINDOWS, "pw") != 0 {
            continue;
        }
        cid.deaf = true;
        cid.ask(&json!({ "cmd": "join", "room": "#tea", "after": last }));
        // As far as it goes: more than the server holds for one connection comes in several lives.
        while next < COUNT && !cid.is_at_the_end() {
            let (message, _, content) = cid.delivery();
            assert!(content == text(next), "message {next}");
            (next, last) = (next + 1, message.sequence);
        }
    }
}

#[test]
fn what_was_missed_comes_in_one_life_however_much_it_is_and_without_a_gap_to_what_is_new() {
    const MISSED: usize = 1000;
    const NEW: usize = 100;
    let server = serve(options());
    let [mut ann, mut bob, mut cid] =
        ["ann", "bob", "cid"].map(|uid| Peer::log_in(&server, uid, WINDOWS));
    cid.ask(&json!({ "cmd": "join", "room": "#tea" }));
    cid.deaf = true;
    let text = |nth: usize| format!("{nth:05}{}", "x".repeat(10_000));
    for nth in 0..MISSED + 10 {
        assert_eq!(ann.tell("#tea", &text(nth)), 0);
        cid.delivery();
    }
    // Ten times as much as the server holds for a connection.
    bob.ask(&json!({ "cmd": "join", "room": "#tea", "after": 0 }));
    bob.deaf = true;
    for nth in 10..MISSED + 10 + NEW {
        if nth < 10 + NEW {
            // While bob reads what was missed, the room goes on.
            assert_eq!(ann.tell("#tea", &text(MISSED + nth)), 0);
            assert!(
                cid.delivery().2 == text(MISSED + nth),
                "message {nth} to cid"
            );
        }
        assert!(bob.delivery().2 == text(nth), "message {nth}");
    }
    assert_eq!(ann.tell("#tea", "and now?"), 0);
    assert_eq!(bob.delivery().2, "and now?");
    bob.hears_nothing();
    assert_eq!(server.stats().closed, 0);
}

#[test]
fn who_has_missed_something_hears_it_once_when_it_joins_again_and_nothing_after_it_has_left() {
    let server = serve(options());
    let [mut ann, mut bob] = ["ann", "bob"].map(|uid| Peer::log_in(&server, uid, WINDOWS));
    bob.deaf = true;
    bob.ask(&json!({ "cmd": "join", "room": "#tea" }));
    let text = |nth: usize| format!("{nth:05}{}", "x".repeat(30_000));
    for nth in 0..50 {
        assert_eq!(ann.tell("#tea", &text(nth)), 0);
        assert!(bob.delivery().2 == text(nth));
    }
    // It hears the room already, and goes back.
    bob.ask(&json!({ "cmd": "join", "room": "#tea", "after": 0 }));
    assert!(bob.delivery().2 == text(0));
    let left = bob.command(&json!({ "cmd": "leave", "room": "#tea" }));
    let mut next = 1;
    loop {
        let message = bob.receive();
        if message.sequence == left && message.message_response.is_some() {
            break;
        }
        let said = message.message_request.expect("said in the room");
        assert!(said.content == text(next), "message {next}");
        next += 1;
    }
    assert_eq!(ann.tell("#tea", "is bob gone?"), 0);
    bob.hears_nothing();
    let all = bob.ask(&json!({ "cmd": "join", "room": "#tea", "after": 1_000_000 }));
    assert_eq!(all[0]["last"], 51);
    assert_eq!(ann.tell("#tea", "is bob back?"), 0);
    assert_eq!(bob.delivery().2, "is bob back?");
    bob.hears_nothing();
}

#[test]
fn a_user_comes_to_a_room_with_the_first_device_and_goes_with_the_last() {
    let server = serve(options());
    let mut bob = Peer::log_in(&server, "bob", WINDOWS);
    let join = json!({ "cmd": "join", "room": "#tea" });
    bob.ask(&join);
    assert_eq!(bob.event()["uid"], "bob");
    let mut devices = [WINDOWS, ANDROID].map(|platform| Peer::log_in(&server, "ann", platform));
    for device in &mut devices {
        assert_eq!(device.ask(&join)[0]["members"], 2);
    }
    assert_eq!(
        bob.event(),
        json!({ "event": "joined", "room": "#tea", "uid": "ann" })
    );
    let [first, mut second] = devices;
    drop(first);
    let leave = json!({ "cmd": "leave", "room": "#tea" });
    // The first one has gone for good when its place is free again.
    let code = |server| Peer::connect(server).try_log_in("ann", WINDOWS, "pw");
    eventually("the first device has gone", || code(&server) == 0);
    let who = bob.ask(&json!({ "cmd": "who", "room": "#tea" }));
    assert_eq!(
        (&who[0]["users"], &who[0]["total"]),
        (&json!(["ann", "bob"]), &json!(2))
    );
    let sequence = second.command(&leave);
    while second.receive().sequence != sequence {}
    let event = bob.event();
    assert_eq!(
        event,
        json!({ "event": "left", "room": "#tea", "uid": "ann" })
    );
    bob.hears_nothing();
}
