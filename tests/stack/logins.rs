//! Who is let in, over raw sockets: scenarios 1 to 6, 8 to 10, 12 and 14.

use std::io::Read;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Arc, Barrier};
use std::thread;

use netwheel::link::{KnownNodes, NodeId};
use netwheel::stack::{Access, AccessList, Message, Node, StackWire};
use netwheel::{CloseReason, Duplicate};

use crate::peer::{
    ACCEPTED, Echo, INTERVAL, LOGIN, MILLI, REFUSED, T, fast, frame, listening, login, reactor,
    rest, say, take,
};
use crate::util::{PATIENCE, dial, end, eventually, log, read};

fn access(black: &str, white: &str) -> Access {
    Access::new(AccessList::new(black, white).unwrap())
}

#[test]
fn a_raw_login_is_answered_by_exactly_23_bytes_and_the_link_stays() {
    let reactor = reactor();
    let (_node, _, server) = listening(&reactor, |node| node);
    let socket = dial(server.address());
    say(&socket, &LOGIN);
    assert_eq!(read(&socket, 23), ACCEPTED);
    say(&socket, &frame(5, b""));
    assert_eq!(read(&socket, 22), frame(6, b""));
}

#[test]
fn a_denied_address_is_refused_and_closed_with_a_line_in_the_log() {
    log::capture();
    let reactor = reactor();
    let lists = access("127.0.0.1", "");
    let (_node, _, server) = listening(&reactor, |node| node.access(lists));
    let socket = dial(server.address());
    let from = socket.local_addr().unwrap().to_string();
    say(&socket, &LOGIN);
    assert_eq!(rest(&socket), REFUSED);
    assert_eq!(log::lines_with(&[&from, "reason=ip-denied"]).len(), 1);
    end(server);
}

#[test]
fn lists_decide_who_may_come_and_may_change() {
    let reactor = reactor();
    let lists = access("", "10.0.0.0/8, 127.0.0.1");
    let (_node, _, server) = listening(&reactor, |node| node.access(lists.clone()));
    let answer = || {
        let socket = dial(server.address());
        say(&socket, &LOGIN);
        read(&socket, 23)
    };
    assert_eq!(answer(), ACCEPTED);
    eventually("the first has gone", || server.connections() == 0);
    for (black, white) in [("", "10.0.0.1-10.0.0.9"), ("127.0.0.1", "127.0.0.1")] {
        lists.reload(AccessList::new(black, white).unwrap());
        assert_eq!(answer(), REFUSED);
    }
    end(server);
}

#[test]
fn who_is_dropped_at_accept_gets_no_answer() {
    let reactor = reactor();
    let lists = access("127.0.0.1", "");
    let (_node, _, server) = listening(&reactor, |node| node.access(lists).drop_at_accept());
    assert_eq!(rest(&dial(server.address())), b"");
    end(server);
}

#[test]
fn a_second_login_of_a_node_is_refused_and_the_first_stays() {
    log::capture();
    let reactor = reactor();
    let (_node, _, server) = listening(&reactor, |node| node);
    let first = dial(server.address());
    say(&first, &login("twice"));
    assert_eq!(read(&first, 23), ACCEPTED);
    let second = dial(server.address());
    let from = second.local_addr().unwrap().to_string();
    say(&second, &login("twice"));
    assert_eq!(rest(&second), REFUSED);
    assert_eq!(log::lines_with(&[&from, "reason=duplicate"]).len(), 1);
    say(&first, &frame(5, b""));
    assert_eq!(read(&first, 22), frame(6, b""));
    eventually("the second is counted", || {
        server.stats().closes(CloseReason::Duplicate) == 1
    });
}

#[test]
fn where_the_old_login_is_kicked_the_new_one_has_the_link() {
    let reactor = reactor();
    let kick = Duplicate::KickOld;
    let (node, echo, server) = listening(&reactor, |node| node.duplicate(kick));
    let logged_in = || {
        let socket = dial(server.address());
        say(&socket, &login("n1"));
        assert_eq!(read(&socket, 23), ACCEPTED);
        socket
    };
    let (first, second) = (logged_in(), logged_in());
    assert_eq!(rest(&first), b"");
    drop(first);
    eventually("the first is down", || {
        !echo.downs.lock().unwrap().is_empty()
    });
    assert_eq!(take(&echo.downs), [CloseReason::Duplicate]);
    let link = node.link("n1").unwrap();
    assert!(link.is_up(), "the end of the first is not that of the link");
    link.send(Message::one_way("hi")).unwrap();
    assert_eq!(read(&second, 24), frame(2, b"hi"));
    assert_eq!(node.listener().online(), 1);
}

