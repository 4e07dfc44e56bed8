//! What a client does and tells, one state after the other.

use netwheel::sim::{Runs, World};
use netwheel::{CloseReason, Context, Handler, ReconnectingHandle, Result};

use super::*;

/// Runs in small steps for so long, and tells when each state came.
fn stamp(world: &World, states: &States, time: Duration) -> Vec<(Duration, ClientState)> {
    let step = Duration::from_millis(5);
    let (start, mut stamped) = (world.now(), Vec::new());
    while world.now().since(start) < time {
        world.run_for(step);
        let all = states.all();
        let new = all[stamped.len()..].iter().cloned();
        stamped.extend(
            new.map(|state| (world.now().since(start), state))
                .collect::<Vec<_>>(),
        );
    }
    stamped
}

#[test]
fn a_client_outlives_its_server_and_comes_back_to_the_next() {
    Runs::seeds(0..200).run(|world| {
        let (client, states) = client(world, Backoff::every(SECOND));
        let handle = client.connect(SERVER).unwrap();
        world.run_for(3 * SECOND);
        for round in 0..3 {
            let server = serve(world, SERVER);
            assert!(
                world.run_until(3 * SECOND, || states.is_up()),
                "round {round}"
            );
            assert!(handle.wait_up(Duration::ZERO).is_ok());
            assert!(handle.connection().is_some());
            server.shutdown(SECOND / 2);
            world.run_for(2 * SECOND);
            assert!(handle.connection().is_none());
        }
        handle.close();
        world.run_for(HOUR);
        states.check();
        let words = states.words();
        assert_eq!(
            words.iter().filter(|word| *word == "up").count(),
            3,
            "{words:?}"
        );
        assert_eq!(words.last().unwrap(), "closed cancelled");
        assert!(states.waits().iter().all(|wait| *wait == SECOND));
    });
}

#[test]
fn the_interval_passes_before_every_retry_the_first_one_included() {
    Runs::seeds(0..20).run(|world| {
        let (client, states) = client(world, Backoff::every(SECOND));
        let _handle = client.connect(SERVER).unwrap();
        let stamped = stamp(world, &states, 8 * SECOND);
        states.check();
        let times = |wanted: fn(&ClientState) -> bool| {
            let chosen = stamped.iter().filter(|(_, state)| wanted(state));
            chosen.map(|(at, _)| *at).collect::<Vec<_>>()
        };
        let down = times(|state| matches!(state, ClientState::Down(_)));
        let tried = times(|state| matches!(state, ClientState::Connecting { .. }));
        assert!(down.len() >= 5, "{:?}", states.words());
        for (down, tried) in down.iter().zip(&tried[1..]) {
            let waited = tried.saturating_sub(*down);
            let slack = Duration::from_millis(15);
            assert!(
                waited + slack >= SECOND && waited <= SECOND + slack,
                "{waited:?}"
            );
        }
    });
}

#[test]
fn waits_grow_to_the_ceiling_with_jitter_and_an_open_resets_them() {
    Runs::seeds(0..100).run(|world| {
        let backoff = Backoff::every(SECOND).up_to(4 * SECOND).jitter(0.2);
        let (client, states) = client(world, backoff);
        let _handle = client.connect(SERVER).unwrap();
        world.run_for(20 * SECOND);
        let server = serve(world, SERVER);
        assert!(world.run_until(6 * SECOND, || states.is_up()));
        let before = states.waits();
        server.shutdown(SECOND);
        world.run_for(20 * SECOND);
        let after = states.waits().split_off(before.len());
        for waits in [before, after] {
            assert!(waits.len() >= 4, "{waits:?}");
            let plain = [1, 2, 4].into_iter().chain(std::iter::repeat(4));
            for (wait, plain) in waits.iter().zip(plain) {
                let (low, high) = (plain * SECOND * 8 / 10, plain * SECOND * 12 / 10);
                assert!((low..=high).contains(wait), "{waits:?}");
            }
        }
        states.check();
    });
}

