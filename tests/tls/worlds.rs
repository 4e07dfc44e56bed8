//! Servers and clients under TLS in a world in memory, and on sockets.

use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use netwheel::codec::LengthField;
use netwheel::sim::Runs;
use netwheel::{Client, CloseReason, Executor, Pipeline, Reactor, Server};

use crate::authority::Authority;
use crate::util::{PATIENCE, Pattern, end, eventually, serve};

#[test]
fn messages_come_back_in_any_world() {
    let authority = Authority::new();
    let (ours, theirs) = (authority.server(), authority.client());
    Runs::seeds(0..20).run(move |world| {
        let (ours, theirs) = (ours.clone(), theirs.clone());
        let server = Server::on(world)
            .pipeline(move |_| {
                Pipeline::new(LengthField::u32())
                    .tls(&ours)
                    .handle(|cx, frame| cx.write(frame))
            })
            .listen("10.0.0.1:7000")
            .unwrap()
            .start()
            .unwrap();
        let (telling, told) = mpsc::channel();
        let client = Client::on(world)
            .pipeline(move || {
                let telling = telling.clone();
                Pipeline::new(LengthField::u32())
                    .tls(&theirs)
                    .handle(move |_, frame: Bytes| Ok(telling.send(frame.len())?))
            })
            .connect("10.0.0.1:7000")
            .unwrap();
        for bytes in [0, 1, 64, 20_000, 100_000] {
            client.try_send(vec![7; bytes].into()).unwrap();
        }
        world.run_until_idle();
        let lengths: Vec<_> = told.try_iter().collect();
        assert_eq!(lengths, [0, 1, 64, 20_000, 100_000]);
        client.close_after_flush();
        world.run_until_idle();
        assert_eq!(client.closed(), Some(CloseReason::Local));
        let report = server.shutdown(Duration::from_secs(1));
        assert_eq!(report.aborted, 0);
    });
}

#[test]
fn a_silent_server_is_given_up_by_its_client() {
    Runs::seeds(0..5).run(|world| {
        let _server = Server::on(world)
            .pipeline(|_| Pipeline::raw().handle(|_, _| Ok(())))
            .listen("10.0.0.1:7000")
            .unwrap()
            .start()
            .unwrap();
        let tls = Authority::new().client();
        let client = Client::on(world)
            .pipeline(move || Pipeline::raw().tls(&tls).handle(|_, _| Ok(())))
            .connect("10.0.0.1:7000")
            .unwrap();
        world.run_for(Duration::from_secs(4));
        assert_eq!(client.closed(), None);
        world.run_for(Duration::from_secs(2));
        assert_eq!(client.closed(), Some(CloseReason::HandshakeTimeout));
    });
}

#[test]
fn a_reader_that_is_slow_gets_every_byte() {
    const PIECES: usize = 600;
    let authority = Authority::new();
    let (ours, theirs) = (authority.server(), authority.client());
    let server = serve(1, move |_| {
        let mut pattern = Pattern::default();
        Pipeline::new(LengthField::u32())
            .tls(&ours)
            .handle(move |cx, _| cx.write(Bytes::from_static(pattern.take(60_000))))
    });
    let reactor = Reactor::builder().workers(1).start().unwrap();
    let (telling, told) = mpsc::sync_channel::<Bytes>(0);
    // The pool's only thread waits for the test, so the client reads no faster than the test does.
    let pool = Executor::new(1);
    let client = Client::on(&reactor)
        .pipeline(move || {
            let telling = telling.clone();
            Pipeline::new(LengthField::u32())
                .tls(&theirs)
                .handle_on(&pool, move |_, bytes| Ok(telling.send(bytes)?))
        })
        .connect(server.address())
        .unwrap();
    for _ in 0..PIECES {
        client.try_send(Bytes::new()).unwrap();
    }
    eventually("the server is held back", || {
        let stats = server.stats();
        stats.messages_in > 0 && stats.messages_in < PIECES as u64
    });
    let mut pattern = Pattern::default();
    for _ in 0..PIECES {
        pattern.check(&told.recv_timeout(PATIENCE).expect("the next piece"));
    }
    client.close_after_flush();
    eventually("the server has seen the end", || server.connections() == 0);
    end(server);
}
