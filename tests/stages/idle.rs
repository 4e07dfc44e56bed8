//! Silence is told once a period, by bytes, and never early.

use netwheel::testing::Harness;
use netwheel::{CloseReason, Pipeline, stages::Idle};

use crate::{Log, MILLI, SECOND, Told, Wire};

fn watched(idle: Idle) -> (Wire, Log) {
    let log = Log::default();
    let pipeline = Pipeline::raw()
        .stage("idle", idle)
        .handler(Told(log.clone()));
    let harness = Harness::new(pipeline);
    assert_eq!(log.take(), "open");
    (harness, log)
}

#[test]
fn an_event_comes_each_period_of_silence_and_never_early() {
    let (mut harness, log) = watched(Idle::new().read(10 * SECOND));
    harness.pass(10 * SECOND - MILLI);
    assert_eq!(log.take(), "");
    harness.pass(MILLI);
    assert_eq!(log.take(), "Read*1");
    harness.pass(25 * SECOND);
    assert_eq!(log.take(), "Read*2 Read*3");
    harness.receive(b"x").pass(10 * SECOND - MILLI);
    assert_eq!(log.take(), "", "a byte begins it anew");
    harness.pass(MILLI);
    assert_eq!(log.take(), "Read*1");
}

#[test]
fn a_byte_moves_the_event_to_a_period_behind_it() {
    let (mut harness, log) = watched(Idle::new().read(10 * SECOND));
    harness
        .pass(7 * SECOND)
        .receive(b"x")
        .pass(10 * SECOND - MILLI);
    assert_eq!(log.take(), "");
    harness.pass(MILLI);
    assert_eq!(log.take(), "Read*1");
}

#[test]
fn a_byte_in_the_very_moment_of_an_event_begins_it_anew() {
    let (mut harness, log) = watched(Idle::new().read(10 * SECOND).both(4 * SECOND));
    harness.pass(20 * SECOND);
    assert!(log.take().ends_with("Read*2 Both*5"));
    for _ in 0..3 {
        harness.receive(b"pause 0").pass(10 * SECOND);
        assert_eq!(log.take(), "Both*1 Both*2 Read*1");
    }
}

#[test]
fn each_silence_has_its_own_period() {
    let (mut harness, log) = watched(
        Idle::new()
            .read(5 * SECOND)
            .write(3 * SECOND)
            .both(4 * SECOND),
    );
    harness.pass(6 * SECOND);
    assert_eq!(log.take(), "Write*1 Both*1 Read*1 Write*2");
    harness.receive(b"echo").pass(3 * SECOND);
    assert_eq!(log.take(), "Write*1");
}

#[test]
fn a_large_send_that_leaves_slowly_is_no_silence() {
    let (mut harness, log) = watched(Idle::new().write(3 * SECOND).both(3 * SECOND));
    harness.block().receive(&[7; 60_000]);
    for _ in 0..20 {
        harness.pass(2 * SECOND).accept_bytes(1_000);
    }
    assert_eq!(log.take(), "", "bytes left all the time");
    harness.pass(3 * SECOND);
    assert_eq!(log.take(), "Write*1 Both*1", "and then no more");
}

#[test]
fn our_own_pause_is_not_the_peers_silence() {
    let (mut harness, log) = watched(Idle::new().read(3 * SECOND));
    harness.receive(b"pause 5").pass(5 * SECOND);
    assert!(!harness.is_paused());
    assert_eq!(log.take(), "", "nobody listened");
    harness.pass(3 * SECOND - MILLI);
    assert_eq!(log.take(), "", "it begins when the pause ends");
    harness.pass(MILLI);
    assert_eq!(log.take(), "Read*1");
}

#[test]
fn a_paused_connection_is_never_read_idle() {
    let (mut harness, log) = watched(Idle::new().read(SECOND));
    harness.receive(b"pause").pass(60 * SECOND);
    assert_eq!(log.take(), "");
}

#[test]
fn it_closes_where_it_is_told_to() {
    let (mut harness, log) = watched(Idle::close_after(60 * SECOND));
    harness
        .pass(59 * SECOND)
        .receive(b"x")
        .pass(60 * SECOND - MILLI);
    assert_eq!(harness.closed(), None);
    assert_eq!(harness.pass(MILLI).closed(), Some(CloseReason::Idle));
    assert_eq!(log.take(), "idle");
}

#[test]
fn a_silence_of_many_periods_is_told_no_more_and_does_not_spin() {
    let (mut harness, log) = watched(Idle::new().read(MILLI));
    harness.pass(MILLI * 65_535);
    assert!(log.take().ends_with("Read*65535"));
    harness.pass(MILLI * 1_000).receive(b"x").pass(MILLI * 2);
    assert_eq!(log.take(), "Read*1 Read*2");
}

#[test]
fn a_stage_that_watches_nothing_does_nothing() {
    let (mut harness, log) = watched(Idle::new().close());
    harness.pass(10_000 * SECOND);
    assert_eq!((harness.closed(), log.take().as_str()), (None, ""));
}

#[test]
fn it_may_come_and_go_while_the_connection_lives() {
    let log = Log::default();
    let pipeline = Pipeline::raw()
        .stage("switch", Switch)
        .handler(Told(log.clone()));
    let mut harness = Harness::new(pipeline);
    harness.pass(30 * SECOND).receive(b"on").pass(2 * SECOND);
    assert_eq!(
        log.take(),
        "open Read*1 Read*2",
        "what was silent before counts from the last byte"
    );
    harness.receive(b"off").pass(30 * SECOND);
    assert_eq!(log.take(), "", "its timer went with it");
}

struct Switch;

impl netwheel::Stage<bytes::Bytes, bytes::Bytes> for Switch {
    fn on_inbound(
        &mut self,
        cx: &mut crate::Cx<'_>,
        message: &mut bytes::Bytes,
    ) -> netwheel::Result<netwheel::Flow> {
        match &message[..] {
            b"on" => drop(
                cx.pipeline()
                    .add_after("switch", "idle", Idle::new().read(SECOND)),
            ),
            _ => drop(cx.pipeline().remove("idle")),
        }
        Ok(netwheel::Flow::Stop)
    }
}
