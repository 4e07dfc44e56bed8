//! Edits of the chain while it is walked.

use netwheel::testing::Harness;
use netwheel::{CloseReason, Event, Flow, Pipeline, Result, Stage};

use crate::{Cx, Letters, Log, Spy, inward, outward, sent};

/// Lets `L` in and nothing before it; then gives way to what a logged-in peer has.
struct Login(Log);

impl Stage<char, char> for Login {
    fn on_inbound(&mut self, cx: &mut Cx<'_>, letter: &mut char) -> Result<Flow> {
        if *letter != 'L' {
            cx.close_after_flush(CloseReason::Refused);
            return Ok(Flow::Stop);
        }
        cx.write('l')?;
        cx.pipeline()
            .add_after("login", "beat", Spy("beat", self.0.clone()))
            .add_after("beat", "chat", Spy("chat", self.0.clone()))
            .remove("login");
        Ok(Flow::Stop)
    }

    fn on_removed(&mut self, _: &mut Cx<'_>) {
        self.0.note("login.removed");
    }
}

#[test]
fn a_login_gives_way_in_the_middle_of_a_read() {
    let log = Log::default();
    let pipeline = Pipeline::new(Letters)
        .stage("login", Login(log.clone()))
        .handler(Spy("h", log.clone()));
    let mut harness = Harness::new(pipeline);
    log.take();
    harness.receive(b"Lcd");
    assert_eq!(sent(&mut harness), "lCD");
    assert_eq!(
        log.take(),
        "beat.open chat.open login.removed \
         beat<c chat<c h<c chat>C beat>C beat<d chat<d h<d chat>D beat>D",
        "the rest of the read goes through the new chain"
    );
}

#[test]
fn a_refused_login_hears_no_more() {
    let log = Log::default();
    let pipeline = Pipeline::new(Letters)
        .stage("login", Login(log.clone()))
        .handler(Spy("h", log.clone()));
    let mut harness = Harness::new(pipeline);
    harness.receive(b"cLd");
    assert_eq!(harness.closed(), Some(CloseReason::Refused));
    assert_eq!(log.take(), "h.open h.close(refused)");
}

#[test]
fn edits_put_stages_where_they_say() {
    let log = Log::default();
    let spy = {
        let log = log.clone();
        move |name| Spy(name, log.clone())
    };
    let edit = inward({
        let spy = spy.clone();
        move |cx, letter| {
            match letter {
                '1' => cx
                    .pipeline()
                    .add_first("f", spy("f"))
                    .add_last("l", spy("l")),
                '2' => cx
                    .pipeline()
                    .add_before("m", "b", spy("b"))
                    .add_after("m", "a", spy("a")),
                '3' => cx.pipeline().replace("m", "n", spy("n")),
                '4' => cx.pipeline().remove("b").remove("nobody"),
                // Names are unique: the one that is there gives way to the new one, in its place.
                '5' => cx.pipeline().add_first("a", spy("a2")),
                _ => &mut cx.pipeline(),
            };
            Ok(Flow::Next)
        }
    });
    let pipeline = Pipeline::new(Letters)
        .stage("edit", edit)
        .stage("m", spy("m"))
        .handle(|_, _| Ok(()));
    let mut harness = Harness::new(pipeline);
    let mut walk = |edit: &[u8]| {
        harness.receive(edit);
        log.take();
        harness.receive(b".");
        log.take()
    };
    assert_eq!(walk(b"1"), "f<. m<. l<.");
    assert_eq!(walk(b"2"), "f<. b<. m<. a<. l<.");
    assert_eq!(walk(b"3"), "f<. b<. n<. a<. l<.");
    assert_eq!(walk(b"4"), "f<. n<. a<. l<.");
    assert_eq!(walk(b"5"), "f<. n<. a2<. l<.");
}

#[test]
fn every_stage_ends_once_removed_or_closed() {
    let log = Log::default();
    let edit = inward({
        let log = log.clone();
        move |cx, letter| {
            let mut edits = cx.pipeline();
            match letter {
                'r' => edits.remove("s"),
                'p' => edits.replace("s", "s", Spy("t", log.clone())),
                _ => &mut edits,
            };
            Ok(Flow::Stop)
        }
    });
    let pipeline = Pipeline::new(Letters)
        .stage("edit", edit)
        .stage("s", Spy("s", log.clone()))
        .handle(|_, _| Ok(()));
    let mut harness = Harness::new(pipeline);
    harness.receive(b"prr").receive_eof();
    assert_eq!(log.take(), "s.open s.removed t.open t.removed");
}

#[test]
fn a_stage_edits_from_every_callback() {
    struct Busy(Log);
    impl Busy {
        fn edit(&self, cx: &mut Cx<'_>, name: &'static str) {
            cx.pipeline().add_last(name, Spy(name, self.0.clone()));
        }
    }
    impl Stage<char, char> for Busy {
        fn on_open(&mut self, cx: &mut Cx<'_>) -> Result<()> {
            self.edit(cx, "o");
            Ok(())
        }
        fn on_outbound(&mut self, cx: &mut Cx<'_>, _: &mut char) -> Result<Flow> {
            self.edit(cx, "w");
            Ok(Flow::Next)
        }
        fn on_event(&mut self, cx: &mut Cx<'_>, event: &Event) -> Result<Flow> {
            if event.user::<&str>().is_some() {
                cx.pipeline().remove("w");
                cx.inject('z');
            }
            Ok(Flow::Next)
        }
        fn on_removed(&mut self, cx: &mut Cx<'_>) {
            self.edit(cx, "r");
        }
    }
    let log = Log::default();
    let pipeline = Pipeline::new(Letters)
        .stage(
            "control",
            inward(|cx, letter| {
                match letter {
                    'e' => cx.fire("news"),
                    'r' => drop(cx.pipeline().remove("busy")),
                    _ => {}
                }
                Ok(Flow::Next)
            }),
        )
        .stage("busy", Busy(log.clone()))
        .handle(|cx, letter| cx.write(letter));
    let mut harness = Harness::new(pipeline);
    assert_eq!(log.take(), "o.open");
    harness.receive(b"a");
    assert_eq!(log.take(), "o<a o>a w.open");
    harness.receive(b"e");
    assert_eq!(
        log.take(),
        "o<e w<e w>e o>e o(news) w(news) w.removed w.open w.removed o<z o>z w.open",
        "edits, events and messages one after the other, as they were asked for"
    );
    harness.receive(b"r");
    assert_eq!(log.take(), "o<r w<r w>r o>r w.removed w.open r.open");
}

#[test]
fn edits_at_the_end_change_nothing() {
    struct Late(Log);
    impl Stage<char, char> for Late {
        fn on_close(&mut self, cx: &mut Cx<'_>, _: CloseReason) {
            cx.pipeline().add_last("s", Spy("s", self.0.clone()));
            assert!(cx.write('x').is_err());
        }
    }
    let log = Log::default();
    let pipeline = Pipeline::new(Letters)
        .stage("late", Late(log.clone()))
        .stage("out", outward(|_, _| unreachable!("nothing is written")))
        .handle(|_, _| Ok(()));
    let mut harness = Harness::new(pipeline);
    harness.receive_eof();
    assert_eq!(harness.closed(), Some(CloseReason::PeerClosed));
    assert_eq!(log.take(), "");
    assert_eq!(sent(&mut harness), "");
}
