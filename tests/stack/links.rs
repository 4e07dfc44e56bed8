//! What is kept, and what becomes of it: scenarios 20, 22 to 26 and 28.

use std::net::SocketAddr;
use std::time::Duration;

use netwheel::link::{OutboxRules, SendError};
use netwheel::sim::World;
use netwheel::stack::{Message, Node, StackLink};
use netwheel::{Clock, CloseReason, Instant, Reactor, RunningServer};

use crate::peer::{
    ACCEPTED, Echo, PLACE, RawPeer, SECOND, T, ask, fast, frame, listening, login, node_of,
    reactor, rest, say, take,
};
use crate::util::{Gate, PATIENCE, any_port, dial, end, eventually, read, reset};

fn client(reactor: &Reactor, at: SocketAddr) -> (Node, Echo) {
    let echo = Echo::default();
    let node = fast(Node::on(reactor, "n1").unwrap())
        .serve(echo.clone())
        .unwrap();
    node.know("server", at).unwrap();
    (node, echo)
}

fn heard(echo: &Echo, count: usize) -> Vec<String> {
    eventually("all have arrived", || {
        echo.heard.lock().unwrap().len() >= count
    });
    take(&echo.heard)
}

#[test]
fn one_message_too_many_comes_back_and_the_others_arrive_later() {
    let world = World::new(1);
    let (builder, echo) = node_of(&world, "n1");
    let rules = OutboxRules::default().messages_max(10);
    let client = builder.outbox(rules).serve(echo).unwrap();
    client.know("server", PLACE).unwrap();
    let link = client.get_or_connect("server").unwrap();
    for n in 0..10 {
        link.send(Message::one_way(n.to_string())).unwrap();
    }
    let refused = link.send(Message::one_way("10")).unwrap_err();
    assert!(refused.is_full());
    assert_eq!(refused.into_inner().body(), "10");
    let (builder, echo) = node_of(&world, "server");
    let server = builder.serve(echo.clone()).unwrap();
    let _running = server.server().listen(PLACE).unwrap().start().unwrap();
    assert!(world.run_until(10 * SECOND, || link.stats().kept == 0));
    world.run_for(SECOND);
    let expected: Vec<String> = (0..10).map(|n| n.to_string()).collect();
    assert_eq!(take(&echo.heard), expected);
    client.close();
    assert!(link.is_closed());
    assert!(matches!(
        link.send(Message::one_way("")),
        Err(SendError::Closed(_))
    ));
}

#[test]
fn a_server_keeps_what_it_pushes_to_a_node_that_is_away() {
    let world = World::new(2);
    let (builder, echo) = node_of(&world, "server");
    let server = builder.serve(echo).unwrap();
    let _running = server.server().listen(PLACE).unwrap().start().unwrap();
    let first = RawPeer::dial(&world);
    first.login("n1");
    assert!(world.run_until(SECOND, || server.listener().online() == 1));
    first.handle.close();
    assert!(world.run_until(SECOND, || server.listener().online() == 0));
    let link = server.link("n1").expect("it is remembered");
    for n in 0..100 {
        link.send(Message::one_way(format!("{n:02}"))).unwrap();
    }
    let again = RawPeer::dial(&world);
    again.login("n1");
    world.run_until(10 * SECOND, || again.heard.lock().unwrap().len() == 101);
    let texts: Vec<String> = take(&again.heard)[1..]
        .iter()
        .map(|message| String::from_utf8_lossy(message.body()).into_owned())
        .collect();
    assert_eq!(
        texts,
        (0..100).map(|n| format!("{n:02}")).collect::<Vec<_>>()
    );
}

