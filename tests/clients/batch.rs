//! Items gathered by number or time.

use netwheel::sim::Runs;
use netwheel::{Batch, ErrorKind, TrySendError};

use super::*;

type Delivered = Shared<Vec<Vec<u32>>>;

/// Keeps each batch.
fn keeper(delivered: &Delivered) -> impl FnMut(Vec<u32>) -> Result<(), Vec<u32>> + Send + use<> {
    let delivered = delivered.clone();
    move |items| {
        delivered.lock().unwrap().push(items);
        Ok(())
    }
}

fn items(range: std::ops::Range<u32>) -> Vec<u32> {
    range.collect()
}

#[test]
fn a_batch_leaves_when_it_is_full_or_when_its_first_item_has_waited() {
    let world = World::new(1);
    let delivered = Delivered::default();
    let batch = Batch::on(&world)
        .items_max(3)
        .delay_max(SECOND)
        .start(keeper(&delivered))
        .unwrap();
    for item in 0..7 {
        batch.push(item).unwrap();
    }
    assert_eq!(*delivered.lock().unwrap(), [items(0..3), items(3..6)]);
    world.run_for(SECOND - Duration::from_millis(1));
    assert_eq!(delivered.lock().unwrap().len(), 2);
    assert_eq!(batch.waiting(), 1);
    world.run_for(Duration::from_millis(2));
    assert_eq!(delivered.lock().unwrap()[2], [6]);
    batch.push(7).unwrap();
    batch.flush();
    assert_eq!(delivered.lock().unwrap()[3], [7]);
    world.run_for(HOUR);
    assert_eq!(delivered.lock().unwrap().len(), 4, "no batch is empty");
}

#[test]
fn a_batch_that_comes_back_is_tried_again_in_order_and_what_waits_is_bounded() {
    let world = World::new(1);
    let (delivered, open) = (Delivered::default(), Shared::<bool>::default());
    let (mut keep, gate) = (keeper(&delivered), open.clone());
    let tries: Shared<u32> = Shared::default();
    let count = tries.clone();
    let batch = Batch::on(&world)
        .items_max(4)
        .waiting_max(10)
        .delay_max(SECOND)
        .start(move |items| {
            *count.lock().unwrap() += 1;
            if *gate.lock().unwrap() {
                keep(items)
            } else {
                Err(items)
            }
        })
        .unwrap();
    for item in 0..10 {
        batch.push(item).unwrap();
    }
    match batch.push(10) {
        Err(TrySendError::Full(back)) => assert_eq!(back, 10),
        other => panic!("{other:?}"),
    }
    assert_eq!(
        *tries.lock().unwrap(),
        1,
        "it is not tried again with each item"
    );
    world.run_for(5 * SECOND + SECOND / 2);
    assert_eq!(*tries.lock().unwrap(), 6);
    *open.lock().unwrap() = true;
    world.run_for(SECOND);
    assert_eq!(
        *delivered.lock().unwrap(),
        [items(0..4), items(4..8), items(8..10)]
    );
}

#[test]
fn a_close_flushes_and_answers_what_nobody_had_room_for() {
    let world = World::new(1);
    let delivered = Delivered::default();
    let batch = Batch::on(&world).start(keeper(&delivered)).unwrap();
    batch.push(1).unwrap();
    assert_eq!(batch.close(), items(0..0));
    assert_eq!(*delivered.lock().unwrap(), [[1]]);
    match batch.push(2) {
        Err(TrySendError::Closed(back)) => assert_eq!(back, 2),
        other => panic!("{other:?}"),
    }
    let refuses = Batch::on(&world).start(Err).unwrap();
    refuses.push(3).unwrap();
    assert_eq!(refuses.close(), [3]);
    let dropped = Batch::on(&world).start(keeper(&delivered)).unwrap();
    dropped.push(4).unwrap();
    drop(dropped);
    assert_eq!(*delivered.lock().unwrap(), [[1], [4]]);
}

#[test]
fn a_delivery_that_panics_ends_the_batch_and_nothing_else() {
    let world = World::new(1);
    let panics = |_: Vec<u32>| -> Result<(), Vec<u32>> { panic!("a panic of the test's own") };
    let batch = Batch::on(&world).items_max(2).start(panics).unwrap();
    batch.push(1).unwrap();
    world.run_for(SECOND);
    assert!(batch.push(2).unwrap_err().is_closed());
    assert_eq!(batch.close(), items(0..0));
    let none = Batch::on(&world).items_max(0).start(panics);
    assert_eq!(none.unwrap_err().kind(), ErrorKind::Config);
}

#[test]
fn threads_that_push_at_once_lose_nothing_and_keep_their_order() {
    let reactor = netwheel::Reactor::builder().workers(1).start().unwrap();
    let delivered = Delivered::default();
    let batch = Batch::on(&reactor)
        .items_max(7)
        .start(keeper(&delivered))
        .unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let batch = batch.clone();
            scope.spawn(move || {
                (0..1000).for_each(|n| {
                    let mut item = thread * 1000 + n;
                    while let Err(back) = batch.push(item) {
                        item = back.into_inner();
                        std::thread::yield_now();
                    }
                })
            });
        }
    });
    batch.close();
    util::eventually("the last is delivered", || {
        delivered.lock().unwrap().iter().flatten().count() == 4000
    });
    let delivered = delivered.lock().unwrap();
    assert!(delivered.iter().all(|batch| (1..=7).contains(&batch.len())));
    for thread in 0..4 {
        let of_one = delivered
            .iter()
            .flatten()
            .filter(|item| **item / 1000 == thread);
        assert!(of_one.is_sorted());
    }
}

#[test]
fn batches_go_over_a_client_that_comes_back() {
    Runs::seeds(0..50).run(|world| {
        let (client, _) = client(world, Backoff::every(SECOND));
        let handle = client.connect(SERVER).unwrap();
        let batch = Batch::on(world)
            .items_max(10)
            .start(move |items: Vec<u8>| handle.try_send(items.clone().into()).map_err(|_| items))
            .unwrap();
        for n in 0..25 {
            batch.push(n).unwrap();
        }
        world.run_for(3 * SECOND);
        assert_eq!(batch.waiting(), 25, "there is no server yet");
        let _server = serve(world, SERVER);
        world.run_for(3 * SECOND);
        assert_eq!(batch.waiting(), 0);
    });
}