#[test]
fn a_node_that_has_gone_may_come_back_at_once() {
    let reactor = reactor();
    let (_node, echo, server) = listening(&reactor, |node| node);
    for round in 1..=20 {
        let socket = dial(server.address());
        say(&socket, &login("n1"));
        assert_eq!(read(&socket, 23), ACCEPTED, "round {round}");
        drop(socket);
        let gone = || echo.downs.lock().unwrap().len() == round;
        eventually("the node has gone", gone);
    }
    end(server);
}

#[test]
fn of_two_racing_logins_exactly_one_wins() {
    let reactor = reactor();
    let (node, _, server) = listening(&reactor, |node| node);
    let address = server.address();
    for round in 0..200 {
        let (start, name) = (Arc::new(Barrier::new(2)), format!("racer{round}"));
        let racers = [(); 2].map(|()| {
            let (start, login) = (Arc::clone(&start), login(&name));
            thread::spawn(move || {
                let socket = dial(address);
                start.wait();
                say(&socket, &login);
                let answer = read(&socket, 23);
                (answer == ACCEPTED, socket)
            })
        });
        // Both sockets live until both answers are there.
        let answers = racers.map(|racer| racer.join().unwrap());
        let won = answers.iter().filter(|(won, _)| *won).count();
        assert_eq!(won, 1, "round {round}");
    }
    eventually("all have gone", || node.listener().online() == 0);
    end(server);
}

#[test]
fn who_speaks_before_its_login_is_closed_and_never_heard() {
    log::capture();
    let reactor = reactor();
    let (_node, echo, server) = listening(&reactor, |node| node);
    for kind in [0, 1, 2, 4, 5, 6] {
        let socket = dial(server.address());
        let from = socket.local_addr().unwrap().to_string();
        // What is wrong in itself closes too, before anybody asks what it is for.
        let body: &[u8] = if kind == 4 { b"\0" } else { b"" };
        say(&socket, &frame(kind, body));
        assert_eq!(rest(&socket), b"", "type {kind}");
        if kind != 1 {
            let lines = log::lines_with(&[&from, "reason=not-handshake"]);
            assert_eq!(lines.len(), 1, "type {kind}");
        }
    }
    assert_eq!(echo.heard.lock().unwrap().len(), 0);
    end(server);
}

#[test]
fn a_second_login_on_a_link_that_is_up_is_refused_and_closes_it() {
    let reactor = reactor();
    let (_node, _, server) = listening(&reactor, |node| node);
    let socket = dial(server.address());
    say(&socket, &[LOGIN, LOGIN].concat());
    assert_eq!(rest(&socket), [ACCEPTED, REFUSED].concat());
    end(server);
}

#[test]
fn who_says_nothing_is_closed_when_the_time_for_a_login_is_over() {
    log::capture();
    let reactor = reactor();
    let (_node, _, server) = listening(&reactor, |node| node.handshake_timeout(2 * T));
    let socket = dial(server.address());
    let from = socket.local_addr().unwrap().to_string();
    assert_eq!(rest(&socket), b"");
    assert_eq!(log::lines_with(&[&from, "reason=timeout"]).len(), 1);
    eventually("it is counted", || {
        server.stats().closes(CloseReason::HandshakeTimeout) == 1
    });
    end(server);
}

#[test]
fn an_unknown_node_is_refused_and_told_why_where_that_is_wanted() {
    let reactor = reactor();
    let known = KnownNodes::new([NodeId::new("n1").unwrap()]);
    let (_node, _, server) = listening(&reactor, |node| {
        node.authenticator(known)
            .wire(StackWire::default().tell_reasons(true))
    });
    let answer = |login: &[u8]| {
        let socket = dial(server.address());
        say(&socket, login);
        read(&socket, 23)
    };
    assert_eq!(answer(&login("n1")), ACCEPTED);
    assert_ne!(answer(&login("n2"))[4..8], REFUSED[4..8], "it is longer");
    let socket = dial(server.address());
    say(&socket, &LOGIN);
    let all = rest(&socket);
    assert!(all.ends_with(b"\0\0\0\x0bbad-node-id\xff"), "{all:?}");
    end(server);
}

