//! Who is let in, and who is not: scenarios 64, 65, 70 and 71.

use chat::protocol::{Code, HeadType};
use netwheel::CloseReason;

use crate::peer::{Peer, WINDOWS, is_session};
use crate::{PATIENCE, closes, options, serve};

/// u1 with its password, on a mac.
const LOGIN: &[u8] =
    b"\x00\x86\x00\x01\x00\x00\x00\x19\x10\x01\"\x15\n\x02u1\x12\x041111\x1a\x02pw \x01*\x031.0";

#[test]
fn the_login_of_the_fixture_is_answered_with_a_session() {
    let server = serve(options());
    let mut peer = Peer::connect(&server);
    peer.send_bytes(LOGIN);
    let answer = peer.receive();
    assert_eq!(answer.r#type(), HeadType::LoginResponse);
    assert_eq!(answer.sequence, 1);
    assert!(is_session(&answer.session_id));
    let response = answer.login_response.expect("of its type");
    assert!(response.result && response.code == 0);
}

#[test]
fn a_wrong_password_is_refused_with_a_code_and_the_connection_ends() {
    let server = serve(options());
    for (uid, token, code) in [
        ("u1", "wrong", Code::AuthFailed),
        ("u1", "", Code::NoToken),
        ("nobody", "pw", Code::AuthFailed),
        ("a b", "pw", Code::AuthFailed),
    ] {
        let mut peer = Peer::connect(&server);
        assert_eq!(peer.try_log_in(uid, WINDOWS, token), code as u32);
        assert!(peer.is_closed());
    }
    let closes = server.shutdown(PATIENCE);
    assert_eq!(closes.aborted, 0);
}

#[test]
fn forged_frames_close_their_connection_and_disturb_nobody() {
    let server = serve(options());
    let mut other = Peer::log_in(&server, "u2", WINDOWS);
    let deep = [0xa3, 0x06].repeat(10_000);
    let deep = crate::peer::frame(&deep);
    let frames: [&[u8]; 6] = [
        b"\x00\x87\x00\x01\x00\x00\x00\x00",
        b"\x00\x86\x00\x02\x00\x00\x00\x00",
        b"\x00\x86\x00\x01\xff\xff\xff\xff",
        b"\x00\x86\x00\x01\x40\x00\x00\x00",
        b"GET / HTTP/1.1\r\n\r\n",
        &deep,
    ];
    for bytes in frames {
        let mut peer = Peer::connect(&server);
        peer.send_bytes(bytes);
        assert!(peer.is_closed(), "{bytes:x?}");
        other.hears_nothing();
    }
    closes(&server, CloseReason::ProtocolError, 5);
    closes(&server, CloseReason::OverLimit, 1);
}

#[test]
fn a_message_before_login_is_answered_with_code_6_and_reaches_nobody() {
    let server = serve(options());
    let mut receiver = Peer::log_in(&server, "u2", WINDOWS);
    let mut stranger = Peer::connect(&server);
    assert_eq!(stranger.tell("u2", "hello"), Code::NotLoggedIn as u32);
    receiver.hears_nothing();
    assert_eq!(stranger.try_log_in("u1", WINDOWS, "pw"), 0);
    assert_eq!(stranger.tell("u2", "a:b:c"), 0);
    let (_, from, content) = receiver.delivery();
    assert_eq!((&*from, &*content), ("u1", "a:b:c"));
}

#[test]
fn a_flood_before_login_is_closed_at_its_seventeenth_frame() {
    let server = serve(options());
    let mut stranger = Peer::connect(&server);
    for _ in 0..16 {
        assert_eq!(stranger.tell("u2", "hello"), Code::NotLoggedIn as u32);
    }
    stranger.say("u2", "hello");
    assert!(stranger.is_closed());
    closes(&server, CloseReason::OverLimit, 1);
}

#[test]
fn a_login_puts_chat_and_heartbeat_in_the_place_of_login_and_a_logout_puts_it_back() {
    let server = serve(options());
    let stages = || {
        let connections = server.list_connections(PATIENCE).expect("a live worker");
        connections[0].stages.clone()
    };
    let mut peer = Peer::connect(&server);
    assert_eq!(peer.tell("u2", "x"), Code::NotLoggedIn as u32);
    assert_eq!(stages(), ["idle", "login"]);
    assert_eq!(peer.try_log_in("u1", WINDOWS, "pw"), 0);
    peer.hears_nothing();
    assert_eq!(stages(), ["idle", "heartBeat", "chat"]);
    assert_eq!(
        peer.try_log_in("u1", WINDOWS, "pw"),
        Code::AlreadyLoggedIn as u32
    );
    let sequence = peer.send(HeadType::LogoutRequest, |_| {});
    let answer = peer.receive();
    assert_eq!(answer.r#type(), HeadType::LogoutResponse);
    assert_eq!(answer.sequence, sequence);
    assert_eq!(peer.tell("u2", "x"), Code::NotLoggedIn as u32);
    assert_eq!(stages(), ["idle", "login"]);
    assert_eq!(peer.try_log_in("u1", WINDOWS, "pw"), 0);
    assert_eq!(peer.tell("u2", "x"), 0);
}

#[test]
fn a_shutdown_is_told_before_the_connection_ends() {
    let server = serve(options());
    let mut peer = Peer::log_in(&server, "u1", WINDOWS);
    let down = std::thread::spawn(move || server.shutdown(PATIENCE));
    assert_eq!(peer.event()["event"], "shutdown");
    assert!(peer.is_closed());
    drop(peer);
    assert_eq!(down.join().expect("no panic").aborted, 0);
}
