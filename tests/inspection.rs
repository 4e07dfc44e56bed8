//! The list of connections tells what each of them is at, and hurries nobody.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod util;

use std::io::Write;
use std::time::Duration;

use crossbeam_channel::unbounded;
use netwheel::sim::World;
use netwheel::stages::Idle;
use netwheel::{Client, ConnectionInfo, ConnectionPhase, ErrorKind, Pipeline, Reactor, Server};
use util::{Gate, PATIENCE, any_port, ask, dial, serve};

#[test]
fn every_connection_is_told_with_what_it_is_at() {
    let server = serve(2, |_| {
        Pipeline::raw()
            .stage("idle", Idle::close_after(PATIENCE))
            .stage("empty", Idle::close_after(PATIENCE))
            .handle(|cx, bytes| {
                if bytes.starts_with(b"stop") {
                    cx.pause_reading();
                }
                cx.write(bytes)
            })
    });
    let sockets: Vec<_> = (0..5).map(|_| dial(server.address())).collect();
    for socket in &sockets[1..] {
        ask(socket, b"four");
    }
    ask(&sockets[0], b"stop!");
    let list = server.list_connections(PATIENCE).unwrap();
    assert_eq!(list.len(), 5);
    assert!(list.is_sorted_by_key(|info| info.id));
    for socket in &sockets {
        let peer = socket.local_addr().unwrap().into();
        let info = list.iter().find(|info| info.peer == peer).unwrap();
        assert_eq!(info.local, server.address().into());
        assert_eq!(info.phase, ConnectionPhase::Open);
        assert_eq!(info.stages, ["idle", "empty"]);
        assert!(info.accepted);
        let stopped = std::ptr::eq(socket, &raw const sockets[0]);
        assert_eq!(info.pauses, if stopped { vec!["user"] } else { vec![] });
        assert_eq!(info.bytes_sent, if stopped { 5 } else { 4 });
        assert_eq!((info.bytes_queued, info.bytes_undecoded), (0, 0));
    }
}

#[test]
fn more_connections_than_a_turn_describes_are_all_told() {
    const MANY: usize = 2 * netwheel::limits::INSPECTED_PER_TURN + 1;
    let world = World::with_workers(1, 1);
    let _server = Server::on(&world)
        .pipeline(|_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
        .listen("10.0.0.1:7")
        .unwrap()
        .start()
        .unwrap();
    let clients: Vec<_> = (0..MANY)
        .map(|_| {
            let client = Client::on(&world).pipeline(|| Pipeline::raw().handle(|_, _| Ok(())));
            client.connect("10.0.0.1:7").unwrap()
        })
        .collect();
    world.run_for(Duration::from_millis(90_500));
    let list = world.net().connections(Duration::from_secs(1)).unwrap();
    assert_eq!(list.len(), 2 * MANY, "both ends of each");
    assert_eq!(list.iter().filter(|info| info.accepted).count(), MANY);
    let about = |time: Duration| (89_000..=90_600).contains(&time.as_millis());
    let is_told = |info: &ConnectionInfo| about(info.age) && about(info.read_silence);
    assert!(list.iter().all(is_told), "{:?}", list[0]);
    drop(clients);
}

#[test]
fn a_worker_that_hangs_is_not_waited_for_longer_than_asked() {
    let gate = Gate::new();
    let stop = gate.clone();
    let server = serve(1, move |_| {
        let stop = stop.clone();
        Pipeline::raw().handle(move |cx, bytes| {
            stop.pass();
            cx.write(bytes)
        })
    });
    let mut socket = dial(server.address());
    socket.write_all(b"x").unwrap();
    gate.wait();
    let refused = server.list_connections(Duration::from_millis(10));
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Timeout);
    // Those who gave up hold no place.
    for _ in 0..2 * netwheel::limits::INQUIRIES_MAX {
        let refused = server.list_connections(Duration::ZERO);
        assert_eq!(refused.unwrap_err().kind(), ErrorKind::Timeout);
    }
    gate.open();
    assert_eq!(util::read(&socket, 1), b"x");
    assert_eq!(server.list_connections(PATIENCE).unwrap().len(), 1);
}

#[test]
fn an_io_thread_is_refused_and_a_reactor_that_has_ended_says_so() {
    let reactor = Reactor::builder().workers(1).start().unwrap();
    let net = reactor.net().clone();
    let (told, outcome) = unbounded();
    let asker = net.clone();
    let server = Server::on(&reactor)
        .pipeline(move |_| {
            told.send(asker.connections(PATIENCE).map(|list| list.len()))
                .unwrap();
            Pipeline::raw().handle(|cx, bytes| cx.write(bytes))
        })
        .listen(any_port())
        .unwrap()
        .start()
        .unwrap();
    let _socket = dial(server.address());
    let refused = outcome.recv_timeout(PATIENCE).unwrap();
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Misuse);
    reactor.shutdown(PATIENCE);
    let refused = net.connections(PATIENCE);
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::Closed);
}
