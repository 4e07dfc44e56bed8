//! Nodes that are client and server at once: scenario 29, and who dials whom.

use netwheel::ErrorKind;
use netwheel::link::OutboxRules;
use netwheel::stack::{Message, MessageType, Node, Profile, StackLink, StackWire};

use crate::peer::{Echo, ask, fast, listening, reactor};
use crate::util::{PATIENCE, any_port, eventually};

#[test]
fn two_nodes_that_dial_each_other_work_in_both_directions() {
    let reactor = reactor();
    let (echoes, nodes): (Vec<_>, Vec<_>) = ["n1", "n2"]
        .into_iter()
        .map(|name| {
            let echo = Echo::default();
            let node = fast(Node::on(&reactor, name).unwrap())
                .serve(echo.clone())
                .unwrap();
            (echo, node)
        })
        .unzip();
    let servers: Vec<_> = nodes
        .iter()
        .map(|node| node.server().listen(any_port()).unwrap().start().unwrap())
        .collect();
    nodes[0].know("n2", servers[1].address()).unwrap();
    nodes[1].know("n1", servers[0].address()).unwrap();
    for (here, there) in [(0, "n2"), (1, "n1")] {
        let link = nodes[here].get_or_connect(there).unwrap();
        let answer = ask(&link, there, PATIENCE);
        assert_eq!(answer.recv_timeout(PATIENCE).unwrap(), Ok(there.to_owned()));
    }
    assert!(
        echoes
            .iter()
            .all(|echo| !echo.ups.lock().unwrap().is_empty())
    );
    nodes.iter().for_each(Node::close);
}

#[test]
fn a_node_that_has_come_in_is_not_dialled_and_one_is_dialled_once() {
    let reactor = reactor();
    let (server, _, running) = listening(&reactor, |node| node);
    let client = fast(Node::on(&reactor, "n1").unwrap())
        .serve(Echo::default())
        .unwrap();
    let unknown = client.get_or_connect("server").unwrap_err();
    assert_eq!(unknown.kind(), ErrorKind::Config);
    client.know("server", running.address()).unwrap();
    let links: Vec<StackLink> = (0..3)
        .map(|_| client.get_or_connect("server").unwrap())
        .collect();
    links[0].wait_up(PATIENCE).unwrap();
    assert_eq!(running.connections(), 1);
    // Nobody has said where n1 is: the link that it came in by will do.
    let back = server.get_or_connect("n1").unwrap();
    let answer = ask(&back, "back", PATIENCE);
    assert_eq!(
        answer.recv_timeout(PATIENCE).unwrap(),
        Ok("back".to_owned())
    );
    client.close();
    eventually("it has gone", || running.connections() == 0);
    let closed = client.get_or_connect("server").unwrap_err();
    assert_eq!(closed.kind(), ErrorKind::Closed);
}

#[test]
fn every_option_of_the_wire_works_between_nodes() {
    let reactor = reactor();
    let pool = netwheel::Executor::new(2);
    for wire in [
        StackWire::new(Profile::Book),
        StackWire::default().checksum(true),
        StackWire::new(Profile::Book).checksum(true),
    ] {
        for acknowledged in [false, true] {
            let rules = OutboxRules::default()
                .acknowledged(acknowledged)
                .lanes(!acknowledged);
            let (_node, echo, running) = listening(&reactor, |node| {
                node.wire(wire.clone())
                    .session_ids(true)
                    .outbox(rules.clone())
            });
            let client = fast(Node::on(&reactor, "n1").unwrap())
                .wire(wire.clone())
                .outbox(rules.clone())
                .serve_on(&pool, Echo::default())
                .unwrap();
            client.know("server", running.address()).unwrap();
            let link = client.get_or_connect("server").unwrap();
            link.send(Message::one_way("first").priority(200)).unwrap();
            let answer = link
                .call_and_wait(Message::request("second"), PATIENCE)
                .unwrap();
            assert_eq!(answer.kind(), MessageType::Response);
            assert_eq!(answer.session(), 1);
            assert_eq!(*echo.heard.lock().unwrap(), ["first", "second"]);
            eventually("nothing is kept", || link.stats().kept == 0);
            client.close();
        }
    }
}

#[test]
fn a_service_that_panics_or_fails_costs_its_own_link_only() {
    let reactor = reactor();
    let server = fast(Node::on(&reactor, "server").unwrap())
        .outbox(OutboxRules::default().acknowledged(true))
        .serve(|link: &StackLink, message: Message| {
            match &message.body()[..] {
                b"panic" => panic!("on purpose"),
                b"fail" => return Err(netwheel::Failure::msg("on purpose")),
                _ => {}
            }
            Ok(link.send(message.answer("fine"))?)
        })
        .unwrap();
    let running = server.server().listen(any_port()).unwrap().start().unwrap();
    let dial = |name: &str| {
        let echo = Echo::default();
        let node = fast(Node::on(&reactor, name).unwrap())
            .outbox(OutboxRules::default().acknowledged(true))
            .serve(echo.clone())
            .unwrap();
        node.know("server", running.address()).unwrap();
        let link = node.get_or_connect("server").unwrap();
        link.wait_up(PATIENCE).unwrap();
        (node, link, echo)
    };
    let (good, good_link, good_echo) = dial("good");
    for (round, text) in ["panic", "fail"].into_iter().enumerate() {
        let (bad, bad_link, bad_echo) = dial(&format!("bad{round}"));
        bad_link.send(Message::one_way(text)).unwrap();
        // It is not acknowledged, so it comes again, and fails again.
        eventually("it has come twice", || {
            bad_echo.downs.lock().unwrap().len() >= 2
        });
        assert_eq!(bad_link.stats().kept, 1);
        bad.close();
    }
    let answer = good_link
        .call_and_wait(Message::request("?"), PATIENCE)
        .unwrap();
    assert_eq!(answer.body(), "fine");
    assert!(good_echo.downs.lock().unwrap().is_empty());
    assert!(running.stats().panics >= 2);
    good.close();
}

#[cfg(feature = "tls")]
#[test]
fn nodes_speak_tls_where_their_pipelines_have_it() {
    let authority = crate::authority::Authority::new();
    let (ours, theirs) = (authority.server(), authority.client());
    let reactor = reactor();
    let (_node, _, running) = listening(&reactor, |node| {
        node.inbound(move |pipeline| pipeline.tls(&ours))
    });
    let client = fast(Node::on(&reactor, "n1").unwrap())
        .outbound(move |pipeline| pipeline.tls(&theirs))
        .serve(Echo::default())
        .unwrap();
    client.know("server", running.address()).unwrap();
    let link = client.get_or_connect("server").unwrap();
    let answer = ask(&link, "in secret", PATIENCE);
    assert_eq!(
        answer.recv_timeout(PATIENCE).unwrap(),
        Ok("in secret".to_owned())
    );
    client.close();
    let plain = crate::util::dial(running.address());
    crate::peer::say(&plain, &crate::peer::LOGIN);
    assert!(
        !crate::peer::rest(&plain).starts_with(&[0xab, 0xef]),
        "no answer in the clear"
    );
}