#[test]
fn a_refused_client_comes_back_until_it_is_let_in() {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let at = server.local_addr().unwrap();
    let reactor = reactor();
    let client = fast(Node::on(&reactor, "n1").unwrap())
        .serve(Echo::default())
        .unwrap();
    client.know("server", at).unwrap();
    let link = client.get_or_connect("server").unwrap();
    link.send(Message::one_way("hi")).unwrap();
    let clock = netwheel::Clock::system();
    let mut last = None;
    for round in 0..4 {
        let (mut socket, _) = server.accept().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        let now = clock.now();
        if let Some(last) = last.replace(now) {
            assert!(now.since(last) >= INTERVAL - MILLI, "round {round}");
        }
        assert_eq!(read(&socket, 38), login("n1"));
        if round < 3 {
            say(&socket, &REFUSED);
            assert_eq!(rest(&socket), b"");
            assert!(!link.is_up());
        } else {
            say(&socket, &ACCEPTED);
            let mut message = [0; 24];
            socket.read_exact(&mut message).unwrap();
            assert_eq!(message[..], frame(2, b"hi"));
            assert!(link.is_up());
        }
    }
    client.close();
}

#[test]
fn a_server_that_never_answers_is_given_up_and_tried_again() {
    let server = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let reactor = reactor();
    let client = fast(Node::on(&reactor, "n1").unwrap())
        .handshake_timeout(2 * T)
        .serve(Echo::default())
        .unwrap();
    client.know("server", server.local_addr().unwrap()).unwrap();
    let link = client.get_or_connect("server").unwrap();
    for _ in 0..3 {
        let (socket, _) = server.accept().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(rest(&socket), login("n1"));
    }
    assert!(!link.is_up());
    client.close();
}

#[test]
fn frames_that_cannot_be_close_at_once_and_a_higher_minor_version_is_fine() {
    let reactor = reactor();
    let (_node, _, server) = listening(&reactor, |node| node);
    for (at, bytes) in [
        (0, &[0xde, 0xad][..]),
        (2, &[2]),
        (4, &[0, 0, 0, 21]),
        (4, &[0; 4]),
        (4, &[0x7f, 0xff, 0xff, 0xff]),
        (4, &[0xff; 4]),
    ] {
        let (socket, mut frame) = (dial(server.address()), LOGIN);
        frame[at..at + bytes.len()].copy_from_slice(bytes);
        say(&socket, &frame);
        assert_eq!(rest(&socket), b"", "{bytes:x?} at {at}");
    }
    let (socket, mut newer) = (dial(server.address()), LOGIN);
    newer[3] = 9;
    say(&socket, &newer);
    assert_eq!(read(&socket, 23), ACCEPTED);
}

#[cfg(feature = "auth")]
mod secrets {
    use netwheel::link::SharedSecret;

    use super::*;

    #[test]
    fn who_knows_the_secret_comes_in_and_who_does_not_stays_out() {
        let reactor = reactor();
        let (node, _, server) = listening(&reactor, |node| {
            node.authenticator(SharedSecret::new("the secret"))
        });
        let client = |name: &str, secret: &str| {
            let secret = SharedSecret::new(secret.to_owned());
            let node = fast(Node::on(&reactor, name).unwrap())
                .credentials(secret)
                .serve(Echo::default())
                .unwrap();
            node.know("server", server.address()).unwrap();
            node
        };
        let (good, bad) = (client("good", "the secret"), client("bad", "a guess"));
        let (good_link, bad_link) = (
            good.get_or_connect("server").unwrap(),
            bad.get_or_connect("server").unwrap(),
        );
        good_link.wait_up(PATIENCE).unwrap();
        eventually("the guess was refused", || {
            server.stats().closes(CloseReason::Refused) >= 2
        });
        assert!(!bad_link.is_up());
        assert_eq!(node.listener().online(), 1);
        good.close();
        bad.close();
    }

    #[test]
    fn a_second_login_is_legal_only_to_answer_a_challenge() {
        let reactor = reactor();
        let (_node, _, server) = listening(&reactor, |node| {
            node.authenticator(SharedSecret::new("the secret"))
        });
        let socket = dial(server.address());
        say(&socket, &login("n1"));
        let challenge = read(&socket, 23 + 8 + 9 + 32);
        assert_eq!((challenge[16], challenge.last()), (4, Some(&1)));
        say(&socket, &login("n1"));
        assert_eq!(rest(&socket), REFUSED);
        end(server);
    }
}
