//! The order of events, and the ways a message can take.

use netwheel::testing::Harness;
use netwheel::{CloseReason, Event, Flow, Pipeline, Result, Stage};

use crate::{Cx, Letters, Log, Spy, inward, outward, sent};

#[test]
fn open_then_messages_then_close_once() {
    let log = Log::default();
    let pipeline = Pipeline::new(Letters)
        .stage("a", Spy("a", log.clone()))
        .stage("b", Spy("b", log.clone()))
        .handler(Spy("h", log.clone()));
    let mut harness = Harness::new(pipeline);
    assert_eq!(log.take(), "a.open b.open h.open");
    harness.receive(b"xy");
    assert_eq!(
        log.take(),
        "a<x b<x h<x b>X a>X a<y b<y h<y b>Y a>Y",
        "inbound first to last, outbound last to first, one message after the other"
    );
    assert_eq!(sent(&mut harness), "XY");
    harness.receive_eof().reset().shutdown();
    assert_eq!(harness.closed(), Some(CloseReason::PeerClosed));
    assert_eq!(
        log.take(),
        "h.close(peer_closed) b.close(peer_closed) a.close(peer_closed)"
    );
}

#[test]
fn data_and_eof_in_one_read_are_answered_before_the_close() {
    let log = Log::default();
    let pipeline = Pipeline::new(Letters).handler(Spy("h", log.clone()));
    let mut harness = Harness::new(pipeline);
    harness.receive(b"xy").receive_eof();
    assert_eq!(log.take(), "h.open h<x h<y h.close(peer_closed)");
    assert_eq!(sent(&mut harness), "XY");
}

#[test]
fn nothing_is_called_after_the_close() {
    let log = Log::default();
    let pipeline = Pipeline::new(Letters).handler(Spy("h", log.clone()));
    let mut harness = Harness::new(pipeline);
    let handle = harness.handle();
    harness.reset();
    assert_eq!(log.take(), "h.open h.close(reset)");
    assert!(handle.try_send('x').is_err());
    harness
        .receive(b"y")
        .mail()
        .shutdown()
        .pass(netwheel::limits::WRITE_STALL_TIMEOUT);
    assert_eq!(log.take(), "");
    assert_eq!(handle.closed(), Some(CloseReason::Reset));
}

#[test]
fn a_stage_writes_outward_from_its_own_place() {
    let log = Log::default();
    let answer = inward(|cx, letter| {
        cx.write('.')?;
        Ok(if *letter == 's' {
            Flow::Stop
        } else {
            Flow::Next
        })
    });
    let pipeline = Pipeline::new(Letters)
        .stage("a", Spy("a", log.clone()))
        .stage("answer", answer)
        .stage("b", Spy("b", log.clone()))
        .handler(Spy("h", log.clone()));
    let mut harness = Harness::new(pipeline);
    log.take();
    harness.receive(b"xs");
    assert_eq!(log.take(), "a<x a>. b<x h<x b>X a>X a<s a>.");
    assert_eq!(sent(&mut harness), ".X.");
}

#[test]
fn a_message_is_changed_in_place_both_ways() {
    let pipeline = Pipeline::new(Letters)
        .stage(
            "twice",
            outward(|cx, letter| {
                cx.write(*letter)?; // ahead of it, and through the stages further out only
                letter.make_ascii_uppercase();
                Ok(Flow::Next)
            }),
        )
        .stage(
            "next",
            inward(|_, letter| {
                *letter = char::from(u8::try_from(*letter)? + 1);
                Ok(Flow::Next)
            }),
        )
        .handle(|cx, letter| cx.write(letter));
    let mut harness = Harness::new(pipeline);
    harness.receive(b"ab");
    assert_eq!(sent(&mut harness), "bBcC");
}

#[test]
fn an_injected_message_and_a_fired_event_start_behind_their_stage() {
    let log = Log::default();
    let split = inward(|cx, letter| {
        if *letter == 'x' {
            cx.inject('y');
            cx.fire("news");
            cx.inject('z');
        }
        Ok(Flow::Next)
    });
    let pipeline = Pipeline::new(Letters)
        .stage("a", Spy("a", log.clone()))
        .stage("split", split)
        .stage("b", Spy("b", log.clone()))
        .handle({
            let log = log.clone();
            move |_, letter| {
                log.note(format!("h<{letter}"));
                Ok(())
            }
        });
    let mut harness = Harness::new(pipeline);
    log.take();
    harness.receive(b"xw");
    assert_eq!(
        log.take(),
        "a<x b<x h<x b<y h<y b(news) b<z h<z a<w b<w h<w",
        "after the message, in the order asked for, before the next message"
    );
}

