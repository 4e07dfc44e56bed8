//! Handles: one order of writes, bounds, completions, closes.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use netwheel::limits::ConnectionLimits;
use netwheel::testing::Harness;
use netwheel::{CloseReason, Flow, Pipeline, TrySendError};

use crate::{Letters, Log, Spy, inward, outward, sent};

type Answers = Arc<Mutex<Vec<(char, Result<(), CloseReason>)>>>;

/// What notes how a write went.
fn answer(
    answers: &Answers,
    letter: char,
) -> impl FnOnce(Result<(), CloseReason>) + Send + 'static {
    let answers = Arc::clone(answers);
    move |result| answers.lock().unwrap().push((letter, result))
}

#[test]
fn writes_leave_in_the_order_in_which_they_were_accepted() {
    let pipeline = Pipeline::new(Letters).handle(|cx, letter| {
        cx.write('<')?;
        let handle = cx.handle();
        handle.try_send('1')?;
        cx.write(letter)?;
        handle.try_send('2')?;
        cx.write('>')
    });
    let mut harness = Harness::new(pipeline);
    harness.receive(b"a");
    // What waits in the outbox goes on with the flush that makes room for it.
    assert_eq!(sent(&mut harness), "<1a2>");
    harness.receive(b"b").mail();
    assert_eq!(sent(&mut harness), "<1b2>");
}

#[test]
fn a_write_that_waited_goes_outward_from_its_own_stage() {
    let log = Log::default();
    let late = inward(|cx, letter| {
        cx.handle().try_send('h')?;
        cx.write(*letter)?;
        Ok(Flow::Stop)
    });
    let pipeline = Pipeline::new(Letters)
        .stage("a", Spy("a", log.clone()))
        .stage("late", late)
        .stage("b", Spy("b", log.clone()))
        .handle(|_, _| Ok(()));
    let mut harness = Harness::new(pipeline);
    log.take();
    harness.receive(b"x").mail();
    assert_eq!(log.take(), "a<x b>h a>h a>x");
    assert_eq!(sent(&mut harness), "hx");
}

#[test]
fn a_stage_that_answers_an_outbound_message_is_not_deferred() {
    // The write belongs to the message on its way, so it cannot queue up behind those that wait.
    let mark = outward(|cx, _| {
        cx.write('.')?;
        Ok(Flow::Next)
    });
    let pipeline = Pipeline::new(Letters)
        .stage("mark", mark)
        .handle(|_, _| Ok(()));
    let mut harness = Harness::new(pipeline);
    let handle = harness.handle();
    for letter in ['a', 'b', 'c'] {
        handle.try_send(letter).unwrap();
    }
    harness.mail();
    assert_eq!(sent(&mut harness), ".a.b.c");
}

#[test]
fn a_full_connection_gives_the_message_back() {
    let mut limits = ConnectionLimits::default();
    limits.output_bytes_max = 3;
    let pipeline = Pipeline::new(Letters).handle(|_, _| Ok(()));
    let mut harness = Harness::builder().limits(limits).open(pipeline);
    let handle = harness.handle();
    for letter in ['a', 'b', 'c'] {
        handle.try_send(letter).unwrap();
    }
    assert_eq!(handle.try_send('d'), Err(TrySendError::Full('d')));
    harness.block().mail();
    assert_eq!(handle.queued_bytes(), 3);
    assert_eq!(handle.try_send('d'), Err(TrySendError::Full('d')));
    harness.accept_bytes(1);
    assert_eq!(handle.try_send('d'), Ok(()));
    harness.unblock().mail();
    assert_eq!(sent(&mut harness), "abcd");
    assert_eq!(handle.queued_bytes(), 0);
}

#[test]
fn a_long_batch_leaves_to_its_end() {
    let mut limits = ConnectionLimits::default();
    (limits.high_water_bytes, limits.low_water_bytes) = (64, 32);
    let pipeline = Pipeline::raw().handle(|_, _| Ok(()));
    let mut harness = Harness::builder().limits(limits).open(pipeline);
    let handle = harness.handle();
    for n in 0..100_u8 {
        handle.try_send(Bytes::from(vec![n; 33])).unwrap();
    }
    harness.mail();
    let expected: Vec<u8> = (0..100).flat_map(|n| [n; 33]).collect();
    assert!(harness.sent() == expected, "it stopped at the high mark");
}

