//! The pool over real sockets: order, room and who waits for it, jobs, panics, and its threads.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

mod util;

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use bytes::Bytes;
use netwheel::codec::LengthField;
use netwheel::limits::{ConnectionLimits, LANE_MESSAGES_MAX, LOW_WATER_BYTES};
use netwheel::{
    CloseReason, ConnectionHandle, Context, Executor, Flow, LaneContext, Pipeline, Result,
    RunningServer, Server, Stage, WhenFull,
};
use util::{
    Caller, Gate, MORE_THAN_THE_KERNEL_TAKES, PATIENCE, any_port, end, eventually, is_alone, serve,
    threads_named,
};

/// What was handled, in order.
type Log = Arc<Mutex<Vec<Bytes>>>;

/// Stops at the gate where the message says so, and answers with the message.
fn answer(gate: &Gate, cx: &mut LaneContext<'_, Bytes>, frame: Bytes) -> Result {
    match &*frame {
        b"hold" => gate.pass(),
        b"panic" => panic!("a handler on the pool panics"),
        _ => {}
    }
    cx.write(frame)
}

/// A server that answers on `pool`, and keeps a log.
fn answering(workers: usize, pool: &Executor, gate: &Gate) -> (RunningServer, Log) {
    let log = Log::default();
    let (pool, gate, seen) = (pool.clone(), gate.clone(), Arc::clone(&log));
    let server = serve(workers, move |_| {
        let (gate, seen) = (gate.clone(), Arc::clone(&seen));
        Pipeline::new(LengthField::u32()).handle_on(&pool, move |cx, frame: Bytes| {
            seen.lock().unwrap().push(frame.clone());
            answer(&gate, cx, frame)
        })
    });
    (server, log)
}

fn numbers(count: u32) -> impl Iterator<Item = [u8; 4]> {
    (0..count).map(u32::to_be_bytes)
}

/// Waits until what `figure` tells is `expected`.
fn becomes<T: PartialEq + Debug>(what: &str, expected: T, mut figure: impl FnMut() -> T) {
    eventually(&format!("{what} is {expected:?}"), || figure() == expected);
}

#[test]
fn a_connection_waits_for_its_own_messages_only() {
    let (pool, gate) = (Executor::new(3), Gate::new());
    let (server, log) = answering(1, &pool, &gate);
    let mut callers = [(); 3].map(|()| Caller::new(server.address()));
    for caller in &mut callers[..2] {
        caller.send_all(["hold", "next"]);
    }
    // Both stand there at once.
    gate.wait();
    gate.wait();
    for _ in 0..100 {
        assert_eq!(callers[2].ask(b"other"), b"other");
    }
    let handled = log.lock().unwrap().clone();
    assert!(
        handled.iter().all(|frame| frame != "next"),
        "a thread was free, and the message before it was not done"
    );
    gate.open();
    gate.open();
    for caller in &mut callers[..2] {
        assert_eq!(caller.expect(), b"hold");
        assert_eq!(caller.expect(), b"next");
    }
    drop(callers);
    end(server);
}

#[test]
fn a_full_lane_pauses_its_connection_only() {
    const MESSAGES: u32 = 2_000;
    let (pool, gate) = (Executor::new(2), Gate::new());
    let (server, _) = answering(1, &pool, &gate);
    let (mut full, mut other) = (Caller::new(server.address()), Caller::new(server.address()));
    full.send(b"hold");
    gate.wait();
    full.send_all(numbers(MESSAGES));
    let queued = || pool.queued();
    becomes("the room that a full lane takes", LANE_MESSAGES_MAX, queued);
    for _ in 0..100 {
        assert_eq!(other.ask(b"other"), b"other");
    }
    becomes("its room later", LANE_MESSAGES_MAX, queued);
    let decoded = server.stats().messages_in;
    assert!(
        decoded < 100 + 2 * LANE_MESSAGES_MAX as u64,
        "{decoded} messages were read"
    );
    gate.open();
    assert_eq!(full.expect(), b"hold");
    for number in 0..MESSAGES {
        assert_eq!(full.expect_number(), number);
    }
    becomes("the room taken in the end", 0, queued);
    drop((full, other));
    end(server);
}

