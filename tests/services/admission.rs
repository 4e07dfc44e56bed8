//! The most connections that a reactor may have, whichever way they come.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use bytes::Bytes;
use netwheel::limits::{ConnectionLimits, WorkerLimits};
use netwheel::{
    Client, Clock, CloseReason, HasPipeline, Overflow, Pipeline, Reactor, RunningServer, Server,
};

use crate::util::{PATIENCE, any_port, ask, dial, dial_from, eventually, read_to_end, serve};

/// What a peer that is turned away sees.
fn told(socket: &mut TcpStream) -> ErrorKind {
    socket.read(&mut [0]).unwrap_err().kind()
}

fn limited(workers: usize, reuse_port: bool) -> RunningServer {
    Server::new()
        .reactor(Reactor::builder().workers(workers).connections_max(3))
        .reuse_port(reuse_port)
        .pipeline(|_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
        .listen(any_port())
        .unwrap()
        .start()
        .unwrap()
}

fn holds(server: &RunningServer) {
    let mut inside = Vec::new();
    for _ in 0..3 {
        let socket = dial(server.address());
        assert_eq!(ask(&socket, b"x"), b"x");
        inside.push(socket);
    }
    for refused in 1..=5 {
        let mut socket = dial(server.address());
        assert_eq!(told(&mut socket), ErrorKind::ConnectionReset);
        eventually("it is counted", || server.stats().refused == refused);
    }
    drop(inside);
    eventually("there is room again", || server.connections() == 0);
    assert_eq!(ask(&dial(server.address()), b"x"), b"x");
    assert_eq!(server.stats().accepted, 4);
}

#[test]
fn the_acceptor_lets_in_so_many_and_no_more() {
    holds(&limited(2, false));
}

#[test]
fn workers_that_accept_by_themselves_let_in_so_many_together() {
    holds(&limited(2, true));
}

#[test]
fn a_connect_counts_the_connections_of_all_workers() {
    let server = serve(1, |_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)));
    let reactor = Reactor::builder()
        .workers(4)
        .connections_max(2)
        .start()
        .unwrap();
    let client = Client::on(&reactor).pipeline(|| Pipeline::raw().handle(|_, _| Ok(())));
    let first = client.connect(server.address()).unwrap();
    let _second = client.connect(server.address()).unwrap();
    let refused = client.connect(server.address()).unwrap_err();
    assert_eq!(refused.kind(), netwheel::ErrorKind::OverLimit);
    assert_eq!(reactor.stats().refused, 1);
    first.close();
    first.wait_closed(PATIENCE).unwrap();
    eventually("there is room again", || {
        client.connect(server.address()).is_ok()
    });
}

fn echo(set: impl FnOnce(Server) -> Server, workers: usize, reuse_port: bool) -> RunningServer {
    let server: Server<HasPipeline> = set(Server::new().workers(workers).reuse_port(reuse_port))
        .pipeline(|_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)));
    server.listen(any_port()).unwrap().start().unwrap()
}

/// The ways in which connections come to a worker: by the acceptor, by listeners of its own, by the only one.
const WAYS: [(usize, bool); 3] = [(2, false), (2, true), (1, false)];

