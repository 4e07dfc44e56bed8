//! Pauses and water marks: who is read, and when.

use std::time::Duration;

use netwheel::codec::LengthField;
use netwheel::limits::ConnectionLimits;
use netwheel::testing::Harness;
use netwheel::{
    CloseReason, Event, Flow, Handler, Pipeline, Result, Stage, TimerKey, TrySendError,
};

use crate::{Cx, Letters, Log, Spy, inward, outward, sent};

const SECOND: Duration = Duration::from_secs(1);

/// A few bytes are much.
fn small() -> ConnectionLimits {
    let mut limits = ConnectionLimits::default();
    limits.high_water_bytes = 8;
    limits.low_water_bytes = 4;
    limits.output_bytes_max = 16;
    limits
}

/// Echoes; `p` pauses for a second.
struct Pausing;

impl Handler<char, char> for Pausing {
    fn on_message(&mut self, cx: &mut Cx<'_>, letter: char) -> Result<()> {
        if letter == 'p' {
            cx.pause_reading();
            cx.timer(SECOND, TimerKey(0));
        }
        cx.write(letter)
    }

    fn on_event(&mut self, cx: &mut Cx<'_>, _: &Event) -> Result<()> {
        cx.resume_reading();
        Ok(())
    }
}

#[test]
fn a_pause_holds_from_the_next_message_on() {
    let mut harness = Harness::new(Pipeline::new(Letters).handler(Pausing));
    harness.receive(b"apbpc").receive(b"d");
    assert_eq!(sent(&mut harness), "ap");
    assert!(harness.is_paused());
    harness.pass(SECOND);
    assert_eq!(sent(&mut harness), "bp");
    harness.pass(SECOND);
    assert_eq!(sent(&mut harness), "cd");
    assert!(!harness.is_paused());
}

#[test]
fn an_eof_behind_a_pause_waits_its_turn() {
    let mut harness = Harness::new(Pipeline::new(Letters).handler(Pausing));
    harness.receive(b"apb").receive_eof();
    assert_eq!((sent(&mut harness), harness.closed()), ("ap".into(), None));
    harness.pass(SECOND);
    assert_eq!(sent(&mut harness), "b");
    assert_eq!(harness.closed(), Some(CloseReason::PeerClosed));
}

#[test]
fn a_pause_in_answer_to_eof_is_waited_for() {
    let mut harness = Harness::new(Pipeline::new(Letters).handler(Pausing));
    harness.receive(b"p").receive(b"pb").receive_eof();
    harness.pass(SECOND);
    assert_eq!((sent(&mut harness), harness.closed()), ("pp".into(), None));
    harness.pass(SECOND);
    assert_eq!(sent(&mut harness), "b");
    assert_eq!(harness.closed(), Some(CloseReason::PeerClosed));
}

/// Answers each letter ten times over.
fn tenfold(log: &Log) -> Pipeline<char, char> {
    let tenfold = outward(|cx, letter| {
        for _ in 1..10 {
            cx.write(*letter)?;
        }
        Ok(Flow::Next)
    });
    let pipeline = Pipeline::new(Letters).stage("tenfold", tenfold);
    pipeline.handler(Spy("h", log.clone()))
}

#[test]
fn output_above_the_high_mark_pauses_until_the_low_one() {
    let log = Log::default();
    let mut harness = Harness::builder().limits(small()).open(tenfold(&log));
    harness.block().receive(b"abc");
    assert!(harness.is_paused());
    assert_eq!(log.take(), "h.open h<a h.Unwritable");
    harness.accept_bytes(5);
    assert_eq!(log.take(), "", "five bytes wait, more than the low mark");
    assert!(harness.is_paused());
    harness.accept_bytes(1);
    assert_eq!(log.take(), "h.Writable h<b h.Unwritable");
    assert_eq!(sent(&mut harness), "AAAAAA");
    harness.unblock();
    assert_eq!(log.take(), "h.Writable h<c");
    assert_eq!(sent(&mut harness), "AAAABBBBBBBBBBCCCCCCCCCC");
    assert!(!harness.is_paused());
}

#[test]
fn a_peer_that_reads_is_never_told_of() {
    let log = Log::default();
    let mut harness = Harness::builder().limits(small()).open(tenfold(&log));
    harness.receive(b"abc");
    assert_eq!(log.take(), "h.open h<a h<b h<c");
    assert_eq!(harness.sent().len(), 30);
}

#[test]
fn what_blocked_below_the_mark_still_tells_when_it_crosses() {
    let log = Log::default();
    let mut limits = small();
    (limits.high_water_bytes, limits.output_bytes_max) = (14, 100);
    let mut harness = Harness::builder().limits(limits).open(tenfold(&log));
    harness.block().receive(b"a");
    assert_eq!(log.take(), "h.open h<a", "ten bytes wait");
    harness.receive(b"b").receive(b"c");
    assert_eq!(log.take(), "h<b h.Unwritable");
    assert!(harness.is_paused());
    harness.unblock();
    assert_eq!(log.take(), "h.Writable h<c");
}

