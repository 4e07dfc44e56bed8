//! Connections that are lent out.

use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc;

use netwheel::{ConnectionPool, ErrorKind, Reactor};

use super::util::{A_WHILE, PATIENCE, any_port, eventually};
use super::*;

fn reactor() -> Reactor {
    Reactor::builder().workers(1).start().unwrap()
}

fn server(reactor: &Reactor) -> RunningServer {
    let server = Server::on(reactor).pipeline(|_| frames());
    server.listen(any_port()).unwrap().start().unwrap()
}

fn pool(reactor: &Reactor, to: SocketAddr, max: usize) -> ConnectionPool<Bytes> {
    let client = Client::on(reactor).pipeline(frames);
    ConnectionPool::new(max, move || client.connect(to)).unwrap()
}

#[test]
fn connections_are_lent_again_and_never_more_than_the_bound() {
    let reactor = reactor();
    let server = server(&reactor);
    let pool = pool(&reactor, server.address(), 2);
    let first = pool.acquire(PATIENCE).unwrap();
    let id = first.id();
    drop(first);
    let first = pool.acquire(PATIENCE).unwrap();
    assert_eq!(first.id(), id, "it is lent again");
    let second = pool.acquire(PATIENCE).unwrap();
    assert_ne!(second.id(), id);
    assert!(pool.try_acquire().unwrap().is_none());
    assert_eq!(
        pool.acquire(A_WHILE).unwrap_err().kind(),
        ErrorKind::Timeout
    );
    assert_eq!((pool.count(), pool.idle()), (2, 0));
    let waiting = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| pool.acquire(PATIENCE).unwrap().id());
        drop(first);
        waiting.join().unwrap()
    });
    assert_eq!(waiting, id, "the one that came back");
    drop(second);
    assert_eq!((pool.count(), pool.idle()), (2, 2));
    drop(pool);
    eventually("a pool that is gone closes what is idle", || {
        reactor.stats().active() == 0
    });
}

#[test]
fn a_broken_one_is_replaced_also_while_it_is_lent() {
    let reactor = reactor();
    let server = server(&reactor);
    let pool = pool(&reactor, server.address(), 1);
    let lent = pool.acquire(PATIENCE).unwrap();
    let id = lent.id();
    lent.close();
    drop(lent);
    assert_eq!(pool.count(), 0);
    let lent = pool.acquire(PATIENCE).unwrap();
    assert_ne!(lent.id(), id);
    let handle = (*lent).clone();
    drop(lent);
    handle.close();
    handle.wait_closed(PATIENCE).unwrap();
    let lent = pool.acquire(PATIENCE).unwrap();
    assert_ne!(lent.id(), handle.id());
    assert_eq!(pool.count(), 1);
}

#[test]
fn one_that_does_not_pass_the_check_is_closed_and_another_dialled() {
    let reactor = reactor();
    let server = server(&reactor);
    let spoiled: Shared<Vec<netwheel::ConnectionId>> = Shared::default();
    let seen = spoiled.clone();
    let pool = pool(&reactor, server.address(), 1)
        .check(move |handle| !seen.lock().unwrap().contains(&handle.id()));
    let lent = pool.acquire(PATIENCE).unwrap();
    let (id, handle) = (lent.id(), (*lent).clone());
    drop(lent);
    spoiled.lock().unwrap().push(id);
    assert_ne!(pool.acquire(PATIENCE).unwrap().id(), id);
    assert_eq!(
        handle.wait_closed(PATIENCE).unwrap(),
        netwheel::CloseReason::Local
    );
    assert_eq!(pool.count(), 1);
}

#[test]
fn a_dial_that_fails_takes_no_room() {
    let reactor = reactor();
    let free = TcpListener::bind(any_port()).unwrap().local_addr().unwrap();
    let refused = pool(&reactor, free, 1);
    for _ in 0..3 {
        assert_eq!(
            refused.acquire(PATIENCE).unwrap_err().kind(),
            ErrorKind::Closed
        );
        assert_eq!(refused.count(), 0);
    }
    let client = Client::on(&reactor).pipeline(frames);
    let wrong = ConnectionPool::new(1, move || client.connect("no address")).unwrap();
    assert_eq!(
        wrong.acquire(PATIENCE).unwrap_err().kind(),
        ErrorKind::Address
    );
    assert_eq!(wrong.try_acquire().unwrap_err().kind(), ErrorKind::Address);
    assert_eq!(wrong.count(), 0);
    let none = ConnectionPool::new(0, || -> Result<netwheel::ConnectionHandle<Bytes>, _> {
        unreachable!()
    });
    assert_eq!(none.unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn an_io_thread_may_try_but_not_wait() {
    let reactor = reactor();
    let server = server(&reactor);
    let asking = pool(&reactor, server.address(), 1);
    let (tell, told) = mpsc::channel();
    let _client = Client::on(&reactor)
        .reconnect(Backoff::default())
        .on_state(move |state| {
            if matches!(state, ClientState::Up { .. }) {
                let refused = asking.acquire(PATIENCE).map_err(|error| error.kind()).err();
                let lent = asking.try_acquire().unwrap();
                let sent = lent.as_ref().unwrap().try_send("waits for the open".into());
                let _ = tell.send((
                    refused,
                    sent.is_ok(),
                    asking.try_acquire().unwrap().is_none(),
                ));
            }
        })
        .pipeline(frames)
        .connect(server.address())
        .unwrap();
    let (refused, sent, none) = told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(refused, Some(ErrorKind::Misuse));
    assert!(sent && none);
}
