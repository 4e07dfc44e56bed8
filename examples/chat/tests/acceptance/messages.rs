//! What is said, and to whom it goes: scenarios 68, 69 and 74.

use std::sync::Arc;
use std::time::Duration;

use chat::protocol::{Code, Message};
use chat::store::MemoryStore;
use serde_json::json;

use crate::peer::{ANDROID, Peer, WINDOWS};
use crate::stores::{Fragile, Mood};
use crate::{Everybody, PATIENCE, options, serve, serve_with};

#[test]
fn what_waits_is_delivered_at_the_next_login_until_it_is_acknowledged() {
    let server = serve(options());
    let mut sender = Peer::log_in(&server, "u1", WINDOWS);
    for text in ["one", "two", "three"] {
        assert_eq!(sender.tell("u9", text), 0);
    }
    let mut receiver = Peer::log_in(&server, "u9", WINDOWS);
    let first = receiver.delivery();
    let second = receiver.delivery();
    assert_eq!((&*first.2, &*second.2), ("one", "two"));
    assert_eq!(receiver.delivery().2, "three");
    receiver.acknowledge(&first.0);
    receiver.hears_nothing();
    // The answer says that the acknowledgement is on the disk, too: both go over one desk.
    assert_eq!(receiver.tell("u1", "got one"), 0);
    drop(receiver);
    assert_eq!(sender.delivery().2, "got one");
    let again = log_in_again(&server, "u9");
    let mut receiver = again;
    let last = {
        assert_eq!(
            receiver.delivery().0,
            second.0,
            "the same number, the same bytes"
        );
        receiver.delivery()
    };
    assert_eq!(last.2, "three");
    receiver.acknowledge(&last.0);
    assert_eq!(receiver.tell("u1", "got all"), 0);
    drop(receiver);
    log_in_again(&server, "u9").hears_nothing();
    // A device that is new gets nothing that another one has got.
    Peer::log_in(&server, "u9", ANDROID).hears_nothing();
}

/// The end of the last session may not have been seen yet.
fn log_in_again(server: &netwheel::RunningServer, uid: &str) -> Peer {
    loop {
        let mut peer = Peer::connect(server);
        match peer.try_log_in(uid, WINDOWS, "pw") {
            0 => return peer,
            code => assert_eq!(code, Code::AlreadyLoggedIn as u32),
        }
    }
}

#[test]
fn what_was_kept_is_there_after_a_restart() {
    let store = Arc::new(MemoryStore::default());
    let users = || Everybody {
        check: Duration::ZERO,
    };
    let server = serve_with(options(), users(), store.clone());
    let mut sender = Peer::log_in(&server, "u1", WINDOWS);
    assert_eq!(sender.tell("u2", "before"), 0);
    drop(sender);
    server.shutdown(PATIENCE);
    let server = serve_with(options(), users(), store);
    let mut sender = Peer::log_in(&server, "u1", WINDOWS);
    assert_eq!(sender.tell("u2", "after"), 0);
    let mut receiver = Peer::log_in(&server, "u2", WINDOWS);
    let (before, after) = (receiver.delivery(), receiver.delivery());
    assert_eq!((&*before.2, &*after.2), ("before", "after"));
    assert!(before.0.sequence < after.0.sequence);
}

#[test]
fn a_message_that_is_sent_again_is_delivered_once() {
    let server = serve(options());
    let mut sender = Peer::log_in(&server, "u1", WINDOWS);
    let mut receiver = Peer::log_in(&server, "u2", WINDOWS);
    let answers = [7, 7, 8].map(|number| {
        let sequence = sender.say_numbered("u2", "hello", number);
        let response = sender.response(sequence);
        assert_eq!(response.code, 0);
        response.info
    });
    assert_eq!(answers[0], answers[1], "one number for both");
    assert_ne!(answers[1], answers[2]);
    let (first, second) = (receiver.delivery(), receiver.delivery());
    assert_ne!(first.0.sequence, second.0.sequence);
    receiver.hears_nothing();
}

#[test]
fn what_cannot_be_sent_is_refused_with_the_reason() {
    let server = serve(options());
    let mut sender = Peer::log_in(&server, "u1", WINDOWS);
    assert_eq!(sender.tell("nobody", "hello"), Code::Offline as u32);
    assert_eq!(sender.tell("", "hello"), Code::Offline as u32);
    let long = "x".repeat(65 << 10);
    assert_eq!(sender.tell("u2", &long), Code::TooLarge as u32);
    let long = "x".repeat(4 << 10);
    for (command, code) in [
        (json!({ "cmd": "dance" }), Code::Unknown),
        (json!({ "cmd": "who", "room": "tea" }), Code::Unknown),
        (json!({ "cmd": "watch", "uid": "nobody" }), Code::Offline),
        (
            json!({ "cmd": "watch", "uid": "x".repeat(65) }),
            Code::Offline,
        ),
        (json!({ "cmd": "watch", "uid": long }), Code::TooLarge),
        (
            json!({ "cmd": "history", "with": "x".repeat(65) }),
            Code::Offline,
        ),
    ] {
        let sequence = sender.command(&command);
        assert_eq!(sender.response(sequence).code, code as u32, "{command}");
    }
    let sequence = sender.command(&json!({ "cmd": "dance" }));
    assert_eq!(sender.response(sequence).code, Code::Unknown as u32);
    sender.hears_nothing();
}

