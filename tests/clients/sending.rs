//! What becomes of messages: in order, at most once, and each completion answered once.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};

use netwheel::sim::{Runs, World};
use netwheel::{CloseReason, ReconnectingHandle, TrySendError, WhileDown};

use super::*;

/// What each connection of a server has received, by the order of their opening.
type Received = Shared<Vec<Vec<u32>>>;

/// A server that hangs up after so many messages of each connection, with a reset.
fn moody(world: &World, received: &Received, messages: usize) -> RunningServer {
    let received = received.clone();
    Server::on(world)
        .linger(Duration::ZERO)
        .pipeline(move |_| {
            let received = received.clone();
            let nth = {
                let mut received = received.lock().unwrap();
                received.push(Vec::new());
                received.len() - 1
            };
            Pipeline::new(LengthField::u32()).handle(move |cx, bytes: Bytes| {
                let number = u32::from_be_bytes(bytes[..].try_into()?);
                let mut received = received.lock().unwrap();
                received[nth].push(number);
                if received[nth].len() == messages {
                    cx.close(CloseReason::Local);
                }
                Ok(())
            })
        })
        .listen(SERVER)
        .unwrap()
        .start()
        .unwrap()
}

fn message(number: u32) -> Bytes {
    number.to_be_bytes().to_vec().into()
}

#[test]
fn what_waits_leaves_in_order_and_before_what_comes_later() {
    Runs::seeds(0..200).run(|world| {
        let (client, states) = client(world, Backoff::every(SECOND));
        let handle = client
            .while_down(WhileDown::queue())
            .connect(SERVER)
            .unwrap();
        for number in 0..50 {
            handle.try_send(message(number)).unwrap();
            world.run_for(Duration::from_millis(world.seed() % 40));
        }
        assert_eq!(handle.waiting(), 50);
        let received = Received::default();
        let server = moody(world, &received, usize::MAX);
        let mut number = 50;
        // Also at the very moment at which it opens.
        while number < 100 {
            world.run_for(Duration::from_millis(37));
            handle.try_send(message(number)).unwrap();
            number += 1;
        }
        assert!(states.is_up() || world.run_until(3 * SECOND, || states.is_up()));
        assert_eq!(handle.waiting(), 0);
        world.run_for(3 * SECOND);
        let received = received.lock().unwrap().concat();
        assert_eq!(received, (0..100).collect::<Vec<_>>());
        drop(server);
    });
}

#[test]
fn under_resets_nothing_comes_twice_or_out_of_order_and_every_completion_comes_once() {
    Runs::seeds(0..300).run(|world| {
        let received = Received::default();
        let server = moody(world, &received, 1 + world.seed() as usize % 20);
        let (client, states) = client(world, Backoff::every(Duration::from_millis(50)));
        let handle = client
            .while_down(WhileDown::queue())
            .connect(SERVER)
            .unwrap();
        let answers: Shared<BTreeMap<u32, Vec<Result<(), CloseReason>>>> = Shared::default();
        for number in 0..200 {
            let answers = answers.clone();
            let keep = move |answer: Result<(), _>| {
                let mut answers = answers.lock().unwrap();
                answers
                    .entry(number)
                    .or_default()
                    .push(answer.map_err(|_| CloseReason::Reset));
            };
            handle.try_send_then(message(number), keep).unwrap();
            world.run_for(Duration::from_millis(u64::from(number) * 7 % 11));
        }
        world.run_for(60 * SECOND);
        handle.close();
        world.run_for(SECOND);
        states.check();
        let (received, answers) = (received.lock().unwrap(), answers.lock().unwrap());
        let mut all = received.concat();
        assert!(
            received.iter().all(|one| one.is_sorted()),
            "in order: {received:?}"
        );
        all.sort_unstable();
        assert!(all.windows(2).all(|pair| pair[0] < pair[1]), "at most once");
        assert_eq!(answers.len(), 200);
        assert!(
            answers.values().all(|answers| answers.len() == 1),
            "{answers:?}"
        );
        // What was received has left, and was told so.
        assert!(all.iter().all(|number| answers[number].len() == 1));
        drop(server);
    });
}