#[test]
fn clients_of_one_network_do_not_wait_in_step_and_a_seed_repeats_them() {
    let waits = |seed| {
        let world = World::new(seed);
        let dial = || {
            let (client, states) = client(&world, Backoff::every(SECOND).jitter(0.5));
            (client.connect(SERVER).unwrap(), states)
        };
        let clients = [dial(), dial()];
        world.run_for(10 * SECOND);
        clients.map(|(_, states)| states.waits())
    };
    let [one, other] = waits(7);
    assert!(one.len() > 3 && one != other, "{one:?}");
    assert_eq!(waits(7), [one, other]);
}

#[test]
fn so_many_tries_in_a_row_and_no_more() {
    Runs::seeds(0..50).run(|world| {
        let (client, states) = client(world, Backoff::every(SECOND).tries_max(3));
        let server = serve(world, SERVER);
        let handle = client.connect(SERVER).unwrap();
        assert!(world.run_until(SECOND, || states.is_up()));
        server.shutdown(SECOND / 2);
        world.run_for(HOUR);
        states.check();
        let words = states.words();
        let opened = words.iter().position(|word| word == "up").unwrap();
        let after = words[opened + 2..].join(", ");
        assert_eq!(
            after,
            "waiting, connecting 1, down refused, waiting, connecting 2, down refused, \
             waiting, connecting 3, down refused, closed tries used up"
        );
        assert!(handle.try_send("x".into()).unwrap_err().is_closed());
    });
}

#[test]
fn each_try_goes_to_the_next_address_also_after_one_that_was_up() {
    Runs::seeds(0..50).run(|world| {
        let addresses = ["10.0.0.1:1", "10.0.0.2:2", "10.0.0.3:3"];
        let (client, states) = client(world, Backoff::every(SECOND));
        let server = serve(world, addresses[2]);
        let _handle = client.connect_any(addresses).unwrap();
        assert!(world.run_until(10 * SECOND, || states.is_up()));
        server.shutdown(SECOND / 2);
        let _server = serve(world, addresses[1]);
        assert!(world.run_until(SECOND, || !states.is_up()));
        assert!(world.run_until(10 * SECOND, || states.is_up()));
        states.check();
        let expected = [0, 1, 2, 0, 1].map(|index| addresses[index]);
        assert_eq!(states.tried(), expected);
    });
}

#[test]
fn a_connect_that_nobody_answers_ends_at_the_timeout_of_each_try() {
    Runs::seeds(0..20).run(|world| {
        let states = States::default();
        // A backlog of one, and nobody takes anybody out of it.
        let bound = Server::on(world)
            .pipeline(|_| frames())
            .backlog(1)
            .listen(SERVER)
            .unwrap();
        let fill = Client::on(world).connect_timeout(HOUR).pipeline(frames);
        let _filling: Vec<_> = (0..4).map(|_| fill.connect(SERVER).unwrap()).collect();
        world.run_for(SECOND);
        let _handle = Client::on(world)
            .connect_timeout(2 * SECOND)
            .reconnect(Backoff::every(SECOND))
            .on_state(states.keeper())
            .pipeline(frames)
            .connect(SERVER)
            .unwrap();
        world.run_for(10 * SECOND);
        let words = states.words();
        assert!(
            words
                .iter()
                .filter(|word| *word == "down handshake_timeout")
                .count()
                >= 3,
            "{words:?}"
        );
        let _server = bound.start().unwrap();
        assert!(world.run_until(10 * SECOND, || states.is_up()));
        states.check();
    });
}

#[test]
fn a_server_that_hangs_up_at_once_is_dialled_once_an_interval() {
    Runs::seeds(0..50).run(|world| {
        let server = Server::on(world)
            .pipeline(|_| Pipeline::new(LengthField::u32()).handler(HangsUp))
            .listen(SERVER)
            .unwrap()
            .start()
            .unwrap();
        let (client, states) = client(world, Backoff::every(SECOND).up_to(HOUR));
        let _handle = client.connect(SERVER).unwrap();
        world.run_for(10 * SECOND);
        let tries = states.tried().len();
        assert!(
            (5..=10).contains(&tries),
            "{tries} tries: {:?}",
            states.words()
        );
        assert!(states.waits().iter().all(|wait| *wait == SECOND));
        states.check();
        server.shutdown(SECOND);
    });
}

/// Hangs up as it opens.
struct HangsUp;

impl Handler<Bytes, Bytes> for HangsUp {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result {
        cx.close(CloseReason::Local);
        Ok(())
    }