#[test]
fn a_node_that_stays_away_is_forgotten_with_what_was_kept_for_it() {
    let world = World::new(3);
    let (builder, echo) = node_of(&world, "server");
    let minute = Duration::from_secs(60);
    let rules = OutboxRules::default().age_max(Some(minute));
    let server = builder.outbox(rules).serve(echo).unwrap();
    let _running = server.server().listen(PLACE).unwrap().start().unwrap();
    let peer = RawPeer::dial(&world);
    peer.login("n1");
    assert!(world.run_until(SECOND, || server.listener().online() == 1));
    peer.handle.close();
    assert!(world.run_until(SECOND, || server.listener().online() == 0));
    let link = server.link("n1").expect("it is remembered");
    link.send(Message::one_way("in vain")).unwrap();
    world.run_for(minute - SECOND);
    assert_eq!(link.stats().kept, 1);
    world.run_for(2 * SECOND);
    assert!(link.is_closed());
    assert!(server.link("n1").is_none());
}

#[test]
fn a_big_message_that_was_cut_off_goes_again_whole() {
    let reactor = reactor();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let (client, _) = client(&reactor, listener.local_addr().unwrap());
    let link = client.get_or_connect("server").unwrap();
    let big = vec![7; 900_000];
    let accept = || {
        let (socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(read(&socket, 38), login("n1"));
        say(&socket, &ACCEPTED);
        socket
    };
    let first = accept();
    // More than the kernel takes: the last of them is cut in the middle.
    let bigs = 8;
    for _ in 0..bigs {
        link.send(Message::one_way(big.clone())).unwrap();
    }
    assert_eq!(read(&first, 100_000)[..22], frame(2, &big)[..22]);
    reset(first);
    eventually("the client has noticed", || !link.is_up());
    let after = link.stats().kept;
    assert!(after > 0, "the kernel cannot have taken all of it");
    let second = accept();
    for _ in 0..after {
        assert_eq!(read(&second, 900_022), frame(2, &big));
    }
    client.close();
    let tail = rest(&second);
    assert!(tail.is_empty(), "{} bytes too many", tail.len());
}

fn serve_again(reactor: &Reactor, at: SocketAddr) -> (Node, Echo, RunningServer) {
    let echo = Echo::default();
    let node = Node::on(reactor, "server")
        .unwrap()
        .serve(echo.clone())
        .unwrap();
    let server = node.server().listen(at).unwrap().start().unwrap();
    (node, echo, server)
}

#[test]
fn a_client_finds_a_server_that_was_restarted_and_sends_what_it_kept() {
    let ours = reactor();
    let first = reactor();
    let (_node, _, server) = listening(&first, |node| node);
    let at = server.address();
    let (client, _) = client(&ours, at);
    let link = client.get_or_connect("server").unwrap();
    link.wait_up(PATIENCE).unwrap();
    server.shutdown(SECOND);
    eventually("the client has noticed", || !link.is_up());
    for n in 0..100 {
        link.send(Message::one_way(format!("{n:02}"))).unwrap();
    }
    let (_node, echo, server) = serve_again(&first, at);
    link.wait_up(PATIENCE).unwrap();
    link.send(Message::one_way("newer")).unwrap();
    let mut expected: Vec<String> = (0..100).map(|n| format!("{n:02}")).collect();
    expected.push("newer".to_owned());
    assert_eq!(heard(&echo, 101), expected);
    client.close();
    eventually("it has gone", || server.connections() == 0);
    end(server);
}

#[test]
fn a_shutdown_ends_links_with_a_fin_and_fails_their_calls() {
    let reactor = reactor();
    let (_node, _, server) = listening(&reactor, |node| node);
    let socket = dial(server.address());
    say(&socket, &login("n1"));
    assert_eq!(read(&socket, 23), ACCEPTED);
    let (client, echo) = client(&reactor, server.address());
    let link = {
        let node = fast(Node::on(&reactor, "n2").unwrap())
            .serve(echo.clone())
            .unwrap();
        node.know("server", server.address()).unwrap();
        let link = node.get_or_connect("server").unwrap();
        link.wait_up(PATIENCE).unwrap();
        std::mem::forget(node);
        link
    };
    drop(client);
    let report = server.shutdown(2 * SECOND);
    assert_eq!(report.aborted, 0);
    assert_eq!(rest(&socket), b"", "a FIN, and no reset");
    eventually("the client has noticed", || !link.is_up());
    assert_eq!(take(&echo.downs), [CloseReason::PeerClosed]);
    let answer = ask(&link, "too late", PATIENCE);
    link.close();
    let outcome = answer.recv_timeout(PATIENCE).unwrap();
    assert_eq!(outcome, Err(netwheel::link::CallError::Closed));
}

#[test]
fn acknowledged_messages_survive_a_reset_right_after_the_kernel_took_them() {
    let ours = reactor();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let echo = Echo::default();
    let rules = OutboxRules::default().acknowledged(true);
    let client = fast(Node::on(&ours, "n1").unwrap())
        .outbox(rules)
        .serve(echo)
        .unwrap();
    client
        .know("server", listener.local_addr().unwrap())
        .unwrap();
    let link = client.get_or_connect("server").unwrap();
    let accept = || {
        let (socket, _) = listener.accept().unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        assert_eq!(read(&socket, 38), login("n1"));
        say(&socket, &ACCEPTED);
        socket
    };
    let first = accept();
    link.wait_up(PATIENCE).unwrap();
    for n in 0..50 {
        link.send(Message::one_way(format!("{n:02}"))).unwrap();
    }
    // 22, two attachments of 8 + 3 + 8 and 8 + 5 + 8, and two bytes of text.
    let bytes = 22 + 19 + 21 + 2;
    let taken = read(&first, 50 * bytes);
    reset(first);
    let second = accept();
    assert_eq!(
        read(&second, 50 * bytes),
        taken,
        "all of them again, with their names"
    );
    assert_eq!(link.stats().kept, 50);
    client.close();
}

#[test]
fn a_link_that_closes_after_its_flush_loses_nothing_and_ends_its_client() {
    let reactor = reactor();
    let (_node, echo, server) = listening(&reactor, |node| node);
    let (client, _) = client(&reactor, server.address());
    let link = client.get_or_connect("server").unwrap();
    link.wait_up(PATIENCE).unwrap();
    for n in 0..1000 {
        link.send(Message::one_way(format!("{n:03}"))).unwrap();
    }
    link.close_after_flush();
    assert!(matches!(
        link.send(Message::one_way("more")),
        Err(SendError::Closed(_))
    ));
    assert_eq!(heard(&echo, 1000).len(), 1000);
    eventually("the link is closed", || link.is_closed());
    eventually("the connection has gone", || server.connections() == 0);
    assert_eq!(take(&echo.ups), ["n1"], "it has not come back");
    end(server);
}

/// The lane of a slow service fills up, and the connection is not read: its peer is not to blame.
#[test]
fn a_service_slower_than_the_heartbeat_costs_no_link_where_both_sides_ping() {
    let (reactor, pool, gate) = (reactor(), netwheel::Executor::new(1), Gate::new());
    let held = gate.clone();
    let server = fast(Node::on(&reactor, "server").unwrap())
        .heartbeat(2 * T, 5)
        .listener_pings(true)
        .serve_on(&pool, move |_: &StackLink, message: Message| {
            if message.body() == "hold" {
                held.pass();
            }
            Ok(())
        })
        .unwrap();
    let running = server.server().listen(any_port()).unwrap().start().unwrap();
    let echo = Echo::default();
    let client = fast(Node::on(&reactor, "n1").unwrap())
        .heartbeat(2 * T, 5)
        .serve(echo.clone())
        .unwrap();
    client.know("server", running.address()).unwrap();
    let link = client.get_or_connect("server").unwrap();
    link.wait_up(PATIENCE).unwrap();
    link.send(Message::one_way("hold")).unwrap();
    gate.wait();
    for _ in 0..500 {
        link.send(Message::one_way("more than a lane holds"))
            .unwrap();
    }
    let clock = Clock::system();
    while clock.now().since(Instant::START) < 20 * T {
        std::thread::park_timeout(T);
    }
    gate.open();
    link.call_and_wait(Message::request("?"), 2 * T)
        .unwrap_err(); // nobody answers
    assert!(link.is_up());
    assert_eq!(take(&echo.downs), []);
    client.close();
}
