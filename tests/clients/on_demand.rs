//! Clients that dial when there is something to send.

use netwheel::sim::Runs;
use netwheel::{ErrorKind, ReconnectingHandle, WhileDown};

use super::*;

const IDLE: Duration = Duration::from_secs(10);

/// A server that keeps what it receives, in the order of its coming.
fn keeping(world: &World) -> (RunningServer, Shared<Vec<Bytes>>) {
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
    (server, received)
}

fn on_demand(world: &World) -> (Framed, States) {
    let states = States::default();
    let client = Client::on(world)
        .on_demand(IDLE)
        .on_state(states.keeper())
        .pipeline(frames as fn() -> Pipeline<Bytes, Bytes>);
    (client, states)
}

#[test]
fn it_dials_for_the_first_message_rests_when_idle_and_dials_for_the_next() {
    Runs::seeds(0..200).run(|world| {
        let (_server, received) = keeping(world);
        let (client, states) = on_demand(world);
        let handle = client.connect(SERVER).unwrap();
        world.run_for(HOUR);
        assert_eq!(states.count(), 0, "nobody asked for a connection");
        assert_eq!(handle.state(), ClientState::Resting);
        for round in 1..=3 {
            for n in 0..5_u8 {
                handle.try_send(vec![n].into()).unwrap();
                world.run_for(IDLE - 2 * SECOND);
            }
            assert_eq!(world.net().stats().connected, round);
            world.run_for(IDLE + 2 * SECOND);
            assert_eq!(handle.state(), ClientState::Resting);
            assert_eq!(world.net().stats().active(), 0);
        }
        let received = received.lock().unwrap().concat();
        assert_eq!(received, [0, 1, 2, 3, 4].repeat(3));
        let round = ["connecting 1", "up", "down idle", "resting"];
        assert_eq!(states.words(), round.repeat(3));
    });
}

#[test]
fn what_is_sent_while_an_idle_connection_closes_is_not_lost() {
    Runs::seeds(0..200).run(|world| {
        let (_server, received) = keeping(world);
        let (client, states) = on_demand(world);
        let handle = client.connect(SERVER).unwrap();
        // Each message comes near the moment at which the idle connection closes.
        for n in 0..20_u8 {
            handle.try_send(vec![n].into()).unwrap();
            world.run_for(IDLE + Duration::from_millis(u64::from(n) * 3));
        }
        world.run_for(2 * IDLE);
        let received = received.lock().unwrap().concat();
        assert_eq!(received, (0..20).collect::<Vec<u8>>());
        assert!(
            states.waits().is_empty(),
            "nothing was wrong: {:?}",
            states.words()
        );
    });
}

#[test]
fn while_the_server_is_away_messages_wait_and_the_backoff_holds() {
    Runs::seeds(0..50).run(|world| {
        let (client, states) = on_demand(world);
        let queue = WhileDown::queue();
        let client = client.backoff(Backoff::every(2 * SECOND)).while_down(queue);
        let handle = client.connect(SERVER).unwrap();
        handle.try_send("kept".into()).unwrap();
        world.run_for(11 * SECOND);
        assert_eq!(states.waits(), [2 * SECOND; 6][..states.waits().len()]);
        assert!(states.waits().len() >= 4);
        let (_server, received) = keeping(world);
        world.run_for(3 * SECOND);
        assert_eq!(received.lock().unwrap().concat(), b"kept");
        handle.close();
        assert!(handle.try_send("x".into()).unwrap_err().is_closed());
    });
}

#[test]
fn settings_that_would_never_dial_are_refused() {
    let world = World::new(1);
    let client = Client::on(&world)
        .on_demand(Duration::ZERO)
        .pipeline(frames);
    assert_eq!(
        client.connect(SERVER).unwrap_err().kind(),
        ErrorKind::Config
    );
    let (client, _) = on_demand(&world);
    let refuses = client.while_down(WhileDown::Refuse).connect(SERVER);
    assert_eq!(refuses.unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn a_callback_that_sends_at_every_state_keeps_it_dialling_and_nothing_else() {
    Runs::seeds(0..50).run(|world| {
        let (_server, received) = keeping(world);
        let slot: Shared<Option<ReconnectingHandle<Bytes>>> = Shared::default();
        let (inner, states) = (slot.clone(), States::default());
        let keep = states.keeper();
        let client = Client::on(world)
            .on_demand(IDLE)
            .on_state(move |state| {
                keep(state);
                let handle = inner.lock().unwrap().clone();
                if let (Some(handle), ClientState::Resting) = (handle, state) {
                    handle.try_send("again".into()).unwrap();
                }
            })
            .pipeline(frames);
        let handle = client.connect(SERVER).unwrap();
        *slot.lock().unwrap() = Some(handle.clone());
        handle.try_send("first".into()).unwrap();
        world.run_for(10 * IDLE + SECOND);
        slot.lock().unwrap().take();
        handle.close();
        let round = ["connecting 1", "up", "down idle", "resting"];
        let words = states.words();
        assert!(words.len() > 8 * round.len(), "{words:?}");
        for (word, expected) in words[..words.len() - 1].iter().zip(round.iter().cycle()) {
            assert_eq!(word, expected);
        }
        assert_eq!(received.lock().unwrap()[0], "first");
    });
}
