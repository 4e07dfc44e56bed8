//! Messages to one receiver stay in order, also where some are refused for a while.

use std::sync::Arc;
use std::time::Duration;

use chat::limits::INBOX_MESSAGES_MAX;
use chat::protocol::Code;
use serde_json::{Value, json};

use crate::peer::{Peer, WINDOWS};
use crate::stores::{Fragile, Mood};
use crate::{Everybody, options, serve, serve_with};

const BUSY: u32 = Code::Busy as u32;

/// Says something with a number, and waits for the answer; the text is the number.
fn tell(peer: &mut Peer, to: &str, number: u64) -> u32 {
    let sequence = peer.say_numbered(to, &number.to_string(), number);
    peer.response(sequence).code
}

/// Says as much as an inbox holds.
fn fill(peer: &mut Peer, to: &str) {
    const TOGETHER: u64 = 200;
    for _ in 0..INBOX_MESSAGES_MAX / TOGETHER {
        let said: Vec<_> = (0..TOGETHER).map(|_| peer.say(to, "x")).collect();
        for sequence in said {
            assert_eq!(peer.response(sequence).code, 0);
        }
    }
    assert_eq!(peer.tell(to, "x"), BUSY);
}

/// Acknowledges so many deliveries; the server has heard of it when this returns.
fn make_room(peer: &mut Peer, count: usize) {
    for _ in 0..count {
        let (message, _, _) = peer.delivery();
        peer.acknowledge(&message);
    }
    // The answer comes behind what is on its way, which is passed over.
    peer.command(&json!({ "cmd": "leave", "room": "#none" }));
    while peer.receive().message_response.is_none() {}
}

fn texts(answer: &[Value]) -> Vec<String> {
    let messages = answer[0]["messages"].as_array().expect("a list");
    let text = |message: &Value| message["content"].as_str().unwrap_or_default().to_owned();
    messages.iter().map(text).collect()
}

#[test]
fn what_is_said_behind_a_refused_message_waits_until_that_has_come_again() {
    let server = serve(options());
    let [mut ann, mut dan] = ["ann", "dan"].map(|uid| Peer::log_in(&server, uid, WINDOWS));
    fill(&mut ann, "bob");
    for number in 1..=3 {
        assert_eq!(tell(&mut dan, "bob", number), BUSY);
    }
    assert_eq!(tell(&mut dan, "cid", 4), 0, "another receiver");
    let mut bob = Peer::log_in(&server, "bob", WINDOWS);
    make_room(&mut bob, 1);
    assert_eq!(tell(&mut dan, "bob", 2), BUSY, "1 comes first");
    assert_eq!(tell(&mut dan, "bob", 1), 0);
    assert_eq!(tell(&mut dan, "bob", 2), BUSY, "there was room for one");
    make_room(&mut bob, 10);
    for (number, code) in [
        (3, BUSY),
        (5, BUSY),
        (2, 0),
        (5, BUSY),
        (1, 0),
        (3, 0),
        (5, 0),
    ] {
        assert_eq!(tell(&mut dan, "bob", number), code, "{number}");
    }
    assert_eq!(
        tell(&mut dan, "bob", 0),
        0,
        "without a number it has no order"
    );
    let answer = dan.ask(&json!({ "cmd": "history", "with": "bob" }));
    assert_eq!(texts(&answer), ["1", "2", "3", "5", "0"]);
}

#[test]
fn a_new_session_says_all_of_it_again() {
    let server = serve(options());
    let [mut ann, mut dan] = ["ann", "dan"].map(|uid| Peer::log_in(&server, uid, WINDOWS));
    fill(&mut ann, "bob");
    assert_eq!(tell(&mut dan, "bob", 1), BUSY);
    let mut bob = Peer::log_in(&server, "bob", WINDOWS);
    make_room(&mut bob, 2);
    assert_eq!(tell(&mut dan, "bob", 2), BUSY);
    dan.send(chat::protocol::HeadType::LogoutRequest, |_| {});
    dan.receive();
    assert_eq!(dan.try_log_in("dan", WINDOWS, "pw"), 0);
    assert_eq!(tell(&mut dan, "bob", 2), 0);
}

#[test]
fn a_message_with_a_number_outlives_a_store_that_fails_and_keeps_its_place() {
    let store = Arc::new(Fragile::default());
    let users = Everybody {
        check: Duration::ZERO,
    };
    let server = serve_with(options(), users, store.clone());
    let [mut ann, mut bob] = ["ann", "bob"].map(|uid| Peer::log_in(&server, uid, WINDOWS));
    for mood in [Mood::Broken, Mood::Mad] {
        store.is(mood);
        assert_eq!(tell(&mut ann, "bob", 1), BUSY);
        assert_eq!(tell(&mut ann, "#tea", 2), BUSY);
    }
    store.is(Mood::Well);
    for (to, number, code) in [
        ("bob", 3, BUSY),
        ("#tea", 4, BUSY),
        ("bob", 1, 0),
        ("#tea", 2, 0),
        ("bob", 3, 0),
        ("#tea", 4, 0),
    ] {
        assert_eq!(tell(&mut ann, to, number), code, "{number} to {to}");
    }
    assert_eq!([bob.delivery().2, bob.delivery().2], ["1", "3"]);
    let answer = bob.ask(&json!({ "cmd": "history", "with": "#tea" }));
    assert_eq!(texts(&answer), ["2", "4"]);
}
