//! One user on several devices, and twice on one: scenarios 66 and 67.

use std::sync::{Arc, Barrier};
use std::thread;

use chat::protocol::Code;
use netwheel::{CloseReason, Duplicate};
use serde_json::json;

use crate::peer::{ANDROID, Peer, WINDOWS};
use crate::{closes, eventually, options, serve};

#[test]
fn a_user_may_be_on_two_platforms_but_not_twice_on_one() {
    let server = serve(options());
    let mut first = Peer::log_in(&server, "u1", WINDOWS);
    let mut second = Peer::connect(&server);
    let code = second.try_log_in("u1", WINDOWS, "pw");
    assert_eq!(code, Code::AlreadyLoggedIn as u32);
    assert!(second.is_closed());
    let mut other = Peer::log_in(&server, "u1", ANDROID);
    for peer in [&mut first, &mut other] {
        let who = peer.ask(&json!({ "cmd": "who" }));
        assert_eq!(who[0]["users"], json!(["u1"]));
    }
    eventually("two connections", || server.connections() == 2);
}

#[test]
fn a_second_login_may_end_the_first_instead() {
    let mut options = options();
    options.duplicate = Duplicate::KickOld;
    let server = serve(options);
    let mut first = Peer::log_in(&server, "u1", WINDOWS);
    let mut second = Peer::log_in(&server, "u1", WINDOWS);
    assert!(first.is_closed());
    second.hears_nothing();
    closes(&server, CloseReason::Duplicate, 1);
}

#[test]
fn of_a_hundred_logins_that_race_one_wins() {
    let server = Arc::new(serve(options()));
    let line = Arc::new(Barrier::new(100));
    let racers = (0..100).map(|_| {
        let (server, line) = (Arc::clone(&server), Arc::clone(&line));
        thread::spawn(move || {
            let mut peer = Peer::connect(&server);
            line.wait();
            let code = peer.try_log_in("u1", WINDOWS, "pw");
            // The winner stays until all have tried.
            line.wait();
            code
        })
    });
    let racers: Vec<_> = racers.collect();
    let codes = racers
        .into_iter()
        .map(|racer| racer.join().expect("no panic"));
    let (won, lost): (Vec<_>, Vec<_>) = codes.partition(|code| *code == 0);
    assert_eq!(won.len(), 1);
    assert!(
        lost.iter()
            .all(|code| *code == Code::AlreadyLoggedIn as u32)
    );
}

#[test]
fn all_devices_get_what_is_said_and_the_senders_other_ones_a_copy() {
    let server = serve(options());
    let mut sender = Peer::log_in(&server, "u1", WINDOWS);
    let mut own = Peer::log_in(&server, "u1", ANDROID);
    let mut devices = [WINDOWS, ANDROID].map(|platform| Peer::log_in(&server, "u2", platform));
    assert_eq!(sender.tell("u2", "hello"), 0);
    for peer in devices.iter_mut().chain([&mut own]) {
        let (_, from, content) = peer.delivery();
        assert_eq!((&*from, &*content), ("u1", "hello"));
    }
    sender.hears_nothing();
}
