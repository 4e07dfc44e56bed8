//! Nodes that crash, come back, are parted, and have clocks of their own.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use netwheel::sim::{Fault, Faults, Node, World};
use netwheel::{
    Client, CloseReason, ConnectionHandle, Context, Handler, Instant, Net, Pipeline, Result,
    RunningServer, Server, TimerKey,
};

use crate::{MINUTE, Runs, Shared, take};

const SECOND: Duration = Duration::from_secs(1);

fn echo(net: &Net) -> RunningServer {
    Server::on(net)
        .pipeline(|_| Pipeline::raw().handle(|cx, bytes| cx.write(bytes)))
        .listen("0.0.0.0:7000")
        .unwrap()
        .start()
        .unwrap()
}

/// A client that keeps what comes back.
fn dial(node: &Node, to: &str) -> (ConnectionHandle<Bytes>, Shared<Vec<u8>>) {
    let back: Shared<Vec<u8>> = Shared::default();
    let keep = Arc::clone(&back);
    let handle = Client::on(&node.net())
        .pipeline(move || {
            let keep = Arc::clone(&keep);
            Pipeline::raw().handle(move |_, bytes| {
                keep.lock().unwrap().extend_from_slice(&bytes);
                Ok(())
            })
        })
        .connect(to)
        .unwrap();
    (handle, back)
}

/// A server and a client that have spoken.
fn pair(world: &World) -> (Node, Node, ConnectionHandle<Bytes>, Shared<Vec<u8>>) {
    let (a, b) = (world.node("a"), world.node("b"));
    a.start(echo);
    let (client, back) = dial(&b, "a:7000");
    client.try_send("one".into()).unwrap();
    world.run_for(SECOND);
    assert_eq!(take(&back), b"one");
    (a, b, client, back)
}

#[test]
fn a_crash_is_silence_and_after_the_restart_a_reset() {
    Runs::seeds(0..100).run(|world| {
        let (a, b, client, back) = pair(world);
        a.crash();
        client.try_send("two".into()).unwrap();
        world.run_for(MINUTE);
        assert_eq!((client.closed(), take(&back).len()), (None, 0), "silence");
        a.restart();
        world.run_for(MINUTE);
        assert_eq!(client.closed(), Some(CloseReason::Reset));
        let (again, back) = dial(&b, "a:7000");
        again.try_send("three".into()).unwrap();
        world.run_for(SECOND);
        assert_eq!(take(&back), b"three");
        assert_eq!(a.net().stats().accepted, 1, "of this life");
        assert_eq!(world.stats().accepted, 2, "of both");
    });
}

#[test]
fn a_writer_to_a_crashed_node_stalls() {
    Runs::seeds(0..50).run(|world| {
        let (a, _b, client, _) = pair(world);
        a.crash();
        client.try_send(vec![0; 900_000].into()).unwrap();
        assert!(world.run_until(MINUTE, || client.closed().is_some()));
        assert_eq!(client.closed(), Some(CloseReason::WriteStall));
    });
}

/// Tells of its end, which a crash must not.
struct Told(Shared<Vec<CloseReason>>);

impl Handler<Bytes, Bytes> for Told {
    fn on_message(&mut self, _: &mut Context<'_, Bytes, Bytes>, _: Bytes) -> Result<()> {
        Ok(())
    }

    fn on_close(&mut self, _: &mut Context<'_, Bytes, Bytes>, reason: CloseReason) {
        self.0.lock().unwrap().push(reason);
    }
}