#[test]
fn who_waits_for_a_full_pool_is_served_and_loses_nothing() {
    const WAITING: u32 = 8;
    const MESSAGES: u32 = 20;
    let (pool, gate) = (Executor::new(1).queue_max(4), Gate::new());
    let (server, _) = answering(1, &pool, &gate);
    let mut first = Caller::new(server.address());
    first.send_all(["hold", "a", "b", "c"]);
    gate.wait();
    becomes("the room taken", 4, || pool.queued());
    let mut waiting: Vec<_> = (0..WAITING)
        .map(|_| Caller::new(server.address()))
        .collect();
    for (place, caller) in waiting.iter_mut().enumerate() {
        let decoded = server.stats().messages_in;
        let place = u32::try_from(place).unwrap();
        caller.send_all((0..MESSAGES).map(|n| (place * MESSAGES + n).to_be_bytes()));
        eventually("the connection is read", || {
            server.stats().messages_in > decoded
        });
    }
    assert_eq!(pool.queued(), 4);
    gate.open();
    for expected in ["hold", "a", "b", "c"] {
        assert_eq!(first.expect(), expected.as_bytes());
    }
    for (place, caller) in (0..WAITING).zip(&mut waiting) {
        for n in 0..MESSAGES {
            assert_eq!(caller.expect_number(), place * MESSAGES + n);
        }
    }
    drop((first, waiting));
    end(server);
}

#[test]
fn many_connections_share_a_tiny_pool_and_nothing_is_lost() {
    const MESSAGES: u32 = 500;
    let (pool, gate) = (Executor::new(4).queue_max(3), Gate::new());
    let (server, _) = answering(2, &pool, &gate);
    let mut callers: Vec<_> = (0..32).map(|_| Caller::new(server.address())).collect();
    for caller in &mut callers {
        caller.send_all(numbers(MESSAGES));
    }
    for caller in &mut callers {
        for number in 0..MESSAGES {
            assert_eq!(caller.expect_number(), number);
        }
    }
    becomes("the room taken in the end", 0, || pool.queued());
    drop(callers);
    end(server);
}

#[test]
fn a_full_pool_gives_a_job_back() {
    let (pool, gate) = (Executor::new(1).queue_max(1), Gate::new());
    let held = gate.clone();
    assert!(pool.try_execute(move || held.pass()).is_ok());
    gate.wait();
    let (done, ran) = mpsc::channel();
    let Err(job) = pool.try_execute(move || done.send(()).unwrap()) else {
        panic!("there is no room")
    };
    assert!(
        ran.try_recv().is_err(),
        "a job that was refused does not run"
    );
    gate.open();
    becomes("the room taken", 0, || pool.queued());
    assert!(pool.try_execute(job).is_ok());
    ran.recv_timeout(PATIENCE).unwrap();
}

#[test]
fn a_pool_that_rejects_lets_the_worker_say_so_or_closes() {
    let (pool, gate) = (Executor::new(1).queue_max(1), Gate::new());
    let pool = pool.on_full(WhenFull::Reject);
    let (polite, held) = (pool.clone(), gate.clone());
    let polite = serve(1, move |_| {
        let held = held.clone();
        Pipeline::new(LengthField::u32()).handle_on_or(
            &polite,
            move |cx, frame: Bytes| answer(&held, cx, frame),
            |cx, _| cx.write(Bytes::from_static(b"busy")),
        )
    });
    let (blunt, _) = answering(1, &pool, &gate);
    let (mut first, mut second) = (Caller::new(polite.address()), Caller::new(polite.address()));
    first.send(b"hold");
    gate.wait();
    assert_eq!(second.ask(b"question"), b"busy");
    let mut third = Caller::new(blunt.address());
    third.send(b"question");
    third.expect_end();
    becomes("connections closed over a limit", 1, || {
        blunt.stats().closes(CloseReason::OverLimit)
    });
    gate.open();
    assert_eq!(first.expect(), b"hold");
    becomes("the room taken", 0, || pool.queued());
    assert_eq!(second.ask(b"question"), b"question");
    drop((first, second, third));
    end(polite);
    end(blunt);
}

