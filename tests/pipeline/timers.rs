//! Timers and deadlines, in virtual time.

use std::time::Duration;

use netwheel::testing::Harness;
use netwheel::{CloseReason, Event, Flow, Handler, Pipeline, Result, Stage, TimerKey};

use crate::{Cx, Letters, Log, sent};

const SECOND: Duration = Duration::from_secs(1);
const NANO: Duration = Duration::from_nanos(1);

/// Arms a timer when it opens, and writes a letter when it is told.
struct Alarm(Duration, char);

impl Stage<char, char> for Alarm {
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<()> {
        cx.timer(self.0, TimerKey(1));
        Ok(())
    }

    fn on_inbound(&mut self, cx: &mut Cx<'_>, letter: &mut char) -> Result<Flow> {
        match letter {
            'm' => cx.timer(self.0, TimerKey(1)),
            'c' => cx.cancel_timer(TimerKey(1)),
            _ => {}
        }
        Ok(Flow::Next)
    }

    fn on_event(&mut self, cx: &mut Cx<'_>, event: &Event) -> Result<Flow> {
        if let Event::Timer(TimerKey(1)) = event {
            cx.write(self.1)?;
        }
        Ok(Flow::Next)
    }
}

#[test]
fn timers_fire_once_in_order_and_never_early() {
    let pipeline = Pipeline::new(Letters)
        .stage("late", Alarm(3 * SECOND, '3'))
        .stage("soon", Alarm(SECOND, '1'))
        .handle(|_, _| Ok(()));
    let mut harness = Harness::new(pipeline);
    harness.pass(SECOND - NANO);
    assert_eq!(sent(&mut harness), "");
    harness.pass(NANO);
    assert_eq!(sent(&mut harness), "1", "each stage has its own key 1");
    harness.pass(10 * SECOND);
    assert_eq!(sent(&mut harness), "3");
}

#[test]
fn arming_again_moves_and_cancelling_disarms() {
    let pipeline = Pipeline::new(Letters)
        .stage("alarm", Alarm(2 * SECOND, 'a'))
        .handle(|_, _| Ok(()));
    let mut harness = Harness::new(pipeline);
    for _ in 0..5 {
        harness.pass(SECOND).receive(b"m");
    }
    assert_eq!(sent(&mut harness), "");
    harness.pass(2 * SECOND);
    assert_eq!(sent(&mut harness), "a");
    harness.receive(b"mc").pass(10 * SECOND);
    assert_eq!(sent(&mut harness), "");
}

#[test]
fn a_timer_goes_when_its_stage_goes() {
    let pipeline = Pipeline::new(Letters)
        .stage("alarm", Alarm(SECOND, 'a'))
        .stage("other", Alarm(2 * SECOND, 'o'))
        .handle(|cx, _| {
            // The new stage of the same name has timers of its own.
            cx.pipeline()
                .replace("alarm", "alarm", Alarm(5 * SECOND, 'n'));
            Ok(())
        });
    let mut harness = Harness::new(pipeline);
    harness.receive(b"x").pass(4 * SECOND);
    assert_eq!(sent(&mut harness), "o");
    harness.pass(SECOND);
    assert_eq!(sent(&mut harness), "n");
}

/// Closes what does not say `k` in time.
struct Handshake;

impl Stage<char, char> for Handshake {
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<()> {
        cx.deadline(5 * SECOND, CloseReason::HandshakeTimeout);
        cx.deadline(7 * SECOND, CloseReason::Idle);
        Ok(())
    }

    fn on_inbound(&mut self, cx: &mut Cx<'_>, letter: &mut char) -> Result<Flow> {
        match letter {
            'k' => cx.cancel_deadline(CloseReason::HandshakeTimeout),
            'r' => drop(cx.pipeline().remove("handshake")),
            _ => {}
        }
        Ok(Flow::Next)
    }
}

fn handshake() -> Harness<char, char> {
    let pipeline = Pipeline::new(Letters).stage("handshake", Handshake);
    Harness::new(pipeline.handle(|cx, letter| cx.write(letter)))
}

#[test]
fn a_deadline_closes_with_its_reason() {
    let mut harness = handshake();
    harness.receive(b"x").pass(5 * SECOND - NANO);
    assert_eq!(harness.closed(), None);
    harness.pass(NANO);
    assert_eq!(harness.closed(), Some(CloseReason::HandshakeTimeout));
    assert_eq!(sent(&mut harness), "x");
}

#[test]
fn a_deadline_that_is_met_leaves_the_other() {
    let mut harness = handshake();
    harness.receive(b"k").pass(7 * SECOND - NANO);
    assert_eq!(harness.closed(), None);
    harness.pass(NANO);
    assert_eq!(harness.closed(), Some(CloseReason::Idle));
}

#[test]
fn deadlines_go_with_their_stage() {
    let mut harness = handshake();
    harness.receive(b"r").pass(100 * SECOND);
    assert_eq!(harness.closed(), None);
}

/// A handler with a clock of its own.
struct Ticker(Log, u32);

impl Handler<char, char> for Ticker {
    fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<()> {
        cx.timer(SECOND, TimerKey(0));
        Ok(())
    }

    fn on_message(&mut self, _: &mut Cx<'_>, _: char) -> Result<()> {
        Ok(())
    }

    fn on_event(&mut self, cx: &mut Cx<'_>, event: &Event) -> Result<()> {
        assert!(matches!(event, Event::Timer(TimerKey(0))), "{event:?}");
        self.0.note(format!("{:?}", cx.now()));
        self.1 -= 1;
        if self.1 > 0 {
            cx.timer(SECOND, TimerKey(0));
        }
        Ok(())
    }
}

#[test]
fn a_timer_may_arm_itself_again() {
    let log = Log::default();
    let pipeline = Pipeline::new(Letters).handler(Ticker(log.clone(), 3));
    let mut harness = Harness::new(pipeline);
    harness.pass(60 * SECOND);
    assert_eq!(log.take(), "+1s +2s +3s");
    assert_eq!(harness.now().as_nanos(), 60_000_000_000);
}