#[test]
fn a_program_is_not_told_of_its_crash_and_is_set_up_again_after_it() {
    let told = Shared::default();
    let world = World::new(3);
    let (a, b, setups) = (world.node("a"), world.node("b"), Shared::<u32>::default());
    b.start(echo);
    let (theirs, counted) = (Arc::clone(&told), Arc::clone(&setups));
    a.start(move |net| {
        *counted.lock().unwrap() += 1;
        let theirs = Arc::clone(&theirs);
        Client::on(net)
            .pipeline(move || Pipeline::raw().handler(Told(Arc::clone(&theirs))))
            .connect("b:7000")
            .unwrap()
    });
    world.run_for(SECOND);
    a.crash();
    a.crash();
    assert!(!a.is_up());
    world.run_for(SECOND);
    a.restart();
    a.restart();
    world.run_for(SECOND);
    assert_eq!(*setups.lock().unwrap(), 2);
    assert!(take(&told).is_empty());
    drop(world);
    assert_eq!(
        *told.lock().unwrap(),
        [CloseReason::Shutdown],
        "the second life only"
    );
}

#[test]
fn what_is_sent_over_a_partition_waits_for_its_end() {
    Runs::seeds(0..100).run(|world| {
        let (a, b, client, back) = pair(world);
        match world.seed() % 3 {
            0 => world.partition(&[&a], &[&b]),
            1 => world.partition_one_way(&[&a], &[&b]),
            _ => world.partition_one_way(&[&b], &[&a]),
        }
        client.try_send("two".into()).unwrap();
        world.run_for(MINUTE);
        assert_eq!((take(&back).len(), client.closed()), (0, None));
        let heard = a.net().stats().bytes_in;
        assert_eq!(heard, if world.seed() % 3 == 1 { 6 } else { 3 });
        let (late, _) = dial(&b, "a:7000");
        world.run_for(4 * SECOND);
        assert_eq!(late.closed(), Some(CloseReason::HandshakeTimeout));
        world.heal();
        world.run_for(SECOND);
        assert_eq!(take(&back), b"two");
    });
}

#[test]
fn a_slow_way_is_as_slow_as_it_is_told() {
    let world = World::with_faults(1, &Faults::none());
    let (a, b) = (world.node("a"), world.node("b"));
    a.start(echo);
    world.set_delay(&a, &b, SECOND..=SECOND);
    // By address: a lookup takes its time too.
    let (client, back) = dial(&b, "10.1.0.1:7000");
    client.try_send("hi".into()).unwrap();
    world.run_for(4 * SECOND - Duration::from_millis(1));
    assert_eq!(
        take(&back),
        b"",
        "two for the connect, and two for the echo"
    );
    world.run_for(Duration::from_millis(1));
    assert_eq!(take(&back), b"hi");
}

/// Notes when its timer of ten seconds fires, by its own clock.
struct Alarm(Shared<Option<Instant>>);

impl Handler<Bytes, Bytes> for Alarm {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result<()> {
        cx.timer(10 * SECOND, TimerKey(0));
        Ok(())
    }

    fn on_message(&mut self, _: &mut Context<'_, Bytes, Bytes>, _: Bytes) -> Result<()> {
        Ok(())
    }

    fn on_event(&mut self, cx: &mut Context<'_, Bytes, Bytes>, _: &netwheel::Event) -> Result<()> {
        *self.0.lock().unwrap() = Some(cx.now());
        Ok(())
    }
}

#[test]
fn a_clock_that_is_fast_fires_its_timers_sooner() {
    let world = World::with_faults(1, &Faults::none());
    let rung = [(); 2].map(|()| Shared::<Option<Instant>>::default());
    let nodes = [world.node("fast"), world.node("slow")];
    nodes[0].set_drift(100_000);
    nodes[1].set_drift(-100_000);
    let server = world.node("server");
    server.start(echo);
    for (node, rung) in nodes.iter().zip(&rung) {
        let rung = Arc::clone(rung);
        node.start(move |net| {
            let rung = Arc::clone(&rung);
            Client::on(net)
                .pipeline(move || Pipeline::raw().handler(Alarm(Arc::clone(&rung))))
                .connect("server:7000")
                .unwrap()
        });
    }
    let is_rung = |one: usize| rung[one].lock().unwrap().is_some();
    world.run_for(Duration::from_millis(9_500));
    assert!(
        is_rung(0) && !is_rung(1),
        "10 s of its own, 9.09 of the world's"
    );
    world.run_for(Duration::from_millis(1_400));
    assert!(!is_rung(1));
    world.run_for(Duration::from_millis(600));
    assert!(is_rung(1), "11.1 s of the world's");
}

