//! One pipeline takes over from another in the middle of a stream.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use netwheel::codec::LengthField;
use netwheel::testing::Harness;
use netwheel::{
    CloseReason, ConnectionHandle, Context, Event, Handler, Pipeline, Result, Stage, TimerKey,
};

use crate::{Letters, Log, Spy, sent};

/// Echoes frames; `up` takes the connection over to letters.
fn framed(log: &Log) -> Pipeline<Bytes, Bytes> {
    let log = log.clone();
    Pipeline::new(LengthField::u8()).handle(move |cx, frame| {
        cx.write(frame.clone())?;
        if frame == "up" {
            cx.upgrade(Pipeline::new(Letters).handler(Spy("h", log.clone())));
            cx.write("ok".into())?; // still in the old encoding
        }
        Ok(())
    })
}

#[test]
fn the_stream_may_be_cut_at_every_position() {
    let stream = b"\x02hi\x02upxyz";
    for first in 0..=stream.len() {
        for second in first..=stream.len() {
            let log = Log::default();
            let mut harness = Harness::new(framed(&log));
            harness
                .receive(&stream[..first])
                .receive(&stream[first..second])
                .receive(&stream[second..])
                .receive_eof();
            assert_eq!(sent(&mut harness), "\x02hi\x02up\x02okXYZ");
            assert_eq!(log.take(), "h.open h<x h<y h<z h.close(peer_closed)");
            assert_eq!(harness.closed(), Some(CloseReason::PeerClosed));
        }
    }
}

#[test]
fn an_upgrade_of_an_upgrade_decodes_on() {
    fn frames(left: u32) -> Pipeline<Bytes, Bytes> {
        Pipeline::new(LengthField::u8()).handle(move |cx, frame| {
            cx.write(frame)?;
            match left {
                0 => cx.upgrade(Pipeline::new(Letters).handle(|cx, letter| cx.write(letter))),
                _ => cx.upgrade(frames(left - 1)),
            }
            Ok(())
        })
    }
    let mut harness = Harness::new(frames(3));
    harness.receive(b"\x01a\x01b\x01c\x01dxyz");
    assert_eq!(sent(&mut harness), "\x01a\x01b\x01c\x01dxyz");
}

#[derive(Default)]
struct Kept {
    handle: Option<ConnectionHandle<Bytes>>,
}

#[test]
fn old_handles_end_and_what_they_had_sent_goes_first() {
    let kept = Rc::new(RefCell::new(Kept::default()));
    let keep = Rc::clone(&kept);
    let pipeline = Pipeline::new(LengthField::u8()).handle(move |cx, _frame| {
        let handle = cx.handle();
        handle.try_send("sent".into())?;
        cx.upgrade(Pipeline::new(Letters).handle(|cx, letter| {
            let handle = cx.handle();
            handle.try_send(letter)?;
            Ok(())
        }));
        keep.borrow_mut().handle = Some(handle);
        Ok(())
    });
    let mut harness = Harness::new(pipeline);
    harness.receive(b"\0xy");
    let old = kept.borrow_mut().handle.take().unwrap();
    assert!(matches!(old.closed(), Some(CloseReason::Local)));
    assert!(old.try_send("late".into()).is_err());
    assert_eq!(harness.mail().closed(), None);
    assert_eq!(sent(&mut harness), "\x04sentxy");
}

/// Arms a timer and notes what becomes of it.
struct Timed(Log);

impl<In: 'static, Out: 'static> Stage<In, Out> for Timed {
    fn on_open(&mut self, cx: &mut Context<'_, In, Out>) -> Result<()> {
        cx.timer(Duration::from_secs(1), TimerKey(7));
        cx.deadline(Duration::from_secs(2), CloseReason::Idle);
        Ok(())
    }

    fn on_event(&mut self, _: &mut Context<'_, In, Out>, event: &Event) -> Result<netwheel::Flow> {
        self.0.note(format!("{event:?}"));
        Ok(netwheel::Flow::Next)
    }

    fn on_removed(&mut self, _: &mut Context<'_, In, Out>) {
        self.0.note("removed");
    }

    fn on_close(&mut self, _: &mut Context<'_, In, Out>, _: CloseReason) {
        self.0.note("closed");
    }
}

/// Upgrades at the first frame, and arms a timer of its own before.
struct Up;

impl Handler<Bytes, Bytes> for Up {
    fn on_message(&mut self, cx: &mut Context<'_, Bytes, Bytes>, _: Bytes) -> Result<()> {
        cx.deadline(Duration::from_secs(3), CloseReason::HandshakeTimeout);
        cx.upgrade(Pipeline::new(Letters).handle(|cx, letter| cx.write(letter)));
        Ok(())
    }
}

#[test]
fn the_old_pipeline_goes_with_its_timers() {
    let log = Log::default();
    let pipeline = Pipeline::new(LengthField::u8())
        .stage("timed", Timed(log.clone()))
        .handler(Up);
    let mut harness = Harness::new(pipeline);
    harness.receive(b"\0");
    assert_eq!(log.take(), "removed");
    harness.pass(Duration::from_secs(10)).receive(b"x");
    assert_eq!(harness.closed(), None);
    assert_eq!(log.take(), "");
    assert_eq!(sent(&mut harness), "x");
}

#[test]
fn a_new_pipeline_that_fails_to_open_ends_the_connection() {
    struct Never;
    impl Stage<char, char> for Never {
        fn on_open(&mut self, _: &mut crate::Cx<'_>) -> Result<()> {
            Err(netwheel::Failure::new(CloseReason::Duplicate))
        }
    }
    let log = Log::default();
    let inner = log.clone();
    let pipeline = Pipeline::new(LengthField::u8()).handle(move |cx, _frame| {
        let next = Pipeline::new(Letters).stage("never", Never);
        cx.upgrade(next.handler(Spy("h", inner.clone())));
        Ok(())
    });
    let mut harness = Harness::new(pipeline);
    harness.receive(b"\0xyz");
    assert_eq!(harness.closed(), Some(CloseReason::Duplicate));
    assert_eq!(log.take(), "h.close(duplicate)", "nothing was delivered");
}
