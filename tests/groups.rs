//! Groups over real sockets: who gets a broadcast, in which order, and what becomes of who does not read.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod util;

use std::sync::{Arc, Barrier};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use crossbeam_channel::{Receiver, Sender, unbounded};
use netwheel::codec::LengthField;
use netwheel::limits::{ConnectionLimits, WorkerLimits};
use netwheel::testing::Harness;
use netwheel::{
    BroadcastError, Client, CloseReason, ConnectionHandle, Context, ErrorKind, Failure, Group,
    Handler, Pipeline, Reactor, Result, RunningServer, Server, SlowMember,
};
use util::{Caller, Gate, MORE_THAN_THE_KERNEL_TAKES, PATIENCE, any_port, eventually, reset};

type Handle = ConnectionHandle<Bytes>;
/// How a connection comes to its end.
type Ending = fn(Caller, &Handle);
type Cx<'a> = Context<'a, Bytes, Bytes>;

/// Joins a group, gives its handle to the test, and does what its peer says.
struct Member {
    group: Group<Bytes>,
    handles: Sender<Handle>,
    gate: Gate,
}

impl Handler<Bytes, Bytes> for Member {
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<()> {
        self.group.join(&cx.handle())?;
        Ok(self.handles.send(cx.handle())?)
    }

    fn on_message(&mut self, cx: &mut Cx<'_>, message: Bytes) -> Result<()> {
        match &message[..] {
            b"fail" => Err(Failure::msg("as told")),
            b"panic" => panic!("as told"),
            b"block" => {
                self.gate.pass();
                Ok(())
            }
            b"mixed" => {
                for n in 0..300 {
                    match n % 3 {
                        0 => cx.write(number(n))?,
                        1 => self.group.broadcast(number(n))?,
                        _ => cx.handle().try_send(number(n))?,
                    }
                }
                Ok(())
            }
            b"upgrade" => {
                cx.upgrade(Pipeline::new(LengthField::u16()).handle(|cx, bytes| cx.write(bytes)));
                Ok(())
            }
            _ => Ok(self.group.broadcast_except(cx.id(), message)?),
        }
    }
}

/// A server whose connections are all members of one group.
struct Rig {
    server: RunningServer,
    group: Group<Bytes>,
    handles: Receiver<Handle>,
    gate: Gate,
}

impl Rig {
    fn new(workers: usize, slow: SlowMember) -> Self {
        Self::with(
            workers,
            slow,
            WorkerLimits::default(),
            ConnectionLimits::default(),
        )
    }

    fn with(
        workers: usize,
        slow: SlowMember,
        limits: WorkerLimits,
        connection: ConnectionLimits,
    ) -> Self {
        let (group, (handles, got)) = (Group::slow(LengthField::u32(), slow), unbounded());
        let (gate, theirs) = (Gate::new(), group.clone());
        let held = gate.clone();
        let server = Server::new()
            .reactor(Reactor::builder().workers(workers).limits(limits))
            .limits(connection)
            .pipeline(move |_| {
                Pipeline::new(LengthField::u32()).handler(Member {
                    group: theirs.clone(),
                    handles: handles.clone(),
                    gate: held.clone(),
                })
            })
            .listen(any_port())
            .unwrap()
            .start()
            .unwrap();
        Self {
            server,
            group,
            handles: got,
            gate,
        }
    }

    fn connect(&self) -> (Caller, Handle) {
        let caller = Caller::new(self.server.address());
        (caller, self.handles.recv_timeout(PATIENCE).unwrap())
    }

    fn crowd(&self, count: usize) -> Vec<Caller> {
        (0..count).map(|_| self.connect().0).collect()
    }

    fn await_members(&self, count: usize) {
        eventually("the members are gone", || self.group.len() == count);
    }
}

fn number(n: u32) -> Bytes {
    Bytes::copy_from_slice(&n.to_be_bytes())
}

/// Some bytes that say which message they are.
fn large(n: u32) -> Bytes {
    let mut bytes = vec![7; 10_000];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    bytes.into()
}

fn number_of(frame: &[u8]) -> u32 {
    u32::from_be_bytes(frame[..4].try_into().unwrap())
}

