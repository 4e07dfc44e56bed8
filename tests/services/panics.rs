//! A panic of the program's code costs one connection, and never a thread of the reactor.

use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use netwheel::{
    Client, CloseReason, Context, Flow, Handler, Pipeline, Reactor, Result, Server, Stage,
};

use crate::util::{PATIENCE, any_port, ask, dial, end, eventually, read_to_end, serve};

/// Panics as it is dropped, and with something that does so as well.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            std::panic::panic_any(Self);
        }
    }
}

impl Stage<Bytes, Bytes> for Bomb {
    fn on_inbound(&mut self, _: &mut Context<'_, Bytes, Bytes>, _: &mut Bytes) -> Result<Flow> {
        Ok(Flow::Next)
    }
}

#[test]
fn a_choice_of_a_worker_that_panics_falls_back_to_the_next_in_turn() {
    let calls = AtomicUsize::new(0);
    let reactor = Reactor::builder().workers(2).choose_worker(move |_, _| {
        assert!(
            calls.fetch_add(1, Ordering::Relaxed) % 2 == 1,
            "every other one"
        );
        7
    });
    let server = Server::new()
        .reactor(reactor)
        .pipeline(|_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
        .listen(any_port())
        .unwrap()
        .start()
        .unwrap();
    for _ in 0..4 {
        assert_eq!(ask(&dial(server.address()), b"x"), b"x");
    }
    assert_eq!(server.stats().panics, 2);
}

#[test]
fn an_attribute_that_panics_as_it_is_dropped_costs_a_line_in_the_log() {
    let server = serve(1, |_| {
        Pipeline::raw().handle(|cx, bytes| {
            cx.attributes().insert(Bomb);
            cx.write(bytes)
        })
    });
    let bad = dial(server.address());
    assert_eq!(ask(&bad, b"x"), b"x");
    drop(bad);
    eventually("the destructor has run", || server.stats().panics == 1);
    let good = dial(server.address());
    assert_eq!(ask(&good, b"y"), b"y");
    assert_eq!(server.stats().closes(CloseReason::PeerClosed), 1);
}

#[test]
fn a_pipeline_that_panics_as_another_takes_over_costs_a_line_in_the_log() {
    let server = serve(1, |_| {
        Pipeline::raw().stage("bomb", Bomb).handle(|cx, bytes| {
            cx.write(bytes)?;
            cx.upgrade(Pipeline::raw().handle(|cx, bytes| {
                let louder = bytes.to_ascii_uppercase();
                cx.write(louder.into())
            }));
            Ok(())
        })
    });
    let socket = dial(server.address());
    assert_eq!(ask(&socket, b"x"), b"x");
    assert_eq!(ask(&socket, b"x"), b"X");
    assert_eq!(server.stats().panics, 1);
    drop(socket);
    end(server);
}

#[test]
fn a_client_whose_factory_panics_ends_its_handle() {
    let server = serve(1, |_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)));
    let reactor = Reactor::builder().workers(1).start().unwrap();
    let client = Client::on(&reactor).pipeline(|| -> Pipeline<Bytes, Bytes> { panic!("no") });
    let handle = client.connect(server.address()).unwrap();
    assert_eq!(handle.wait_closed(PATIENCE).unwrap(), CloseReason::Panic);
    // And the worker goes on.
    let client = Client::on(&reactor).pipeline(|| Pipeline::raw().handle(|_, _| Ok(())));
    let handle = client.connect(server.address()).unwrap();
    handle.wait_open(PATIENCE).unwrap();
    assert_eq!(reactor.stats().panics, 1);
}

/// Its destructor panics on whichever thread drops the factory that holds it.
struct Greeter(#[expect(dead_code, reason = "dropped")] Arc<Bomb>);

impl Handler<Bytes, Bytes> for Greeter {
    fn on_message(&mut self, cx: &mut Context<'_, Bytes, Bytes>, message: Bytes) -> Result {
        cx.write(message)
    }
}

#[test]
fn a_factory_that_panics_as_it_is_dropped_ends_nobody() {
    let server = serve(1, |_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)));
    let reactor = Reactor::builder().workers(1).start().unwrap();
    for _ in 0..2 {
        let bomb = Arc::new(Bomb);
        let handle = Client::on(&reactor)
            .pipeline(move || Pipeline::raw().handler(Greeter(Arc::clone(&bomb))))
            .connect(server.address())
            .unwrap();
        handle.wait_open(PATIENCE).unwrap();
        handle.close();
        assert_eq!(handle.wait_closed(PATIENCE).unwrap(), CloseReason::Local);
    }
}

#[test]
fn a_factory_that_panics_turns_its_peer_away_and_nobody_else() {
    let server = serve(1, |_| {
        static CALLS: AtomicUsize = AtomicUsize::new(0);
        assert!(CALLS.fetch_add(1, Ordering::Relaxed) > 0, "the first");
        Pipeline::raw().handle(|cx, bytes| cx.write(bytes))
    });
    assert_eq!(read_to_end(&dial(server.address())), b"");
    let mut second = dial(server.address());
    second.write_all(b"x").unwrap();
    second.read_exact(&mut [0]).unwrap();
    drop(second);
    end(server);
}