#[test]
fn who_does_not_read_answers_takes_no_room_from_others() {
    const ANSWER_BYTES: usize = 64 << 10;
    let answers = u32::try_from(MORE_THAN_THE_KERNEL_TAKES / ANSWER_BYTES).unwrap() + 100;
    let mut limits = ConnectionLimits::default();
    limits.write_stall_timeout = 2 * PATIENCE;
    let pool = Executor::new(1).queue_max(32);
    let (handing, handed) = mpsc::channel::<ConnectionHandle<Bytes>>();
    let lane = pool.clone();
    let server = Server::new()
        .workers(1)
        .limits(limits)
        .pipeline(move |_| {
            let handing = handing.clone();
            Pipeline::new(LengthField::u32()).handle_on(&lane, move |cx, frame: Bytes| {
                if &*frame == b"short" {
                    return cx.write(frame);
                }
                handing.send(cx.handle().clone())?;
                let mut long = vec![0; ANSWER_BYTES];
                long[..4].copy_from_slice(&frame);
                cx.write(long.into())
            })
        })
        .listen(any_port())
        .unwrap()
        .start()
        .unwrap();
    let (mut slow, mut other) = (Caller::new(server.address()), Caller::new(server.address()));
    slow.send_all(numbers(answers));
    let handle = handed.recv_timeout(PATIENCE).unwrap();
    // Waited for both times: kernel buffers that still grow take some, and below the low mark the lane goes on.
    let stuck = || handle.queued_bytes() > LOW_WATER_BYTES && pool.queued() == 0;
    eventually("its answers wait, and its lane takes no room", stuck);
    for _ in 0..200 {
        assert_eq!(other.ask(b"short"), b"short");
    }
    eventually("its answers still wait", stuck);
    for number in 0..answers {
        let frame = slow.expect();
        assert_eq!(frame.len(), ANSWER_BYTES);
        assert_eq!(frame[..4], number.to_be_bytes());
    }
    assert_eq!(handle.closed(), None);
    drop((slow, other));
    end(server);
}

/// Puts its letter in front of what passes it outward.
struct Mark(u8);

impl Stage<Bytes, Bytes> for Mark {
    fn on_outbound(&mut self, _: &mut Context<'_, Bytes, Bytes>, out: &mut Bytes) -> Result<Flow> {
        *out = [&[self.0][..], out].concat().into();
        Ok(Flow::Next)
    }
}

/// Sends to the pool what is meant for it, and lets the rest pass.
struct Offload {
    pool: Executor,
    gate: Gate,
}

fn thread_name() -> String {
    thread::current().name().unwrap_or_default().to_owned()
}

impl Stage<Bytes, Bytes> for Offload {
    fn on_inbound(
        &mut self,
        cx: &mut Context<'_, Bytes, Bytes>,
        frame: &mut Bytes,
    ) -> Result<Flow> {
        let gate = self.gate.clone();
        match &**frame {
            b"hold" => cx.offload(
                &self.pool,
                move || gate.pass(),
                |cx, ()| cx.write(Bytes::from_static(b"held")),
            )?,
            b"job" => cx.offload(&self.pool, thread_name, |cx, job| {
                cx.write(format!("{job} {}", thread_name()).into())
            })?,
            b"panic" => cx.offload(&self.pool, || panic!("a job panics"), |_, ()| Ok(()))?,
            b"remove" => {
                cx.pipeline().remove("offload");
                return Ok(Flow::Next);
            }
            _ => return Ok(Flow::Next),
        }
        Ok(Flow::Stop)
    }
}