#[test]
fn a_node_binds_its_own_address_only() {
    let world = World::new(1);
    let (a, b) = (world.node("a"), world.node("b"));
    let bind = |node: &Node, at: &str| {
        let server = Server::on(&node.net());
        server
            .pipeline(|_| Pipeline::raw().handle(|_, _| Ok(())))
            .listen(at)
    };
    let _mine = bind(&a, "10.1.0.1:7000").unwrap();
    let _theirs = bind(&b, "0.0.0.0:7000").unwrap();
    let error = bind(&a, "10.1.0.2:7000").unwrap_err();
    assert!(
        error.to_string().contains("the node has 10.1.0.1"),
        "{error}"
    );
    bind(&a, "0.0.0.0:7000").unwrap_err();
    a.crash();
    let error = bind(&a, "0.0.0.0:7001").unwrap_err();
    assert!(error.to_string().contains("crashed"), "{error}");
}

/// Reads nothing.
struct Deaf;

impl Handler<Bytes, Bytes> for Deaf {
    fn on_open(&mut self, cx: &mut Context<'_, Bytes, Bytes>) -> Result<()> {
        cx.pause_reading();
        Ok(())
    }

    fn on_message(&mut self, _: &mut Context<'_, Bytes, Bytes>, _: Bytes) -> Result<()> {
        Ok(())
    }
}

#[test]
fn a_drain_says_who_waits_for_what() {
    let world = World::new(5);
    let (a, b, c) = (world.node("a"), world.node("b"), world.node("c"));
    a.start(|net| {
        Server::on(net)
            .pipeline(|_| Pipeline::raw().handler(Deaf))
            .listen("0.0.0.0:7000")
            .unwrap()
            .start()
            .unwrap()
    });
    let (client, _) = dial(&b, "a:7000");
    client.try_send("unheard".into()).unwrap();
    c.crash();
    let stuck = world.drain_until(SECOND, || false).unwrap_err();
    assert_eq!(
        stuck.waits(),
        [
            "a: the connection with 10.1.0.2:49152: 7 bytes have arrived and are not read",
            "c: it is down",
            "the test: what it waits for has not come",
        ]
    );
    client.close();
    a.crash();
    a.restart();
    world.drain(MINUTE).unwrap();
}

#[test]
fn a_storm_is_the_same_story_under_the_same_seed() {
    let story = |seed| {
        let world = World::with_faults(seed, &Faults::all());
        let (a, b) = (world.node("a"), world.node("b"));
        a.start(echo);
        b.start(|net| {
            Client::on(net)
                .reconnect(netwheel::Backoff::every(SECOND).jitter(0.5))
                .pipeline(|| Pipeline::raw().handler(Alarm(Shared::default())))
                .connect("a:7000")
                .unwrap()
        });
        world.run_for(MINUTE);
        world.drain(MINUTE).unwrap();
        (world.trace_hash(), world.faults_fired())
    };
    let stories: Vec<_> = (0..50).map(story).collect();
    assert_eq!(stories, (0..50).map(story).collect::<Vec<_>>());
    let other = stories.iter().filter(|one| one.0 == stories[0].0);
    assert_eq!(other.count(), 1, "each seed has a story of its own");
}

#[test]
fn only_what_is_asked_for_goes_wrong() {
    let world = World::with_faults(7, &Faults::none().once_in(Fault::Reset, 1));
    let (a, b) = (world.node("a"), world.node("b"));
    a.start(echo);
    let (client, _) = dial(&b, "a:7000");
    client.try_send("hello".into()).unwrap();
    world.run_for(MINUTE);
    assert_eq!(client.closed(), Some(CloseReason::Reset));
    let fired = world.faults_fired();
    assert!(fired[Fault::Reset] > 0);
    assert_eq!(fired[Fault::Reset], fired.total());
}