#[test]
fn a_history_comes_in_pages_and_long_answers_in_blocks() {
    let server = serve(options());
    let mut one = Peer::log_in(&server, "u1", WINDOWS);
    let text = |nth: usize| format!("{nth} {}", "x".repeat(1000));
    for nth in 0..120 {
        assert_eq!(one.tell("u2", &text(nth)), 0);
    }
    let mut other = Peer::log_in(&server, "u3", WINDOWS);
    assert_eq!(other.tell("u2", "not theirs"), 0);
    let mut read = |before: u64| {
        let blocks = one.ask(&json!({ "cmd": "history", "with": "u2", "before": before }));
        let messages = blocks
            .iter()
            .flat_map(|block| block["messages"].as_array().expect("a list").clone());
        (blocks.len(), messages.collect::<Vec<_>>())
    };
    let (blocks, last) = read(u64::MAX);
    assert!(blocks > 1, "a hundred thousand bytes");
    assert_eq!(last.len(), 100);
    let (_, first) = read(last[0]["id"].as_u64().expect("a number"));
    assert_eq!(first.len(), 20);
    for (nth, message) in first.iter().chain(&last).enumerate() {
        assert_eq!(message["content"], text(nth));
        assert_eq!(message["from"], "u1");
    }
}

#[test]
fn who_does_not_read_holds_up_nobody_and_gets_all_of_it_in_order_in_the_end() {
    let server = serve(options());
    let mut slow = Peer::log_in(&server, "u2", WINDOWS);
    let mut sender = Peer::log_in(&server, "u1", WINDOWS);
    let mut other = Peer::log_in(&server, "u3", WINDOWS);
    // More than the kernel takes for one who does not read, and far more than the server holds for it.
    const COUNT: usize = 400;
    let text = |nth: usize| format!("{nth:05}{}", "x".repeat(60_000));
    for nth in 0..COUNT {
        assert_eq!(sender.tell("u2", &text(nth)), 0);
    }
    let connections = server.list_connections(PATIENCE).expect("live workers");
    let held: usize = connections.iter().map(|one| one.bytes_queued).sum();
    assert!(held < 1 << 20, "{held} bytes wait outside the store");
    assert_eq!(sender.tell("u3", "how are you?"), 0);
    assert_eq!(other.delivery().2, "how are you?");
    for nth in 0..COUNT {
        let (message, _, content) = slow.delivery();
        assert!(content == text(nth), "message {nth} comes out of order");
        slow.acknowledge(&message);
    }
    slow.hears_nothing();
}

#[test]
fn fields_that_the_server_does_not_know_reach_the_receiver_as_they_were() {
    let server = serve(options());
    let mut sender = Peer::log_in(&server, "u1", WINDOWS);
    let mut receiver = Peer::log_in(&server, "u2", WINDOWS);
    let unknown = b"\xaa\x06\x05newer";
    let request = [&b"\x1a\x02u2"[..], unknown].concat();
    let length = u8::try_from(request.len()).expect("short");
    let body = [&b"\x08\x05\x10\x63\x32"[..], &[length], &request, unknown].concat();
    sender.send_bytes(&crate::peer::frame(&body));
    assert_eq!(sender.response(99).code, 0);
    let bytes = receiver.receive_bytes();
    let found = bytes.windows(unknown.len()).filter(|part| part == unknown);
    assert_eq!(found.count(), 2);
    let message: Message = prost::Message::decode(&bytes[8..]).expect("a message");
    assert_eq!(message.message_request.expect("of its type").from, "u1");
}

#[test]
fn a_store_that_fails_is_told_to_the_sender_and_nothing_is_half_done() {
    let store = Arc::new(Fragile::default());
    let users = Everybody {
        check: Duration::ZERO,
    };
    let server = serve_with(options(), users, store.clone());
    let mut sender = Peer::log_in(&server, "u1", WINDOWS);
    let mut receiver = Peer::log_in(&server, "u2", WINDOWS);
    assert_eq!(sender.tell("u2", "before"), 0);
    assert_eq!(receiver.delivery().2, "before");
    store.is(Mood::Broken);
    assert_eq!(sender.tell("u2", "meanwhile"), Code::Unknown as u32);
    receiver.hears_nothing();
    store.is(Mood::Well);
    assert_eq!(sender.tell("u2", "after"), 0);
    assert_eq!(receiver.delivery().2, "after");
}

#[test]
fn a_history_of_large_messages_comes_in_pages_that_the_connection_holds() {
    const COUNT: usize = 40;
    let server = serve(options());
    let mut one = Peer::log_in(&server, "u1", WINDOWS);
    let text = |nth: usize| format!("{nth:05}{}", "x".repeat(60_000));
    for nth in 0..COUNT {
        assert_eq!(one.tell("u2", &text(nth)), 0);
    }
    let (mut before, mut next) = (u64::MAX, COUNT);
    while next > 0 {
        let page = one.ask(&json!({ "cmd": "history", "with": "u2", "before": before }));
        let messages = page
            .iter()
            .flat_map(|block| block["messages"].as_array().expect("a list"));
        let messages: Vec<_> = messages.collect();
        assert_eq!(messages.len(), 2.min(next), "so many fit into a page");
        before = messages[0]["id"].as_u64().expect("a number");
        for message in messages.iter().rev() {
            next -= 1;
            assert!(message["content"] == text(next), "message {next}");
        }
    }
}