#[test]
fn everybody_gets_every_broadcast_once_and_in_order() {
    let rig = Rig::new(2, SlowMember::Drop);
    let mut crowd = rig.crowd(50);
    for n in 0..100 {
        rig.group.broadcast(number(n)).unwrap();
    }
    for caller in &mut crowd {
        for n in 0..100 {
            assert_eq!(caller.expect_number(), n);
        }
    }
    eventually("all is counted", || rig.group.stats().queued == 5000);
    let stats = rig.group.stats();
    assert_eq!((stats.broadcasts, stats.dropped, stats.closed), (100, 0, 0));
}

#[test]
fn all_but_one_get_a_broadcast_with_an_exception() {
    let rig = Rig::new(2, SlowMember::Drop);
    let mut crowd = rig.crowd(10);
    for index in 0..10 {
        crowd[index].send(&[b'a' + index as u8]);
        for (other, caller) in crowd.iter_mut().enumerate() {
            if other != index {
                assert_eq!(caller.expect(), [b'a' + index as u8]);
            }
        }
    }
    // Nothing of its own came back to anybody.
    rig.group.broadcast(Bytes::from_static(b"end")).unwrap();
    for caller in &mut crowd {
        assert_eq!(caller.expect(), b"end");
    }
}

#[test]
fn exceptions_of_a_burst_are_told_apart() {
    let rig = Rig::new(1, SlowMember::Drop);
    let (mut one, first) = rig.connect();
    let (mut two, second) = rig.connect();
    one.send(b"block");
    rig.gate.wait();
    for n in 0..30 {
        match n % 3 {
            0 => rig.group.broadcast(number(n)),
            1 => rig.group.broadcast_except(first.id(), number(n)),
            _ => rig.group.broadcast_except(second.id(), number(n)),
        }
        .unwrap();
    }
    rig.gate.open();
    for n in 0..30 {
        if n % 3 != 1 {
            assert_eq!(one.expect_number(), n);
        }
        if n % 3 != 2 {
            assert_eq!(two.expect_number(), n);
        }
    }
}

#[test]
fn what_one_thread_sends_by_group_and_handle_keeps_its_order() {
    for limits in [ConnectionLimits::default(), narrow()] {
        let rig = Rig::with(1, SlowMember::Queue, WorkerLimits::default(), limits);
        let (mut caller, handle) = rig.connect();
        for round in 0..50 {
            // Also while the worker is held, so that both pile up.
            if round % 10 == 0 {
                caller.send(b"block");
                rig.gate.wait();
            }
            for n in 0..60 {
                match (n + round) % 5 {
                    0 | 1 => handle.try_send(number(n)).unwrap(),
                    _ => rig.group.broadcast(number(n)).unwrap(),
                }
            }
            if round % 10 == 0 {
                rig.gate.open();
            }
            for n in 0..60 {
                assert_eq!(caller.expect_number(), n, "round {round}");
            }
        }
    }
}

/// Water marks that every burst crosses.
fn narrow() -> ConnectionLimits {
    let mut limits = ConnectionLimits::default();
    limits.high_water_bytes = 50;
    limits.low_water_bytes = 20;
    limits
}

#[test]
fn a_callback_keeps_the_order_of_writes_broadcasts_and_its_handle() {
    for limits in [ConnectionLimits::default(), narrow()] {
        let rig = Rig::with(1, SlowMember::Queue, WorkerLimits::default(), limits);
        let (mut caller, _) = rig.connect();
        for _ in 0..10 {
            caller.send(b"mixed");
            for n in 0..300 {
                assert_eq!(caller.expect_number(), n);
            }
        }
    }
}

#[test]
fn who_joins_gets_nothing_from_before_and_who_leaves_nothing_from_then_on() {
    let rig = Rig::new(1, SlowMember::Drop);
    let (mut blocker, _) = rig.connect();
    let (mut caller, handle) = rig.connect();
    assert!(rig.group.leave(&handle));
    assert!(!rig.group.leave(&handle), "it has left already");
    blocker.send(b"block");
    rig.gate.wait();
    rig.group.broadcast(number(1)).unwrap();
    rig.group.join(&handle).unwrap();
    rig.group.join(&handle).unwrap();
    assert_eq!(rig.group.len(), 2, "joining twice is joining once");
    rig.group.broadcast(number(2)).unwrap();
    rig.gate.open();
    assert_eq!(caller.expect_number(), 2);
    assert!(rig.group.leave(&handle));
    rig.group.broadcast(number(3)).unwrap();
    handle.try_send(number(4)).unwrap();
    assert_eq!(caller.expect_number(), 4);
    assert_eq!(blocker.expect_number(), 1);
}

