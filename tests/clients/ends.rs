//! The end of a client is final, whatever it was doing.

use netwheel::sim::Runs;
use netwheel::{ErrorKind, WhileDown};

use super::*;

#[test]
fn after_a_close_nothing_is_dialled_whenever_it_comes() {
    Runs::seeds(0..300).run(|world| {
        let (client, states) = client(world, Backoff::every(SECOND));
        let server = serve(world, SERVER);
        let handle = client.connect(SERVER).unwrap();
        // From the first step of the connect over the wait to the next connect.
        let moment = Duration::from_millis(world.seed() % 17 * 150);
        world.run_for(moment.min(SOON));
        server.shutdown(Duration::ZERO);
        world.run_for(moment.saturating_sub(SOON));
        handle.close();
        let seen = states.count();
        let connected = world.net().stats().connected;
        let _server = serve(world, SERVER);
        world.run_for(HOUR);
        assert_eq!(states.count(), seen, "{:?}", states.words());
        assert_eq!(states.words().last().unwrap(), "closed cancelled");
        assert_eq!(world.net().stats().connected, connected);
        assert_eq!(world.net().stats().active(), 0);
        states.check();
        assert!(handle.try_send("x".into()).unwrap_err().is_closed());
        let error = handle.wait_up(HOUR).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Closed);
        handle.close();
        assert_eq!(states.count(), seen, "a second close is none");
    });
}

#[test]
fn the_last_handle_takes_the_client_with_it_once_all_has_left() {
    Runs::seeds(0..100).run(|world| {
        let received: Shared<Vec<Bytes>> = Shared::default();
        let keep = received.clone();
        let server = Server::on(world)
            .pipeline(move |_| {
                let keep = keep.clone();
                Pipeline::new(LengthField::u32()).handle(move |_, bytes| {
                    keep.lock().unwrap().push(bytes);
                    Ok(())
                })
            })
            .listen(SERVER)
            .unwrap()
            .start()
            .unwrap();
        let (client, states) = client(world, Backoff::every(SECOND));
        let handle = client.connect(SERVER).unwrap();
        let other = handle.clone();
        drop(handle);
        assert!(world.run_until(SECOND, || states.is_up()), "one is left");
        for n in 0..50_u8 {
            other.try_send(vec![n; 100].into()).unwrap();
        }
        drop(other);
        assert_eq!(states.words(), ["connecting 1", "up", "closed cancelled"]);
        world.run_for(HOUR);
        assert_eq!(received.lock().unwrap().len(), 50);
        assert_eq!(world.net().stats().active(), 0);
        drop(server);
    });
}

#[test]
fn a_world_that_ends_ends_its_clients_whatever_they_do() {
    for seed in 0..100 {
        let world = World::new(seed);
        let up = serve(&world, SERVER);
        let addresses = [SERVER, "10.0.0.9:9", "nobody.test:1"];
        let clients = addresses.map(|to| {
            let (client, states) = client(&world, Backoff::every(SECOND));
            let client = client.while_down(WhileDown::queue());
            (client.connect(to).unwrap(), states)
        });
        let answers: Shared<Vec<_>> = Shared::default();
        for (handle, _) in &clients {
            let answers = answers.clone();
            let keep = move |answer| answers.lock().unwrap().push(answer);
            handle.try_send_then("never read".into(), keep).unwrap();
        }
        world.run_for(Duration::from_millis(seed * 20));
        drop(world);
        for (handle, states) in &clients {
            assert_eq!(
                states.words().last().unwrap(),
                "closed shutdown",
                "{:?}",
                states.words()
            );
            states.check();
            assert!(handle.try_send("x".into()).unwrap_err().is_closed());
        }
        assert_eq!(answers.lock().unwrap().len(), 3, "each is answered once");
        drop(up);
    }
}

#[test]
fn what_cannot_work_is_refused_at_once() {
    let world = World::new(1);
    let (client, _) = client(&world, Backoff::every(Duration::ZERO));
    assert_eq!(
        client.connect(SERVER).unwrap_err().kind(),
        ErrorKind::Config
    );
    let (client, states) = super::client(&world, Backoff::default());
    assert_eq!(
        client.connect("no address").unwrap_err().kind(),
        ErrorKind::Address
    );
    let none: [&str; 0] = [];
    assert_eq!(
        client.connect_any(none).unwrap_err().kind(),
        ErrorKind::Config
    );
    assert_eq!(states.count(), 0);
}