    fn on_message(&mut self, _: &mut Context<'_, Bytes, Bytes>, _: Bytes) -> Result {
        Ok(())
    }
}

/// The next dial waits for the callback, so that what is untold cannot pile up.
#[test]
fn a_callback_may_do_anything_with_its_client() {
    Runs::seeds(0..50).run(|world| {
        let slot: Shared<Option<ReconnectingHandle<Bytes>>> = Shared::default();
        let states = States::default();
        let (inner, keep) = (slot.clone(), states.keeper());
        let client = Client::on(world)
            .reconnect(Backoff::every(SECOND))
            .on_state(move |state| {
                keep(state);
                let handle = inner.lock().unwrap().clone();
                let Some(handle) = handle else { return };
                let _ = handle.try_send("from a callback".into());
                let refused = handle.wait_up(HOUR).map_err(|error| error.kind());
                if matches!(
                    state,
                    ClientState::Connecting { .. } | ClientState::Waiting(_)
                ) {
                    assert_eq!(refused, Err(netwheel::ErrorKind::Misuse));
                }
                if matches!(state, ClientState::Connecting { attempt: 4, .. }) {
                    handle.close();
                    inner.lock().unwrap().take();
                }
            })
            .pipeline(frames);
        *slot.lock().unwrap() = Some(client.connect(SERVER).unwrap());
        world.run_for(HOUR);
        states.check();
        let words = states.words();
        assert_eq!(
            words[words.len() - 2..],
            ["connecting 4", "closed cancelled"]
        );
    });
}

#[test]
fn a_callback_that_panics_is_told_nothing_more_and_its_client_goes_on() {
    let world = World::new(1);
    let states = States::default();
    let keep = states.keeper();
    let handle = Client::on(&world)
        .reconnect(Backoff::every(SECOND))
        .on_state(move |state| {
            keep(state);
            assert!(
                !matches!(state, ClientState::Waiting(_)),
                "a panic of the test's own"
            );
        })
        .pipeline(frames)
        .connect(SERVER)
        .unwrap();
    world.run_for(3 * SECOND);
    assert_eq!(states.words(), ["connecting 1", "down refused", "waiting"]);
    let _server = serve(&world, SERVER);
    world.run_for(3 * SECOND);
    assert!(matches!(handle.state(), ClientState::Up { .. }));
}

#[test]
fn a_factory_that_panics_costs_one_try() {
    Runs::seeds(0..20).run(|world| {
        let states = States::default();
        let tries = std::sync::atomic::AtomicUsize::new(0);
        let _server = serve(world, SERVER);
        let _handle = Client::on(world)
            .reconnect(Backoff::every(SECOND))
            .on_state(states.keeper())
            .pipeline(move || {
                let nth = tries.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                assert!(nth > 0, "a panic of the test's own");
                frames()
            })
            .connect(SERVER)
            .unwrap();
        world.run_for(3 * SECOND);
        assert_eq!(
            states.words(),
            [
                "connecting 1",
                "down panic",
                "waiting",
                "connecting 2",
                "up"
            ]
        );
    });
}

#[test]
fn a_crowd_comes_back_to_a_server_that_restarts_each_with_one_try_an_interval() {
    const CLIENTS: usize = 200;
    Runs::seeds(0..5).run(|world| {
        let server = serve(world, SERVER);
        let backoff = Backoff::every(SECOND).jitter(0.2);
        let crowd: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let (client, states) = client(world, backoff.clone());
                (client.connect(SERVER).unwrap(), states)
            })
            .collect();
        assert!(world.run_until(SECOND, || crowd.iter().all(|(_, states)| states.is_up())));
        server.shutdown(Duration::ZERO);
        world.run_for(5 * SECOND);
        for (_, states) in &crowd {
            let tries = states.tried().len() - 1;
            assert!((3..=6).contains(&tries), "{tries} in five seconds");
        }
        let _server = serve(world, SERVER);
        world.run_for(2 * SECOND);
        for (_, states) in &crowd {
            assert!(states.is_up(), "{:?}", states.words());
            states.check();
        }
        assert_eq!(world.net().stats().active(), 2 * CLIENTS as u64);
    });
}