#[test]
fn a_long_batch_leaves_to_a_slow_reader_too() {
    let mut limits = ConnectionLimits::default();
    (limits.high_water_bytes, limits.low_water_bytes) = (64, 32);
    let pipeline = Pipeline::raw().handle(|_, _| Ok(()));
    let mut harness = Harness::builder().limits(limits).open(pipeline);
    let handle = harness.handle();
    for n in 0..100_u8 {
        handle.try_send(Bytes::from(vec![n; 33])).unwrap();
    }
    harness.block().mail();
    let mut got = Vec::new();
    for _ in 0..3300 {
        harness.accept_bytes(1);
        got.extend(harness.sent());
    }
    let expected: Vec<u8> = (0..100).flat_map(|n| [n; 33]).collect();
    assert!(got == expected, "{} of {}", got.len(), expected.len());
}

#[test]
fn every_accepted_write_is_answered_once() {
    let answers = Answers::default();
    let pipeline = Pipeline::new(Letters).handle({
        let answers = Arc::clone(&answers);
        move |cx, letter| cx.write_then(letter, answer(&answers, letter))
    });
    let mut harness = Harness::new(pipeline);
    let handle = harness.handle();
    let send = |letter| handle.try_send_then(letter, answer(&answers, letter));
    let take = || std::mem::take(&mut *answers.lock().unwrap());

    harness.receive(b"a");
    send('b').unwrap();
    harness.mail();
    assert_eq!(take(), [('a', Ok(())), ('b', Ok(()))]);

    harness.block().receive(b"cd");
    send('e').unwrap();
    harness.mail();
    send('f').unwrap();
    assert_eq!(take(), []);
    harness.accept_bytes(1);
    assert_eq!(take(), [('c', Ok(()))]);

    harness.reset();
    let mut rest = take();
    rest.sort_by_key(|(letter, _)| *letter);
    let lost = Err(CloseReason::Reset);
    assert_eq!(rest, [('d', lost), ('e', lost), ('f', lost)]);

    assert_eq!(send('g'), Err(TrySendError::Closed('g')));
    drop(harness);
    assert_eq!(take(), [], "a message given back is not answered as well");
}

#[test]
fn a_write_that_a_stage_swallows_is_answered_as_not_sent() {
    let answers = Answers::default();
    let pipeline = Pipeline::new(Letters)
        .stage("wall", outward(|_, _| Ok(Flow::Stop)))
        .handle(|_, _| Ok(()));
    let mut harness = Harness::new(pipeline);
    let handle = harness.handle();
    handle.try_send_then('a', answer(&answers, 'a')).unwrap();
    harness.mail();
    assert_eq!(*answers.lock().unwrap(), [('a', Err(CloseReason::Local))]);
}

#[test]
fn close_after_flush_sends_what_was_accepted_and_nothing_more() {
    let mut harness = Harness::new(Pipeline::new(Letters).handle(|_, _| Ok(())));
    let handle = harness.handle();
    handle.try_send('a').unwrap();
    handle.close_after_flush();
    assert_eq!(handle.try_send('b'), Err(TrySendError::Closed('b')));
    harness.block().mail();
    assert_eq!(harness.closing(), Some(CloseReason::Local));
    assert_eq!(harness.closed(), None);
    harness.unblock();
    assert_eq!(harness.closed(), Some(CloseReason::Local));
    assert_eq!(sent(&mut harness), "a");
}

#[test]
fn close_ends_at_once() {
    let log = Log::default();
    let mut harness = Harness::new(Pipeline::new(Letters).handler(Spy("h", log.clone())));
    let handle = harness.handle();
    handle.try_send('a').unwrap();
    handle.close_after_flush();
    handle.close();
    harness.mail();
    assert_eq!(harness.closed(), Some(CloseReason::Local));
    assert_eq!(handle.closed(), Some(CloseReason::Local));
    assert_eq!(sent(&mut harness), "");
    assert_eq!(log.take(), "h.open h.close(local)");
}

#[test]
fn what_handles_sent_before_the_end_of_the_peer_still_leaves() {
    let mut harness = Harness::new(Pipeline::new(Letters).handle(|cx, letter| {
        let handle = cx.handle();
        handle.try_send(letter)?;
        Ok(())
    }));
    harness.receive(b"abc").receive_eof();
    assert_eq!(harness.closed(), None, "answers wait in the outbox");
    harness.mail();
    assert_eq!(sent(&mut harness), "abc");
    assert_eq!(harness.closed(), Some(CloseReason::PeerClosed));
}
