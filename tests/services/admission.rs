//! The most connections that a reactor may have, whichever way they come.

use std::io::Read;

use netwheel::{Client, ErrorKind, Pipeline, Reactor, RunningServer, Server};

use crate::util::{PATIENCE, any_port, ask, dial, eventually, serve};

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
        // FIN or RST, as it happens.
        assert!(matches!(socket.read(&mut [0]), Ok(0) | Err(_)));
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
    assert_eq!(refused.kind(), ErrorKind::OverLimit);
    assert_eq!(reactor.stats().refused, 1);
    first.close();
    first.wait_closed(PATIENCE).unwrap();
    eventually("there is room again", || {
        client.connect(server.address()).is_ok()
    });
}