#[test]
fn a_server_has_a_bound_of_its_own_beside_its_neighbours_on_the_reactor() {
    let reactor = Reactor::builder().workers(2).start().unwrap();
    let on = |max: usize| {
        Server::on(&reactor)
            .connections_max(max)
            .pipeline(|_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
            .listen(any_port())
            .unwrap()
            .start()
            .unwrap()
    };
    let (small, large) = (on(1), on(10));
    let inside = dial(small.address());
    assert_eq!(ask(&inside, b"x"), b"x");
    assert_eq!(told(&mut dial(small.address())), ErrorKind::ConnectionReset);
    let others: Vec<_> = (0..10).map(|_| dial(large.address())).collect();
    for other in &others {
        assert_eq!(ask(other, b"x"), b"x");
    }
    assert_eq!(reactor.stats().refused, 1);
}

#[test]
fn an_address_has_its_share_and_leaves_the_others_theirs() {
    for (workers, reuse_port) in WAYS {
        let server = echo(
            |server| server.connections_per_address_max(2),
            workers,
            reuse_port,
        );
        let inside: Vec<_> = (0..2).map(|_| dial_from(1, server.address())).collect();
        for socket in &inside {
            assert_eq!(ask(socket, b"x"), b"x");
        }
        let mut refused = dial_from(1, server.address());
        assert_eq!(told(&mut refused), ErrorKind::ConnectionReset);
        assert_eq!(ask(&dial_from(2, server.address()), b"x"), b"x");
        drop(inside);
        eventually("there is room again", || server.connections() == 0);
        assert_eq!(ask(&dial_from(1, server.address()), b"x"), b"x");
        let stats = server.stats();
        assert_eq!((stats.refused, stats.accepted), (1, 4));
    }
}

#[test]
fn who_is_to_wait_is_let_in_when_another_goes() {
    for (workers, reuse_port) in WAYS {
        let server = echo(
            |server| server.connections_max(1).overflow(Overflow::Wait),
            workers,
            reuse_port,
        );
        let first = dial(server.address());
        assert_eq!(ask(&first, b"x"), b"x");
        let mut second = dial(server.address());
        second.write_all(b"later").unwrap();
        assert_eq!(ask(&first, b"y"), b"y");
        assert_eq!(server.stats().accepted, 1, "the other waits");
        drop(first);
        assert_eq!(crate::util::read(&second, 5), b"later");
        assert_eq!(server.stats().refused, 0);
    }
}

#[test]
fn the_longest_idle_makes_way_for_a_newcomer() {
    for (workers, reuse_port) in WAYS {
        // Where the kernel chooses the worker, each search is among that worker's own.
        let max = if reuse_port { 16 } else { 2 };
        let server = echo(
            |server| server.connections_max(max).overflow(Overflow::EvictIdle),
            workers,
            reuse_port,
        );
        let inside: Vec<_> = (0..max).map(|_| dial(server.address())).collect();
        for socket in &inside {
            assert_eq!(ask(socket, b"x"), b"x");
        }
        let newcomer = dial(server.address());
        assert_eq!(ask(&newcomer, b"x"), b"x");
        let stats = server.stats();
        assert_eq!(stats.closes(CloseReason::OverLimit), 1);
        assert_eq!((stats.refused, server.connections()), (0, max));
        if workers == 1 {
            assert_eq!(read_to_end(&inside[0]), b"", "the first has waited longest");
        }
    }
}

#[test]
fn connections_come_no_faster_than_their_rate() {
    for (workers, reuse_port) in WAYS {
        let clock = Clock::system();
        let server = echo(|server| server.accept_rate(100, 5), workers, reuse_port);
        let start = clock.now();
        let all: Vec<_> = (0..25).map(|_| dial(server.address())).collect();
        for socket in &all {
            assert_eq!(ask(socket, b"x"), b"x");
        }
        // Workers that accept by themselves may each take one together with another.
        let least = Duration::from_millis(10) * (20 - u32::from(reuse_port) * 2);
        let took = clock.now().since(start);
        assert!(took >= least, "{took:?}");
        assert_eq!(server.stats().refused, 0);
    }
}

const HELD: usize = 4 << 20;

/// Workers whose connections may hold 4 MiB together, and a peer for whom nearly all of it waits.
fn pressed(workers: usize, reuse_port: bool) -> (RunningServer, TcpStream, TcpStream) {
    const PIECE: &[u8] = &[0; 64 << 10];
    let mut worker = WorkerLimits::default();
    worker.worker_bytes_max = HELD;
    let mut limits = ConnectionLimits::default();
    limits.output_bytes_max = HELD;
    let server = Server::new()
        .reactor(Reactor::builder().workers(workers).limits(worker))
        .limits(limits)
        .reuse_port(reuse_port)
        .send_buffer_bytes(16 << 10)
        .pipeline(|_| {
            Pipeline::raw().handle(|cx, bytes: Bytes| match &bytes[..] {
                b"much" => (0..HELD / PIECE.len()).try_for_each(|_| cx.write(PIECE.into())),
                _ => cx.write(bytes),
            })
        })
        .listen(any_port())
        .unwrap()
        .start()
        .unwrap();
    let (inside, mut large) = (dial(server.address()), dial(server.address()));
    assert_eq!(ask(&inside, b"x"), b"x");
    large.write_all(b"much").unwrap();
    eventually("much is held", || server.stats().held_bytes > 3 << 20);
    (server, inside, large)
}

#[test]
fn a_worker_that_holds_too_much_lets_nobody_in_until_it_holds_less() {
    for reuse_port in [false, true] {
        let (server, inside, large) = pressed(1, reuse_port);
        let mut newcomer = dial(server.address());
        newcomer.write_all(b"later").unwrap();
        assert_eq!(ask(&inside, b"y"), b"y", "who holds little is served");
        assert_eq!(server.stats().accepted, 2, "the newcomer waits");
        drop(large);
        assert_eq!(crate::util::read(&newcomer, 5), b"later");
        eventually("the memory is free", || server.stats().held_bytes == 0);
        assert_eq!(server.stats().refused, 0);
    }
}

#[test]
fn newcomers_go_to_a_worker_that_has_memory_for_them() {
    let (server, _inside, _large) = pressed(2, false);
    let newcomers: Vec<_> = (0..6).map(|_| dial(server.address())).collect();
    for newcomer in &newcomers {
        assert_eq!(ask(newcomer, b"x"), b"x");
    }
    assert!(server.stats().held_bytes > 3 << 20);
}