#[test]
fn two_reasons_to_pause_must_both_pass() {
    let log = Log::default();
    let pause = inward(|cx, letter| {
        match letter {
            'p' => {
                cx.pause_reading();
                cx.timer(SECOND, TimerKey(0));
            }
            _ => cx.resume_reading(),
        }
        Ok(Flow::Next)
    });
    struct Resume;
    impl Stage<char, char> for Resume {
        fn on_event(&mut self, cx: &mut Cx<'_>, event: &Event) -> Result<Flow> {
            if matches!(event, Event::Writable) {
                cx.timer(SECOND, TimerKey(0));
            } else if matches!(event, Event::Timer(_)) {
                cx.resume_reading();
            }
            Ok(Flow::Next)
        }
    }
    let tenfold = outward(|cx, letter| {
        for _ in 1..10 {
            cx.write(*letter)?;
        }
        Ok(Flow::Next)
    });
    let pipeline = Pipeline::new(Letters)
        .stage("tenfold", tenfold)
        .stage("pause", pause)
        .stage("resume", Resume)
        .handler(Spy("h", log.clone()));
    let mut harness = Harness::builder().limits(small()).open(pipeline);
    harness.block().receive(b"pq");
    assert_eq!(log.take(), "h.open h<p h.Unwritable");
    harness.unblock();
    assert_eq!(log.take(), "h.Writable");
    assert!(harness.is_paused(), "the stage has not resumed yet");
    harness.pass(SECOND);
    assert_eq!(log.take(), "h<q");
}

#[test]
fn without_auto_pause_messages_come_and_writes_are_refused() {
    let log = Log::default();
    let noted = log.clone();
    let pipeline = Pipeline::new(Letters).handle(move |cx, letter| {
        match cx.try_write(letter) {
            Ok(()) => noted.note(letter),
            Err(TrySendError::Full(letter)) => noted.note(format!("{letter}?")),
            Err(refused) => return Err(refused.into()),
        }
        Ok(())
    });
    let builder = Harness::builder().limits(small()).auto_pause(false);
    let mut harness = builder.open(pipeline);
    harness.block().receive(b"abcdefghijklmnop").receive(b"qr");
    assert_eq!(log.take(), "a b c d e f g h i j k l m n o p q? r?");
    assert!(!harness.is_paused());
    harness.unblock().receive(b"s");
    assert_eq!(log.take(), "s");
    assert_eq!(sent(&mut harness), "abcdefghijklmnops");
}

#[test]
fn a_message_of_any_size_goes_to_an_empty_output() {
    let pipeline = Pipeline::new(LengthField::u32()).handle(|cx, frame| cx.write(frame));
    let mut harness = Harness::builder().limits(small()).open(pipeline);
    harness.receive(b"\0\0\0\x14twenty bytes and big");
    assert_eq!(harness.sent().len(), 24);
    assert_eq!(harness.closed(), None);
}

#[test]
fn a_write_over_the_bound_closes_when_it_is_passed_on() {
    let pipeline = Pipeline::new(Letters).handle(|cx, letter| {
        for _ in 0..20 {
            cx.write(letter)?;
        }
        Ok(())
    });
    let mut harness = Harness::builder().limits(small()).open(pipeline);
    harness.receive(b"a");
    assert_eq!(harness.closed(), Some(CloseReason::OverLimit));
    assert_eq!(
        sent(&mut harness),
        "a".repeat(16),
        "what was accepted leaves"
    );
}

#[test]
fn a_peer_that_takes_nothing_is_given_up() {
    let log = Log::default();
    let mut harness = Harness::new(Pipeline::new(Letters).handler(Spy("h", log.clone())));
    let stall = netwheel::limits::WRITE_STALL_TIMEOUT;
    harness.block().receive(b"abc").pass(stall / 2);
    harness
        .accept_bytes(1)
        .pass(stall - Duration::from_nanos(1));
    assert_eq!(harness.closed(), None, "a byte is progress");
    harness.pass(Duration::from_nanos(1));
    assert_eq!(harness.closed(), Some(CloseReason::WriteStall));
    assert_eq!(log.take(), "h.open h<a h<b h<c h.close(write_stall)");
}

#[test]
fn a_flush_leaves_before_the_rest_of_the_read() {
    let log = Log::default();
    let noted = log.clone();
    let pipeline = Pipeline::new(Letters).handle(move |cx, letter| {
        noted.note(cx.queued_bytes());
        if letter == 'f' {
            cx.flush();
        }
        cx.write(letter)
    });
    let mut harness = Harness::new(pipeline);
    harness.receive(b"abf").receive(b"cd");
    assert_eq!(log.take(), "0 1 2 0 1");
    assert_eq!(sent(&mut harness), "abfcd");
}
