//! Sessions that follow each other on one connection.

use chat::protocol::{Code, HeadType};
use serde_json::json;

use crate::peer::{Peer, WINDOWS};
use crate::{options, serve};

/// Ends the session of a connection that lives on; what comes before the answer is passed over.
fn log_out(peer: &mut Peer) {
    let sequence = peer.send(HeadType::LogoutRequest, |_| {});
    let answer = peer.receive();
    assert_eq!(answer.r#type(), HeadType::LogoutResponse);
    assert_eq!(answer.sequence, sequence);
}

#[test]
fn who_has_logged_out_hears_no_room_and_of_nobody_also_under_another_name() {
    let server = serve(options());
    let [mut ann, mut bob] = ["ann", "bob"].map(|uid| Peer::log_in(&server, uid, WINDOWS));
    for peer in [&mut ann, &mut bob] {
        peer.ask(&json!({ "cmd": "join", "room": "#tea" }));
        peer.deaf = true;
    }
    bob.ask(&json!({ "cmd": "watch", "uid": "cid" }));
    log_out(&mut bob);
    bob.deaf = false;
    assert_eq!(ann.tell("#tea", "is bob gone?"), 0);
    let cid = Peer::log_in(&server, "cid", WINDOWS);
    // A heartbeat is echoed to who is logged in only; this answer comes behind all that was sent before.
    assert_eq!(bob.tell("ann", "hello"), Code::NotLoggedIn as u32);
    assert_eq!(bob.try_log_in("dan", WINDOWS, "pw"), 0);
    assert_eq!(ann.tell("#tea", "who is there?"), 0);
    drop(cid);
    assert_eq!(ann.tell("dan", "hello"), 0);
    assert_eq!(bob.delivery().2, "hello");
    bob.hears_nothing();
}

#[test]
fn the_answers_of_a_session_come_before_those_of_the_next_one_on_its_connection() {
    let server = serve(options());
    let mut peer = Peer::log_in(&server, "ann", WINDOWS);
    for round in 0..50 {
        let said: Vec<_> = (0..20).map(|_| peer.say("#tea", "milk?")).collect();
        let out = peer.send(HeadType::LogoutRequest, |_| {});
        let back = peer.send_login("ann", WINDOWS, "pw");
        for sequence in said {
            assert_eq!(peer.response(sequence).code, 0, "round {round}");
        }
        for (kind, sequence) in [
            (HeadType::LogoutResponse, out),
            (HeadType::LoginResponse, back),
        ] {
            let answer = peer.receive();
            assert_eq!((answer.r#type(), answer.sequence), (kind, sequence));
        }
    }
}

#[test]
fn what_is_sent_behind_a_login_and_before_its_answer_is_answered_too() {
    let server = serve(options());
    let mut peer = Peer::connect(&server);
    let login = peer.send_login("ann", WINDOWS, "pw");
    let said: Vec<_> = (0..5).map(|_| peer.say("bob", "hello")).collect();
    let mut open = said;
    open.push(login);
    while !open.is_empty() {
        let answer = peer.receive();
        let code = answer.message_response.map(|response| response.code);
        assert!(matches!(code, None | Some(0 | 6)), "{code:?}");
        assert!(open.contains(&answer.sequence));
        open.retain(|sequence| *sequence != answer.sequence);
    }
    peer.hears_nothing();
}
