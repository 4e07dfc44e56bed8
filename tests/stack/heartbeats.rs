//! Heartbeats by the clock of a world: scenarios 7, 11, 16 to 19.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use netwheel::CloseReason;
use netwheel::sim::World;
use netwheel::stack::{Message, MessageType};

use crate::peer::{INTERVAL, MILLI, N, PLACE, RawPeer, SECOND, T, node_of, raw_server, take};

fn accept() -> Message {
    Message::new(MessageType::HandshakeResponse, &[0][..])
}

#[test]
fn a_listener_closes_a_silent_node_after_n_intervals_and_lets_it_in_again() {
    for seed in 0..20 {
        let world = World::new(seed);
        let (builder, echo) = node_of(&world, "server");
        let node = builder.serve(echo.clone()).unwrap();
        let server = node.server().listen(PLACE).unwrap().start().unwrap();
        let silent = RawPeer::dial(&world);
        silent.login("n1");
        assert!(world.run_until(SECOND, || node.listener().online() == 1));
        let since = world.now();
        assert!(world.run_until(SECOND, || node.listener().online() == 0));
        let took = world.now().since(since);
        assert!(
            took >= N * T - MILLI && took <= N * T + 50 * MILLI,
            "{took:?}"
        );
        assert_eq!(take(&echo.downs), [CloseReason::HeartbeatLost]);
        let again = RawPeer::dial(&world);
        again.login("n1");
        assert!(world.run_until(SECOND, || node.listener().online() == 1));
        assert_eq!(server.stats().closes(CloseReason::HeartbeatLost), 1);
    }
}

#[test]
fn an_idle_link_pings_is_answered_and_stays() {
    let world = World::new(3);
    let (builder, echo) = node_of(&world, "server");
    let server = builder.serve(echo.clone()).unwrap();
    let _running = server.server().listen(PLACE).unwrap().start().unwrap();
    let (builder, _) = node_of(&world, "n1");
    let client = builder.serve(echo.clone()).unwrap();
    client.know("server", PLACE).unwrap();
    let link = client.get_or_connect("server").unwrap();
    assert!(world.run_until(SECOND, || link.is_up()));
    world.run_for(100 * T);
    assert!(link.is_up());
    assert_eq!(take(&echo.downs), []);
    assert!(link.stats().rtt.is_some(), "a ping was answered");
    client.close();
}

#[test]
fn a_dialer_whose_pings_are_not_answered_closes_and_comes_back() {
    for seed in 0..20 {
        let world = World::new(seed);
        let pings = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&pings);
        let _server = raw_server(&world, move |message| match message.kind() {
            MessageType::HandshakeRequest => Some(accept()),
            _ => {
                count.fetch_add(1, Ordering::Relaxed);
                None
            }
        });
        let (builder, echo) = node_of(&world, "n1");
        let client = builder.serve(echo.clone()).unwrap();
        client.know("server", PLACE).unwrap();
        let link = client.get_or_connect("server").unwrap();
        assert!(world.run_until(SECOND, || link.is_up()));
        let up = world.now();
        assert!(world.run_until(SECOND, || !link.is_up()));
        let took = world.now().since(up);
        assert!(took >= N * T && took <= (N + 1) * T + 2 * MILLI, "{took:?}");
        assert_eq!(take(&echo.downs), [CloseReason::HeartbeatLost]);
        assert_eq!(link.stats().rtt, None);
        let down = world.now();
        assert!(world.run_until(10 * SECOND, || link.is_up()));
        assert!(world.now().since(down) >= INTERVAL, "it waited first");
        client.close();
        world.run_for(SECOND);
        assert!(pings.load(Ordering::Relaxed) >= 2);
    }
}

#[test]
fn business_counts_as_a_sign_of_life() {
    let world = World::new(4);
    let (builder, echo) = node_of(&world, "server");
    let server = builder.serve(echo).unwrap();
    let _running = server.server().listen(PLACE).unwrap().start().unwrap();
    let peer = RawPeer::dial(&world);
    peer.login("n1");
    assert!(world.run_until(SECOND, || server.listener().online() == 1));
    for _ in 0..40 {
        peer.say(Message::one_way("still here"));
        world.run_for(T / 2);
    }
    assert_eq!(server.listener().online(), 1);
    let pongs = take(&peer.heard);
    assert_eq!(pongs.len(), 1, "its login was answered, and nothing else");
}

#[test]
fn a_link_that_only_writes_finds_the_death_of_its_peer() {
    let world = World::new(5);
    let _server = raw_server(&world, |message| {
        (message.kind() == MessageType::HandshakeRequest).then(accept)
    });
    let (builder, echo) = node_of(&world, "n1");
    let client = builder.serve(echo.clone()).unwrap();
    client.know("server", PLACE).unwrap();
    let link = client.get_or_connect("server").unwrap();
    assert!(world.run_until(SECOND, || link.is_up()));
    for _ in 0..60 {
        link.send(Message::one_way("anybody?")).unwrap();
        world.run_for(T / 10);
    }
    assert_eq!(take(&echo.downs), [CloseReason::HeartbeatLost]);
    client.close();
}

#[test]
fn a_login_that_is_not_answered_is_given_up() {
    let world = World::new(6);
    let _server = raw_server(&world, |_| None);
    let (builder, _) = node_of(&world, "n1");
    let client = builder.serve(|_: &_, _| Ok(())).unwrap();
    client.know("server", PLACE).unwrap();
    let link = client.get_or_connect("server").unwrap();
    world.run_for(5 * SECOND);
    assert!(!link.is_up());
    let timeouts = world.net().stats().closes(CloseReason::HandshakeTimeout);
    assert!((3..=5).contains(&timeouts), "{timeouts}");
    client.close();
}