#[test]
fn while_down_messages_come_back_unless_they_are_told_to_wait() {
    Runs::seeds(0..20).run(|world| {
        let (client, states) = client(world, Backoff::every(SECOND));
        let handle = client.connect(SERVER).unwrap();
        for _ in 0..10 {
            match handle.try_send("x".into()) {
                Err(TrySendError::Down(back)) => assert_eq!(back, "x"),
                other => panic!("{other:?}"),
            }
            world.run_for(SECOND / 3);
        }
        let _server = serve(world, SERVER);
        assert!(world.run_until(3 * SECOND, || states.is_up()));
        handle.try_send("y".into()).unwrap();
    });
}

fn limited(world: &World, messages_max: usize, bytes_max: usize) -> ReconnectingHandle<Bytes> {
    let (client, _) = client(world, Backoff::every(SECOND));
    let queue = WhileDown::Queue {
        messages_max,
        bytes_max,
    };
    match queue {
        WhileDown::Queue { .. } => client.while_down(queue).connect(SERVER).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn what_waits_is_bounded_in_messages_and_bytes() {
    let world = World::new(3);
    let few = limited(&world, 3, 1 << 20);
    let small = limited(&world, 1 << 20, 1000);
    // The first dial has made a pipeline, whose codec weighs.
    world.run_for(SECOND / 2);
    for number in 0..3 {
        few.try_send(message(number)).unwrap();
    }
    match few.try_send(message(3)) {
        Err(TrySendError::Full(back)) => assert_eq!(back, message(3)),
        other => panic!("{other:?}"),
    }
    let big = Bytes::from(vec![0; 700]);
    small.try_send(big.clone()).unwrap();
    assert!(small.try_send(big.clone()).unwrap_err().is_full());
    let received = Received::default();
    let _server = moody(&world, &received, usize::MAX);
    world.run_for(5 * SECOND);
    assert_eq!((few.waiting(), small.waiting()), (0, 0));
    small.try_send(big).unwrap();
}

#[test]
fn what_still_waits_at_the_end_is_answered_with_its_cause() {
    let world = World::new(5);
    let (client, states) = client(&world, Backoff::every(SECOND).tries_max(2));
    let handle = client
        .while_down(WhileDown::queue())
        .connect(SERVER)
        .unwrap();
    let answers: Shared<Vec<_>> = Shared::default();
    for _ in 0..5 {
        let answers = answers.clone();
        let keep = move |answer| answers.lock().unwrap().push(answer);
        handle.try_send_then("x".into(), keep).unwrap();
    }
    world.run_for(HOUR);
    assert_eq!(states.words().last().unwrap(), "closed tries used up");
    assert_eq!(*answers.lock().unwrap(), [Err(CloseReason::Refused); 5]);
}

/// Greets as it opens: that leaves before what has waited.
struct Greets;

impl netwheel::Handler<Bytes, Bytes> for Greets {
    fn on_open(&mut self, cx: &mut netwheel::Context<'_, Bytes, Bytes>) -> netwheel::Result {
        cx.write(message(1000))
    }

    fn on_message(
        &mut self,
        _: &mut netwheel::Context<'_, Bytes, Bytes>,
        _: Bytes,
    ) -> netwheel::Result {
        Ok(())
    }
}

#[test]
fn what_a_pipeline_writes_as_it_opens_leaves_before_what_has_waited() {
    Runs::seeds(0..50).run(|world| {
        let received = Received::default();
        let _server = moody(world, &received, usize::MAX);
        let opened = Arc::new(AtomicUsize::new(0));
        let count = opened.clone();
        let handle = Client::on(world)
            .reconnect(Backoff::default())
            .while_down(WhileDown::queue())
            .pipeline(move || {
                count.fetch_add(1, Ordering::Relaxed);
                Pipeline::new(LengthField::u32()).handler(Greets)
            })
            .connect(SERVER)
            .unwrap();
        handle.try_send(message(1)).unwrap();
        world.run_for(SECOND);
        assert_eq!(received.lock().unwrap().concat(), [1000, 1]);
        assert_eq!(opened.load(Ordering::Relaxed), 1);
    });
}