fn offloading(pool: &Executor, gate: &Gate) -> RunningServer {
    let (pool, gate) = (pool.clone(), gate.clone());
    serve(1, move |_| {
        let offload = Offload {
            pool: pool.clone(),
            gate: gate.clone(),
        };
        Pipeline::new(LengthField::u32())
            .stage("outer", Mark(b'o'))
            .stage("offload", offload)
            .stage("inner", Mark(b'i'))
            .handle(|cx, frame| cx.write(frame))
    })
}

#[test]
fn a_job_runs_on_the_pool_and_its_end_on_the_worker_in_the_same_place() {
    let (pool, gate) = (Executor::new(1), Gate::new());
    let server = offloading(&pool, &gate);
    let mut caller = Caller::new(server.address());
    assert_eq!(caller.ask(b"job"), b"onetwheel-pool-0 netwheel-io-0");
    assert_eq!(caller.ask(b"echo"), b"oiecho");
    drop(caller);
    end(server);
}

#[test]
fn a_job_that_panics_ends_its_connection_only() {
    let (pool, gate) = (Executor::new(1), Gate::new());
    let server = offloading(&pool, &gate);
    let (mut caller, mut other) = (Caller::new(server.address()), Caller::new(server.address()));
    assert_eq!(other.ask(b"echo"), b"oiecho");
    caller.send(b"panic");
    caller.expect_end();
    // Else the server lingers.
    drop(caller);
    becomes("connections closed by a panic", 1, || {
        server.stats().closes(CloseReason::Panic)
    });
    assert_eq!(other.ask(b"job"), b"onetwheel-pool-0 netwheel-io-0");
    drop(other);
    end(server);
}

#[test]
fn the_result_of_a_job_whose_stage_has_gone_is_dropped() {
    let (pool, gate) = (Executor::new(1), Gate::new());
    let server = offloading(&pool, &gate);
    let mut caller = Caller::new(server.address());
    caller.send(b"hold");
    gate.wait();
    assert_eq!(caller.ask(b"remove"), b"oiremove");
    assert_eq!(server.stats().stale_events, 0);
    gate.open();
    becomes("stale events", 1, || server.stats().stale_events);
    assert_eq!(caller.ask(b"job"), b"oijob");
    drop(caller);
    end(server);
}

#[test]
fn a_job_without_room_waits_and_its_connection_is_not_read_meanwhile() {
    let (pool, gate) = (Executor::new(1).queue_max(1), Gate::new());
    let server = offloading(&pool, &gate);
    let (mut caller, mut other) = (Caller::new(server.address()), Caller::new(server.address()));
    other.send(b"hold");
    gate.wait();
    caller.send_all(["job", "echo"]);
    becomes("messages read", 2, || server.stats().messages_in);
    caller.send(b"late");
    assert_eq!(other.ask(b"echo"), b"oiecho");
    assert_eq!(
        server.stats().messages_in,
        3,
        "neither message behind the job was read"
    );
    gate.open();
    assert_eq!(other.expect(), b"oheld");
    let answers: BTreeSet<_> = (0..3).map(|_| caller.expect()).collect();
    assert_eq!(
        answers,
        BTreeSet::from([
            b"onetwheel-pool-0 netwheel-io-0".to_vec(),
            b"oiecho".to_vec(),
            b"oilate".to_vec()
        ])
    );
    drop((caller, other));
    end(server);
}

/// So many connections get an answer and then stand at the gate, while others come and go.
fn answers_leave_before_the_next_message_blocks(threads: usize, holders: usize, others: usize) {
    const ROUNDS: u32 = 30;
    const BURST: u32 = 20;
    let (pool, gate) = (Executor::new(threads), Gate::new());
    let (server, _) = answering(2, &pool, &gate);
    let call = |count| -> Vec<_> { (0..count).map(|_| Caller::new(server.address())).collect() };
    let (mut holders, mut others) = (call(holders), call(others));
    for round in 0..ROUNDS {
        for holder in &mut holders {
            holder.send_all([&round.to_be_bytes()[..], b"hold"]);
        }
        for other in &mut others {
            other.send_all(numbers(BURST));
        }
        for holder in &mut holders {
            assert_eq!(holder.expect_number(), round);
        }
        for other in &mut others {
            (0..BURST).for_each(|number| assert_eq!(other.expect_number(), number));
        }
        holders.iter().for_each(|_| gate.wait());
        holders.iter().for_each(|_| gate.open());
        for holder in &mut holders {
            assert_eq!(holder.expect(), b"hold");
        }
    }
    drop((holders, others));
    end(server);
}