#[test]
fn members_leave_on_every_way_to_their_end() {
    let rig = Rig::new(2, SlowMember::Drop);
    let (mut witness, _) = rig.connect();
    let ways: [(&str, Ending); 6] = [
        ("FIN", |caller, _| drop(caller)),
        ("reset", |caller, _| reset(caller.0)),
        ("handler error", |mut caller, _| caller.send(b"fail")),
        ("panic", |mut caller, _| caller.send(b"panic")),
        ("close by handle", |_caller, handle| handle.close()),
        ("close after flush", |_caller, handle| {
            handle.close_after_flush()
        }),
    ];
    for (way, end) in ways {
        let (caller, handle) = rig.connect();
        assert_eq!(rig.group.len(), 2, "{way}");
        end(caller, &handle);
        handle.wait_closed(PATIENCE).unwrap();
        rig.await_members(1);
        let refused = rig.group.join(&handle).unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Closed, "{way}");
        rig.group.broadcast(number(1)).unwrap();
        assert_eq!(witness.expect_number(), 1, "{way}");
    }
    let group = rig.group.clone();
    rig.server.shutdown(Duration::from_secs(1));
    assert!(group.is_empty());
    group.broadcast(number(2)).unwrap();
}

#[test]
fn another_pipeline_is_no_member() {
    let rig = Rig::new(1, SlowMember::Drop);
    let (mut caller, handle) = rig.connect();
    rig.group.broadcast(number(1)).unwrap();
    assert_eq!(caller.expect_number(), 1);
    caller.send(b"upgrade");
    handle.wait_closed(PATIENCE).unwrap();
    assert!(rig.group.is_empty());
}

#[test]
fn a_connection_that_is_not_open_yet_cannot_join() {
    let reactor = Reactor::builder().workers(1).start().unwrap();
    let rig = Rig::new(1, SlowMember::Drop);
    let client = Client::on(&reactor)
        .pipeline(|| Pipeline::new(LengthField::u32()).handle(|cx, bytes| cx.write(bytes)))
        .connect(rig.server.address())
        .unwrap();
    client.wait_open(PATIENCE).unwrap();
    rig.handles.recv_timeout(PATIENCE).unwrap();
    let mixed = Group::new(LengthField::u32());
    mixed.join(&client).unwrap();
    assert_eq!(mixed.len(), 1);
    client.close();
    client.wait_closed(PATIENCE).unwrap();
    assert!(mixed.is_empty());
}

/// Fifty members, one of which has stopped reading.
struct Stopped {
    rig: Rig,
    crowd: Vec<Caller>,
    stopped: Caller,
    handle: Handle,
    messages: u32,
}

/// One of fifty never reads while far more is broadcast than fits into its socket.
fn one_of_fifty_stops(slow: SlowMember) -> Stopped {
    let rig = Rig::new(2, slow);
    let mut crowd = rig.crowd(49);
    let (stopped, handle) = rig.connect();
    let messages = u32::try_from(MORE_THAN_THE_KERNEL_TAKES / 10_000).unwrap();
    for n in 0..messages {
        while let Err(BroadcastError::Full(_)) = rig.group.broadcast(large(n)) {
            thread::yield_now();
        }
        // In step, so that those who read are never slow themselves.
        for caller in &mut crowd {
            assert_eq!(number_of(&caller.expect()), n);
        }
    }
    Stopped {
        rig,
        crowd,
        stopped,
        handle,
        messages,
    }
}

#[test]
fn a_slow_member_misses_messages_and_delays_nobody() {
    let mut all = one_of_fifty_stops(SlowMember::Drop);
    let stats = all.rig.group.stats();
    assert!(stats.dropped > 0, "{stats:?}");
    assert_eq!(stats.queued + stats.dropped, 50 * u64::from(all.messages));
    // What it gets once it reads is whole and in order, with gaps.
    let got = u64::from(all.messages) - stats.dropped;
    let mut last = None;
    for _ in 0..got {
        let n = number_of(&all.stopped.expect());
        assert!(Some(n) > last);
        last = Some(n);
    }
}

