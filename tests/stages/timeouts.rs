//! Deadlines that look at what moves.

use netwheel::codec::LengthField;
use netwheel::limits::ConnectionLimits;
use netwheel::stages::{FrameTimeout, ReadTimeout, WriteTimeout};
use netwheel::testing::Harness;
use netwheel::{CloseReason, Pipeline};

use crate::{Log, MILLI, SECOND, Told, Wire};

#[test]
fn a_silent_peer_is_closed_whatever_leaves() {
    let pipeline = Pipeline::raw()
        .stage("timeout", ReadTimeout::after(10 * SECOND))
        .handle(|cx, bytes| cx.write(bytes));
    let mut harness = Harness::new(pipeline);
    let handle = harness.handle();
    for _ in 0..9 {
        handle.try_send("news".into()).expect("room");
        harness.mail().pass(SECOND);
    }
    assert_eq!(harness.closed(), None);
    assert_eq!(harness.pass(SECOND).closed(), Some(CloseReason::Idle));
}

fn framed(after: std::time::Duration) -> Wire {
    let pipeline = Pipeline::new(LengthField::u8())
        .stage("frame", FrameTimeout::after(after))
        .handler(Told(Log::default()));
    Harness::new(pipeline)
}

#[test]
fn a_peer_that_dribbles_a_frame_is_closed_in_time() {
    let mut harness = framed(10 * SECOND);
    harness.pass(33 * SECOND).receive(&[200]);
    for _ in 0..9 {
        harness.pass(SECOND).receive(b"x");
    }
    harness.pass(SECOND - MILLI);
    assert_eq!(harness.closed(), None);
    assert_eq!(
        harness.pass(MILLI).closed(),
        Some(CloseReason::FrameTimeout)
    );
}

#[test]
fn each_frame_has_the_whole_time() {
    let mut harness = framed(10 * SECOND);
    for _ in 0..5 {
        // The end of one and the beginning of the next in one read.
        harness
            .receive(b"\x03a")
            .pass(9 * SECOND)
            .receive(b"bc\x02d")
            .pass(9 * SECOND)
            .receive(b"e");
    }
    assert_eq!(harness.closed(), None);
    harness.pass(1_000 * SECOND);
    assert_eq!(harness.closed(), None, "between frames there is no hurry");
}

#[test]
fn a_pause_of_ours_gives_the_frame_its_time_again() {
    let mut harness = framed(6 * SECOND);
    harness.receive(b"\x07pause 5\x02a").pass(5 * SECOND);
    assert!(!harness.is_paused());
    harness.pass(6 * SECOND - MILLI);
    assert_eq!(harness.closed(), None);
    assert_eq!(
        harness.pass(MILLI).closed(),
        Some(CloseReason::FrameTimeout)
    );
}

fn writing(after: std::time::Duration) -> Wire {
    let mut limits = ConnectionLimits::default();
    limits.write_stall_timeout = 1_000 * SECOND;
    let pipeline = Pipeline::raw()
        .stage("write", WriteTimeout::after(after))
        .handle(|cx, bytes| cx.write(bytes));
    Harness::builder().limits(limits).open(pipeline)
}

#[test]
fn a_message_that_trickles_away_too_slowly_closes() {
    let mut harness = writing(10 * SECOND);
    harness.receive(b"a warm-up").pass(60 * SECOND);
    harness.block().receive(&[1; 100]);
    for _ in 0..9 {
        harness.pass(SECOND).accept_bytes(1);
    }
    harness.pass(SECOND - MILLI);
    assert_eq!(harness.closed(), None);
    assert_eq!(harness.pass(MILLI).closed(), Some(CloseReason::WriteStall));
}

#[test]
fn messages_that_leave_in_time_close_nothing() {
    let mut harness = writing(10 * SECOND);
    for _ in 0..50 {
        harness.block().receive(&[1; 100]);
        harness.pass(9 * SECOND).unblock();
    }
    harness.pass(100 * SECOND);
    assert_eq!(harness.closed(), None);
}

#[test]
fn every_message_of_a_steady_flow_has_its_deadline() {
    // One message a second, each leaving 8 s later: nothing is ever late, and something always waits.
    let mut harness = writing(10 * SECOND);
    harness.block();
    for second in 0..100 {
        harness.receive(&[1; 10]);
        if second >= 8 {
            harness.accept_bytes(10);
        }
        harness.pass(SECOND);
        assert_eq!(harness.closed(), None, "{second}");
    }
    // From now on nothing leaves. The oldest has waited for 8 s by now, and one is followed at least each 2.5 s.
    harness.pass(2 * SECOND - MILLI);
    assert_eq!(harness.closed(), None);
    harness.pass(3 * SECOND);
    assert_eq!(harness.closed(), Some(CloseReason::WriteStall));
}
