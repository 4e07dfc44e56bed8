//! Bytes, whole and in order.

use std::time::Duration;

use bytes::Bytes;
use netwheel::sim::World;
use netwheel::stages::{Idle, Traffic};
use netwheel::{Client, CloseReason, ConnectionHandle, Pipeline, RunningServer, Server};

use crate::{Dice, MINUTE, Runs, Shared, take};

fn echo_server(world: &World) -> RunningServer {
    Server::on(world)
        .pipeline(|_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
        .listen("10.0.0.1:7000")
        .unwrap()
        .start()
        .unwrap()
}

/// A client that keeps what comes back.
fn client(world: &World, back: &Shared<Vec<u8>>) -> ConnectionHandle<Bytes> {
    let back = back.clone();
    // It writes more than it reads: were it to stop reading until it has written, and the server to
    // stop reading until it has answered, both would wait for ever.
    Client::on(world)
        .auto_pause(false)
        .pipeline(move || {
            let back = back.clone();
            Pipeline::raw().handle(move |_, bytes| {
                back.lock().unwrap().extend_from_slice(&bytes);
                Ok(())
            })
        })
        .connect("10.0.0.1:7000")
        .unwrap()
}

fn echo(world: &World, bytes_max: usize) {
    let server = echo_server(world);
    let back = Shared::default();
    let client = client(world, &back);
    let mut dice = Dice(world.seed());
    let bytes_count = dice.below(bytes_max);
    let data = dice.bytes(bytes_count);
    let mut rest = data.clone();
    while !rest.is_empty() {
        let piece = rest.split_to(1 + dice.below(rest.len()));
        client.try_send(piece).unwrap();
        if dice.below(2) == 0 {
            world.run_for(Duration::from_millis(dice.below(20) as u64));
        }
    }
    world.run_until_idle();
    let back = take(&back);
    assert!(back == data, "{} of {} bytes", back.len(), data.len());
    client.close_after_flush();
    world.run_until_idle();
    assert_eq!(client.closed(), Some(CloseReason::Local));
    let stats = world.net().stats();
    assert_eq!((stats.accepted, stats.connected, stats.closed), (1, 1, 2));
    assert_eq!(stats.closes(CloseReason::PeerClosed), 1);
    assert_eq!(stats.timers_live, 0);
    assert_eq!(server.shutdown(MINUTE).aborted, 0);
}

#[test]
fn small_echoes_under_many_seeds() {
    Runs::seeds(0..500).run(|world| echo(world, 2000));
}

#[test]
fn large_echoes_under_some() {
    Runs::seeds(0..10).run(|world| echo(world, 700_000));
}

/// Both ways slower than the network, and idle for longer than its stage allows at the end.
fn shaped_echo(world: &World) {
    const RATE: u64 = 20_000;
    let server = Server::on(world)
        .pipeline(|_| {
            Pipeline::raw()
                .stage("slow", Traffic::new().read_rate(RATE).write_rate(RATE))
                .stage("idle", Idle::close_after(MINUTE))
                .handle(|cx, bytes| cx.write(bytes))
        })
        .listen("10.0.0.1:7000")
        .unwrap()
        .start()
        .unwrap();
    let back = Shared::default();
    let client = client(world, &back);
    let mut dice = Dice(world.seed());
    let bytes = 30_000 + dice.below(30_000);
    let data = dice.bytes(bytes);
    client.try_send(data.clone()).unwrap();
    let least = Duration::from_secs_f64(bytes as f64 / RATE as f64 - 0.2);
    world.run_for(least);
    assert!(back.lock().unwrap().len() < bytes, "faster than its rate");
    world.run_for(3 * MINUTE);
    assert!(take(&back) == data);
    assert_eq!(client.closed(), Some(CloseReason::PeerClosed));
    let stats = world.net().stats();
    assert_eq!(
        (stats.bytes_in, stats.bytes_out),
        (2 * bytes as u64, 2 * bytes as u64)
    );
    assert_eq!(stats.closes(CloseReason::Idle), 1);
    assert_eq!(server.shutdown(MINUTE).aborted, 0);
}

#[test]
fn a_shaped_echo_loses_nothing_and_ends_in_silence() {
    Runs::seeds(0..100).run(shaped_echo);
}