/// Keeps whole messages, and lets them out by the pair.
#[derive(Default)]
struct Pairs(Option<char>);

impl Stage<char, char> for Pairs {
    fn on_inbound(&mut self, _: &mut Cx<'_>, _: &mut char) -> Result<Flow> {
        Ok(Flow::Take)
    }

    fn on_taken(&mut self, cx: &mut Cx<'_>, letter: char) -> Result<()> {
        match self.0.take() {
            None => self.0 = Some(letter),
            Some(first) => {
                cx.inject(letter);
                cx.inject(first);
            }
        }
        Ok(())
    }
}

#[test]
fn a_taken_message_is_owned_by_its_stage() {
    let pipeline = Pipeline::new(Letters)
        .stage("pairs", Pairs::default())
        .handle(|cx, letter| cx.write(letter));
    let mut harness = Harness::new(pipeline);
    harness.receive(b"abc");
    assert_eq!(sent(&mut harness), "ba");
    harness.receive(b"d");
    assert_eq!(sent(&mut harness), "dc");
}

#[test]
fn a_stage_swallows_messages_and_events() {
    struct Wall;
    impl Stage<char, char> for Wall {
        fn on_inbound(&mut self, _: &mut Cx<'_>, letter: &mut char) -> Result<Flow> {
            Ok(if *letter == 'i' {
                Flow::Stop
            } else {
                Flow::Next
            })
        }
        fn on_outbound(&mut self, _: &mut Cx<'_>, letter: &mut char) -> Result<Flow> {
            Ok(if *letter == 'O' {
                Flow::Stop
            } else {
                Flow::Next
            })
        }
        fn on_event(&mut self, _: &mut Cx<'_>, event: &Event) -> Result<Flow> {
            Ok(match event.user::<&str>() {
                Some(_) => Flow::Stop,
                None => Flow::Next,
            })
        }
    }
    let log = Log::default();
    let fire = inward(|cx, _| {
        cx.fire("news");
        Ok(Flow::Next)
    });
    let pipeline = Pipeline::new(Letters)
        .stage("fire", fire)
        .stage("wall", Wall)
        .handler(Spy("h", log.clone()));
    let mut harness = Harness::new(pipeline);
    log.take();
    harness.receive(b"ioa");
    assert_eq!(log.take(), "h<o h<a");
    assert_eq!(sent(&mut harness), "A");
    harness.shutdown();
    assert_eq!(log.take(), "h.ShuttingDown h.close(shutdown)");
}

#[test]
fn attributes_are_shared_by_type() {
    let count = inward(|cx, _| {
        match cx.attributes().get_mut::<u32>() {
            Some(count) => *count += 1,
            None => assert!(cx.attributes().insert(1_u32).is_none()),
        }
        Ok(Flow::Next)
    });
    let pipeline = Pipeline::new(Letters)
        .stage("count", count)
        .handle(|cx, _| {
            assert_eq!(cx.attribute::<&str>(), None);
            let count = cx.attribute::<u32>().copied().unwrap();
            if count == 3 {
                assert_eq!(cx.attributes().remove::<u32>(), Some(3));
            }
            cx.write(char::from_digit(count, 10).unwrap())
        });
    let mut harness = Harness::new(pipeline);
    harness.receive(b"abcd");
    assert_eq!(sent(&mut harness), "1231");
}

#[test]
fn a_batch_ends_with_one_read_complete() {
    struct Batch(Log);
    impl netwheel::Handler<char, char> for Batch {
        fn on_message(&mut self, _: &mut Cx<'_>, letter: char) -> Result<()> {
            self.0.note(letter);
            Ok(())
        }
        fn on_read_complete(&mut self, _: &mut Cx<'_>) -> Result<()> {
            self.0.note("|");
            Ok(())
        }
    }
    let log = Log::default();
    let mut harness = Harness::new(Pipeline::new(Letters).handler(Batch(log.clone())));
    harness.receive(b"ab").receive(b"c");
    assert_eq!(log.take(), "a b | c |");
}
