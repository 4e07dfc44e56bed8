//! Handlers on the pool, and jobs sent there.

use std::sync::{Arc, Mutex};

use netwheel::limits::LANE_MESSAGES_MAX;
use netwheel::testing::Harness;
use netwheel::{CloseReason, Executor, Failure, Flow, Pipeline, Result, Stage, WhenFull};

use crate::{Cx, Letters, Log, Spy, sent};

fn echo_on(pool: &Executor) -> Pipeline<char, char> {
    Pipeline::new(Letters).handle_on(pool, |cx, letter| match letter {
        'f' => Err(Failure::new(CloseReason::Duplicate)),
        'p' => panic!("a handler on the pool panics"),
        'c' => {
            cx.close_after_flush(CloseReason::Local);
            cx.write('C')
        }
        _ => cx.write(letter),
    })
}

#[test]
fn a_lane_answers_in_order() {
    let builder = Harness::builder();
    let pool = builder.executor();
    let mut harness = builder.open(echo_on(&pool));
    harness.receive(b"ab").receive(b"d");
    assert_eq!((sent(&mut harness), pool.queued()), (String::new(), 3));
    harness.run_pool();
    assert_eq!((sent(&mut harness), pool.queued()), ("abd".into(), 0));
}

#[test]
fn what_was_read_is_answered_before_the_end() {
    let builder = Harness::builder();
    let pool = builder.executor();
    let mut harness = builder.open(echo_on(&pool));
    harness.receive(b"ab").receive_eof();
    assert_eq!(harness.closed(), None, "answers are under way");
    harness.run_pool();
    assert_eq!(sent(&mut harness), "ab");
    assert_eq!(harness.closed(), Some(CloseReason::PeerClosed));
}

#[test]
fn a_full_lane_pauses_its_connection_and_loses_nothing() {
    let builder = Harness::builder();
    let pool = builder.executor();
    let mut harness = builder.open(echo_on(&pool));
    let stream: String = ('g'..='o').cycle().take(5 * LANE_MESSAGES_MAX).collect();
    harness.receive(stream.as_bytes());
    assert!(harness.is_paused());
    assert_eq!(pool.queued(), LANE_MESSAGES_MAX);
    harness.run_pool();
    assert_eq!(sent(&mut harness), stream);
    assert!(!harness.is_paused());
}

#[test]
fn a_full_pool_pauses_and_serves_in_turn() {
    let builder = Harness::builder();
    let pool = builder.executor().queue_max(2);
    let mut harness = builder.open(echo_on(&pool));
    harness.receive(b"abdeghij").receive_eof();
    assert_eq!(pool.queued(), 2);
    harness.run_pool();
    assert_eq!(sent(&mut harness), "abdeghij");
    assert_eq!(harness.closed(), Some(CloseReason::PeerClosed));
}

#[test]
fn a_pool_that_rejects_closes_or_lets_the_worker_refuse() {
    let builder = Harness::builder();
    let pool = builder.executor().queue_max(2).on_full(WhenFull::Reject);
    let mut harness = builder.open(echo_on(&pool));
    harness.receive(b"abd").run_pool();
    assert_eq!(harness.closed(), Some(CloseReason::OverLimit));

    let builder = Harness::builder();
    let pool = builder.executor().queue_max(2).on_full(WhenFull::Reject);
    let pipeline = Pipeline::new(Letters).handle_on_or(
        &pool,
        |cx, letter| cx.write(letter),
        |cx, letter| cx.write(letter.to_ascii_uppercase()),
    );
    let mut harness = builder.open(pipeline);
    harness.receive(b"abde");
    assert_eq!(sent(&mut harness), "DE");
    harness.run_pool().receive(b"g").run_pool();
    assert_eq!(sent(&mut harness), "abg");
}

#[test]
fn a_handler_on_the_pool_ends_its_connection_after_its_answers() {
    for (stream, answers, reason) in [
        ("abfgh", "ab", CloseReason::Duplicate),
        ("abpgh", "ab", CloseReason::Panic),
        ("abcgh", "abC", CloseReason::Local),
    ] {
        let builder = Harness::builder();
        let pool = builder.executor();
        let mut harness = builder.open(echo_on(&pool));
        harness.receive(stream.as_bytes()).run_pool();
        assert_eq!(sent(&mut harness), answers);
        assert_eq!(harness.closed(), Some(reason));
        assert_eq!(pool.queued(), 0);
    }
}

