//! How connections end: half-closed, failed, panicked, shut down.

use std::cell::Cell;
use std::rc::Rc;

use netwheel::codec::LengthField;
use netwheel::testing::Harness;
use netwheel::{CloseReason, Event, Failure, Flow, Handler, Pipeline, Result, Stage};

use crate::{Cx, Letters, Log, Spy, inward, outward, sent};

#[test]
fn a_half_open_connection_is_told_and_writes_on() {
    let log = Log::default();
    let pipeline = Pipeline::new(Letters).handler(Spy("h", log.clone()));
    let mut harness = Harness::builder().half_open(true).open(pipeline);
    harness.receive(b"x").receive_eof();
    assert_eq!(log.take(), "h.open h<x h.ReadClosed");
    let handle = harness.handle();
    handle.try_send('y').unwrap();
    harness.mail();
    assert_eq!((sent(&mut harness), harness.closed()), ("Xy".into(), None));
    handle.close_after_flush();
    harness.mail();
    assert_eq!(harness.closed(), Some(CloseReason::Local));
    assert_eq!(log.take(), "h.close(local)");
}

#[test]
fn a_frame_that_eof_cuts_off_is_not_delivered() {
    let pipeline = Pipeline::new(LengthField::u8()).handle(|cx, frame| cx.write(frame));
    let mut harness = Harness::new(pipeline);
    harness.receive(b"\x02hi\x05cut").receive_eof();
    assert_eq!(harness.sent(), b"\x02hi");
    assert_eq!(harness.closed(), Some(CloseReason::PeerClosed));
}

#[test]
fn a_shutdown_answers_what_was_read() {
    let log = Log::default();
    let pipeline = Pipeline::new(Letters)
        .stage("a", Spy("a", log.clone()))
        .handler(Spy("h", log.clone()));
    let mut harness = Harness::new(pipeline);
    harness.block().receive(b"x").shutdown();
    assert_eq!(harness.closing(), Some(CloseReason::Shutdown));
    harness.receive(b"y").unblock();
    assert_eq!(harness.closed(), Some(CloseReason::Shutdown));
    assert_eq!(sent(&mut harness), "X");
    assert_eq!(
        log.take(),
        "a.open h.open a<x h<x a>X a.ShuttingDown h.ShuttingDown \
         h.close(shutdown) a.close(shutdown)"
    );
}

#[test]
fn a_handler_says_goodbye_at_shutdown() {
    struct Polite;
    impl Handler<char, char> for Polite {
        fn on_message(&mut self, _: &mut Cx<'_>, _: char) -> Result<()> {
            Ok(())
        }
        fn on_event(&mut self, cx: &mut Cx<'_>, event: &Event) -> Result<()> {
            match event {
                Event::ShuttingDown => cx.write('b'),
                _ => Ok(()),
            }
        }
    }
    let mut harness = Harness::new(Pipeline::new(Letters).handler(Polite));
    harness.shutdown().shutdown();
    assert_eq!(sent(&mut harness), "b");
    assert_eq!(harness.closed(), Some(CloseReason::Shutdown));
}

#[test]
fn a_failure_closes_with_its_reason_after_what_was_answered() {
    let log = Log::default();
    let noted = log.clone();
    let fail = inward(|_, letter| match letter {
        'f' => Err(Failure::new(CloseReason::Duplicate)),
        _ => Ok(Flow::Next),
    });
    let pipeline = Pipeline::new(Letters)
        .stage("fail", fail)
        .handler(Spy("h", noted));
    let mut harness = Harness::new(pipeline);
    harness.receive(b"xfy");
    assert_eq!(sent(&mut harness), "X");
    assert_eq!(harness.closed(), Some(CloseReason::Duplicate));
    assert_eq!(log.take(), "h.open h<x h.close(duplicate)");
}

#[test]
fn an_error_of_the_standard_library_closes_by_the_question_mark() {
    let pipeline = Pipeline::new(Letters).handle(|_, letter| {
        letter.to_string().parse::<u32>()?;
        Ok(())
    });
    let mut harness = Harness::new(pipeline);
    harness.receive(b"12");
    assert_eq!(harness.closed(), None);
    harness.receive(b"x");
    assert_eq!(harness.closed(), Some(CloseReason::IoError));
}

#[test]
fn bytes_that_break_the_protocol_close_with_that_reason() {
    let log = Log::default();
    let mut harness = Harness::new(Pipeline::new(Letters).handler(Spy("h", log.clone())));
    harness.receive(b"x!y");
    assert_eq!(sent(&mut harness), "X");
    assert_eq!(harness.closed(), Some(CloseReason::ProtocolError));
    assert_eq!(harness.stats().decode_errors, 1);
    assert_eq!(log.take(), "h.open h<x h.close(protocol_error)");
}