#[test]
fn an_answer_does_not_wait_for_the_next_message_of_one_thread() {
    answers_leave_before_the_next_message_blocks(1, 1, 0);
}

#[test]
fn an_answer_does_not_wait_when_all_threads_block() {
    answers_leave_before_the_next_message_blocks(4, 4, 0);
}

#[test]
fn an_answer_does_not_wait_while_others_keep_a_thread_busy() {
    answers_leave_before_the_next_message_blocks(4, 3, 12);
}

#[test]
fn a_panic_on_the_pool_ends_its_connection_and_no_thread() {
    let name = "a_panic_on_the_pool_ends_its_connection_and_no_thread";
    if !is_alone(name) {
        return;
    }
    let (pool, gate) = (Executor::new(2), Gate::new());
    let (server, _) = answering(1, &pool, &gate);
    let mut others = [(); 2].map(|()| Caller::new(server.address()));
    for n in 1..=10 {
        let mut caller = Caller::new(server.address());
        caller.send_all(["before", "panic", "behind"]);
        assert_eq!(caller.expect(), b"before");
        caller.expect_end();
        // Else the server lingers.
        drop(caller);
        becomes("connections closed by a panic", n, || {
            server.stats().closes(CloseReason::Panic)
        });
        assert_eq!(others[0].ask(b"other"), b"other");
    }
    assert_eq!(threads_named("netwheel-pool-"), 2);
    // Both still work.
    others.iter_mut().for_each(|other| other.send(b"hold"));
    others.iter().for_each(|_| gate.wait());
    others.iter().for_each(|_| gate.open());
    for other in &mut others {
        assert_eq!(other.expect(), b"hold");
    }
    becomes("the room taken", 0, || pool.queued());
    drop(others);
    end(server);
}

#[test]
fn threads_come_with_the_first_work_and_go_with_the_last_handle() {
    let name = "threads_come_with_the_first_work_and_go_with_the_last_handle";
    if !is_alone(name) {
        return;
    }
    let threads = || threads_named("netwheel-pool-");
    let (pool, gate) = (Executor::new(3), Gate::new());
    let (server, _) = answering(1, &pool, &gate);
    let mut caller = Caller::new(server.address());
    assert_eq!(threads(), 0, "nothing was to be done yet");
    assert_eq!(caller.ask(b"first"), b"first");
    // A thread takes its name once it runs.
    becomes("threads", 3, threads);
    drop(pool);
    assert_eq!(caller.ask(b"again"), b"again");
    assert_eq!(threads(), 3, "the server holds the pool");
    drop(caller);
    end(server);
    becomes("threads behind the last handle", 0, threads);
}

#[test]
fn a_job_may_hold_the_last_handle_of_its_pool() {
    let name = "a_job_may_hold_the_last_handle_of_its_pool";
    if !is_alone(name) {
        return;
    }
    let (pool, gate) = (Executor::new(2), Gate::new());
    let (inner, held) = (pool.clone(), gate.clone());
    let job = move || {
        held.pass();
        drop(inner);
    };
    assert!(pool.try_execute(job).is_ok());
    gate.wait();
    drop(pool);
    assert!(threads_named("netwheel-pool-") > 0);
    gate.open();
    becomes("threads", 0, || threads_named("netwheel-pool-"));
}

#[test]
fn the_last_handle_waits_for_what_was_let_in() {
    let pool = Executor::new(1);
    let (done, ran) = mpsc::channel();
    for n in 0..100 {
        let done = done.clone();
        assert!(pool.try_execute(move || done.send(n).unwrap()).is_ok());
    }
    drop(pool);
    assert!(ran.try_iter().eq(0..100), "all had run, in order");
}