#[test]
fn a_connection_that_ends_leaves_no_work_behind() {
    let builder = Harness::builder();
    let pool = builder.executor();
    let handled = Arc::new(Mutex::new(String::new()));
    let seen = Arc::clone(&handled);
    let pipeline = Pipeline::new(Letters).handle_on(&pool, move |_, letter| {
        seen.lock().unwrap().push(letter);
        Ok(())
    });
    let mut harness = builder.open(pipeline);
    harness.receive(b"abc").reset().run_pool();
    assert_eq!(*handled.lock().unwrap(), "");
    assert_eq!(pool.queued(), 0);
    assert_eq!(
        Arc::strong_count(&handled),
        1,
        "the handler has been dropped"
    );
}

#[test]
fn a_slow_reader_holds_no_room_in_the_pool() {
    let mut limits = netwheel::limits::ConnectionLimits::default();
    (limits.high_water_bytes, limits.low_water_bytes) = (8, 4);
    let builder = Harness::builder().limits(limits);
    let pool = builder.executor();
    let mut harness = builder.open(echo_on(&pool));
    let stream: String = ('g'..='o').cycle().take(100).collect();
    harness.block().receive(stream.as_bytes()).run_pool();
    assert!(harness.is_paused());
    assert_eq!(pool.queued(), 0);
    harness.unblock().run_pool();
    assert_eq!(sent(&mut harness), stream);
}

/// Sends `j` to the pool; its answer comes from this stage's place.
struct Offload(Executor);

impl Stage<char, char> for Offload {
    fn on_inbound(&mut self, cx: &mut Cx<'_>, letter: &mut char) -> Result<Flow> {
        match *letter {
            'j' => cx.offload(&self.0, || 'J', |cx, answer| cx.write(answer))?,
            'p' => cx.offload(&self.0, || panic!("a job panics"), |_, ()| Ok(()))?,
            'r' => drop(cx.pipeline().remove("offload")),
            _ => return Ok(Flow::Next),
        }
        Ok(Flow::Stop)
    }
}

fn offloading(pool: &Executor, log: &Log) -> Pipeline<char, char> {
    Pipeline::new(Letters)
        .stage("a", Spy("a", log.clone()))
        .stage("offload", Offload(pool.clone()))
        .stage("b", Spy("b", log.clone()))
        .handle(|cx, letter| cx.write(letter))
}

#[test]
fn a_job_ends_where_it_began() {
    let log = Log::default();
    let builder = Harness::builder();
    let pool = builder.executor();
    let mut harness = builder.open(offloading(&pool, &log));
    log.take();
    harness.receive(b"jx");
    assert_eq!(log.take(), "a<j a<x b<x b>x a>x");
    harness.run_pool();
    assert_eq!(log.take(), "a>J");
    assert_eq!(sent(&mut harness), "xJ");
}

#[test]
fn the_end_waits_for_jobs_but_a_stage_that_went_does_not_answer() {
    let log = Log::default();
    let builder = Harness::builder();
    let pool = builder.executor();
    let mut harness = builder.open(offloading(&pool, &log));
    harness.receive(b"j").receive_eof();
    assert_eq!(harness.closed(), None);
    harness.run_pool();
    assert_eq!(sent(&mut harness), "J");
    assert_eq!(harness.closed(), Some(CloseReason::PeerClosed));

    let builder = Harness::builder();
    let pool = builder.executor();
    let mut harness = builder.open(offloading(&pool, &log));
    harness.receive(b"jr").run_pool().receive(b"j");
    assert_eq!(sent(&mut harness), "j");
    assert_eq!(harness.closed(), None);
    assert_eq!(harness.stats().stale_events, 1);
}

#[test]
fn a_job_that_panics_closes_its_connection() {
    let builder = Harness::builder();
    let pool = builder.executor();
    let mut harness = builder.open(offloading(&pool, &Log::default()));
    harness.receive(b"p").run_pool();
    assert_eq!(harness.closed(), Some(CloseReason::Panic));
}

#[test]
fn jobs_wait_for_a_full_pool_and_reading_pauses() {
    let builder = Harness::builder();
    let pool = builder.executor().queue_max(2);
    let mut harness = builder.open(offloading(&pool, &Log::default()));
    harness.receive(b"jjjjx");
    assert!(harness.is_paused());
    harness.run_pool();
    assert_eq!(sent(&mut harness).chars().filter(|c| *c == 'J').count(), 4);
    assert!(!harness.is_paused());
}

#[test]
fn answers_of_the_pool_pass_all_stages() {
    let log = Log::default();
    let builder = Harness::builder();
    let pool = builder.executor();
    let pipeline = Pipeline::new(Letters)
        .stage("a", Spy("a", log.clone()))
        .handle_on(&pool, |cx, letter| {
            cx.handle().try_send('h')?;
            cx.write(letter)
        });
    let mut harness = builder.open(pipeline);
    log.take();
    harness.receive(b"x").run_pool();
    assert_eq!(log.take(), "a<x a>h a>x");
}