#[test]
fn a_message_that_cannot_be_encoded_leaves_nothing_behind() {
    let mut harness = Harness::new(Pipeline::new(Letters).handle(|cx, letter| {
        cx.write(letter)?;
        match cx.write('!') {
            Err(failure) if failure.reason() == CloseReason::ProtocolError => Ok(()),
            other => panic!("{other:?}"),
        }
    }));
    harness.receive(b"x").receive(b"y");
    assert_eq!(
        sent(&mut harness),
        "xy",
        "an error that is dealt with closes nothing"
    );
    let handle = harness.handle();
    handle.try_send('!').unwrap();
    harness.mail();
    assert_eq!(harness.closed(), Some(CloseReason::ProtocolError));
}

#[test]
fn a_stage_that_fails_to_open_ends_what_has_not_begun() {
    struct Never;
    impl Stage<char, char> for Never {
        fn on_open(&mut self, _: &mut Cx<'_>) -> Result<()> {
            Err(Failure::new(CloseReason::Refused))
        }
    }
    let log = Log::default();
    let pipeline = Pipeline::new(Letters)
        .stage("never", Never)
        .handler(Spy("h", log.clone()));
    let mut harness = Harness::new(pipeline);
    harness.receive(b"x");
    assert_eq!(harness.closed(), Some(CloseReason::Refused));
    assert_eq!(log.take(), "h.close(refused)");
}

/// Counts its drops; optionally panics in them.
struct Droplet(Rc<Cell<u32>>, bool);

impl Drop for Droplet {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
        assert!(!self.1, "a destructor panics");
    }
}

impl Stage<char, char> for Droplet {}

#[test]
fn a_panic_costs_the_connection_and_nothing_is_called_again() {
    let log = Log::default();
    let drops = Rc::new(Cell::new(0));
    let pipeline = Pipeline::new(Letters)
        .stage("droplet", Droplet(Rc::clone(&drops), false))
        .stage("a", Spy("a", log.clone()))
        .handle(|cx, letter| {
            assert_ne!(letter, 'p', "a handler panics");
            cx.write(letter)
        });
    let mut harness = Harness::new(pipeline);
    let handle = harness.handle();
    handle.try_send('h').unwrap();
    harness.receive(b"xpy");
    assert_eq!(harness.closed(), Some(CloseReason::Panic));
    assert_eq!(handle.closed(), Some(CloseReason::Panic));
    assert_eq!(harness.stats().panics, 1);
    assert_eq!(log.take(), "a.open a<x a<p", "not even on_close");
    assert_eq!(drops.get(), 1);
    harness.receive(b"z").shutdown().mail();
    assert_eq!(log.take(), "");
}

#[test]
fn panics_at_the_end_are_caught_too() {
    struct Sore;
    impl Stage<char, char> for Sore {
        fn on_close(&mut self, _: &mut Cx<'_>, _: CloseReason) {
            panic!("at the close");
        }
    }
    let drops = Rc::new(Cell::new(0));
    let pipeline = Pipeline::new(Letters)
        .stage("droplet", Droplet(Rc::clone(&drops), true))
        .stage("sore", Sore)
        .handle(|_, _| Ok(()));
    let mut harness = Harness::new(pipeline);
    harness.receive_eof();
    assert_eq!(harness.closed(), Some(CloseReason::PeerClosed));
    assert_eq!((harness.stats().panics, drops.get()), (2, 1));
}

#[test]
fn a_panic_on_the_way_out_is_a_panic() {
    let panics = outward(|_, letter| {
        assert_ne!(*letter, 'p', "a stage panics");
        Ok(Flow::Next)
    });
    let pipeline = Pipeline::new(Letters)
        .stage("panics", panics)
        .handle(|_, _| Ok(()));
    let mut harness = Harness::new(pipeline);
    let handle = harness.handle();
    for letter in ['a', 'p', 'b'] {
        handle.try_send(letter).unwrap();
    }
    harness.mail();
    assert_eq!(harness.closed(), Some(CloseReason::Panic));
}

#[test]
fn a_close_in_a_callback_holds_once_it_returns() {
    let log = Log::default();
    let noted = log.clone();
    let pipeline = Pipeline::new(Letters)
        .stage("a", Spy("a", log.clone()))
        .handle(move |cx, letter| {
            cx.write(letter)?;
            match letter {
                'c' => cx.close(CloseReason::Local),
                'f' => cx.close_after_flush(CloseReason::Duplicate),
                _ => return Ok(()),
            }
            assert!(cx.write('x').is_err(), "nothing more is written");
            noted.note("returned");
            Ok(())
        });
    let mut harness = Harness::new(pipeline);
    harness.receive(b"afb");
    assert_eq!(sent(&mut harness), "af");
    assert_eq!(harness.closed(), Some(CloseReason::Duplicate));
    assert_eq!(
        log.take(),
        "a.open a<a a>a a<f a>f returned a.close(duplicate)"
    );
}
