//! The deadlines of connections, at their defaults, in virtual time: scenario 72.

use std::sync::Arc;
use std::time::Duration;

use chat::client::{ChatClient, News, NoNotebook, Screen, Settings};
use chat::protocol::{Frame, HeadContent, HeadType, LoginRequest, Packet};
use chat::service::{Options, Service};
use chat::store::MemoryStore;
use chat::users::Anybody;
use netwheel::sim::World;
use netwheel::{Client, CloseReason, ConnectionHandle, Pipeline, RunningServer, Server};

const AT: &str = "10.0.0.1:7000";

fn serve(world: &World) -> RunningServer {
    let options = Options::new(|| 1_700_000_000_000);
    let store = Arc::new(MemoryStore::default());
    let service = Service::new(world.net(), store, Arc::new(Anybody), options);
    let server = service.expect("a new store").on(Server::on(world));
    let server = server.listen(AT).expect("its own address");
    server.start().expect("a network")
}

/// A connection that says nothing but what the test says.
fn connect(world: &World) -> ConnectionHandle<Packet> {
    let silent = || Pipeline::new(HeadContent).handle(|_, _: Frame| Ok(()));
    let client = Client::on(world).pipeline(silent);
    client.connect(AT).expect("an address")
}

fn log_in(uid: &str) -> Packet {
    Packet::new(HeadType::LoginRequest, 1, |message| {
        message.login_request = Some(LoginRequest {
            uid: uid.into(),
            token: uid.into(),
            ..LoginRequest::default()
        });
    })
}

/// Seconds until the server closes it.
fn seconds_to_close(world: &World, connection: &ConnectionHandle<Packet>) -> u64 {
    let start = world.now();
    let closed = world.run_until(Duration::from_secs(1000), || connection.closed().is_some());
    assert!(closed, "it is never closed");
    world.now().since(start).as_secs()
}

#[test]
fn who_does_not_log_in_is_closed_after_ten_seconds() {
    let world = World::new(1);
    let server = serve(&world);
    let silent = connect(&world);
    assert_eq!(seconds_to_close(&world, &silent), 10);
    let closes = server.stats().closes(CloseReason::HandshakeTimeout);
    assert_eq!(closes, 1);
}

#[test]
fn who_has_logged_out_has_ten_seconds_again() {
    let world = World::new(1);
    let _server = serve(&world);
    let connection = connect(&world);
    connection.try_send(log_in("ann")).expect("room");
    world.run_for(Duration::from_secs(60));
    let out = Packet::new(HeadType::LogoutRequest, 2, |_| {});
    connection.try_send(out).expect("room");
    assert_eq!(seconds_to_close(&world, &connection), 10);
}

#[test]
fn who_is_logged_in_and_silent_is_closed_after_150_seconds() {
    let world = World::new(1);
    let server = serve(&world);
    let silent = connect(&world);
    silent.try_send(log_in("ann")).expect("room");
    assert_eq!(seconds_to_close(&world, &silent), 150);
    assert_eq!(server.stats().closes(CloseReason::Idle), 1);
}

#[test]
fn a_client_with_its_heartbeats_stays_for_hours() {
    struct Blind;

    impl Screen for Blind {
        fn show(&self, _news: News) {}
    }

    let world = World::new(1);
    let server = serve(&world);
    let settings = Settings::new("ann", "ann");
    let client = ChatClient::start(world.net(), AT, settings, NoNotebook, Arc::new(Blind), 1);
    let client = client.expect("an address");
    world.run_for(Duration::from_secs(3 * 3600));
    assert!(client.is_logged_in());
    let stats = server.stats();
    assert_eq!((stats.accepted, stats.closed), (1, 0));
    // A heartbeat every 50 seconds, and its echo; a login, and its answer. The network counts both ends.
    let count = stats.messages_in;
    assert!((430..=434).contains(&count), "{count} messages");
}