#[test]
fn a_slow_member_is_closed_where_the_group_wants_that() {
    let all = one_of_fifty_stops(SlowMember::Close);
    assert_eq!(
        all.handle.wait_closed(PATIENCE).unwrap(),
        CloseReason::OverLimit
    );
    let stats = all.rig.group.stats();
    assert_eq!((stats.closed, stats.dropped), (1, 0));
    assert_eq!(all.rig.group.len(), all.crowd.len());
    assert!(stats.queued >= 49 * u64::from(all.messages));
}

#[test]
fn for_a_slow_member_messages_wait_up_to_its_bound() {
    let all = one_of_fifty_stops(SlowMember::Queue);
    let stats = all.rig.group.stats();
    assert!(stats.dropped > 0 && stats.closed == 0, "{stats:?}");
    assert_eq!(stats.queued + stats.dropped, 50 * u64::from(all.messages));
    let queued = all.handle.queued_bytes();
    assert!((900_000..=1 << 20).contains(&queued), "{queued}");
}

#[test]
fn a_full_board_gives_the_message_back() {
    let mut limits = WorkerLimits::default();
    limits.broadcast_bytes_max = 1000;
    let rig = Rig::with(1, SlowMember::Drop, limits, ConnectionLimits::default());
    let (mut caller, _) = rig.connect();
    caller.send(b"block");
    rig.gate.wait();
    let mut sent = 0;
    let refused = loop {
        match rig.group.broadcast(number(sent)) {
            Ok(()) => sent += 1,
            Err(refused) => break refused,
        }
        assert!(sent < 1000, "it has a bound");
    };
    assert!(matches!(refused, BroadcastError::Full(back) if back == number(sent)));
    rig.gate.open();
    for n in 0..sent {
        assert_eq!(caller.expect_number(), n);
    }
}

#[test]
fn a_message_that_cannot_be_framed_reaches_nobody() {
    let group = Group::new(LengthField::u8());
    let refused = group.broadcast(Bytes::from(vec![0; 1000])).unwrap_err();
    assert!(
        matches!(refused, BroadcastError::Unencodable(_)),
        "{refused}"
    );
    assert_eq!(group.stats().broadcasts, 0);
    group.broadcast(Bytes::new()).unwrap();
}

#[test]
fn threads_that_broadcast_at_once_lose_nothing_and_keep_their_order() {
    let rig = Rig::new(2, SlowMember::Queue);
    let mut crowd = rig.crowd(8);
    let start = Arc::new(Barrier::new(4));
    let threads: Vec<_> = (0..4_u32)
        .map(|id| {
            let (group, start) = (rig.group.clone(), Arc::clone(&start));
            thread::spawn(move || {
                start.wait();
                for n in 0..500 {
                    group.broadcast(number(id << 16 | n)).unwrap();
                }
            })
        })
        .collect();
    for caller in &mut crowd {
        let mut next = [0; 4];
        for _ in 0..2000 {
            let n = caller.expect_number();
            let next = &mut next[(n >> 16) as usize];
            assert_eq!(n & 0xFFFF, *next);
            *next += 1;
        }
    }
    for thread in threads {
        thread.join().unwrap();
    }
}

#[test]
fn a_harness_takes_broadcasts_with_its_mail() {
    let mut harness =
        Harness::new(Pipeline::new(LengthField::u8()).handle(|cx, bytes| cx.write(bytes)));
    let group = Group::new(LengthField::u8());
    group.join(&harness.handle()).unwrap();
    group.broadcast(Bytes::from_static(b"one")).unwrap();
    harness
        .handle()
        .try_send(Bytes::from_static(b"two"))
        .unwrap();
    group.broadcast(Bytes::from_static(b"three")).unwrap();
    assert_eq!(harness.mail().sent(), b"\x03one\x03two\x05three");
    assert_eq!(harness.reset().closed(), Some(CloseReason::Reset));
    assert!(group.is_empty());
}
