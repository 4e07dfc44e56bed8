//! The deadlines that every connection has without asking: of a frame, and of a peer that reads slowly.

use std::time::Duration;

use bytes::Bytes;
use netwheel::codec::LengthField;
use netwheel::limits::{ConnectionLimits, FRAME_TIMEOUT, OUTPUT_BYTES_MAX, SLOW_READER_TIMEOUT};
use netwheel::testing::Harness;
use netwheel::{CloseReason, Pipeline};

const SECOND: Duration = Duration::from_secs(1);
const MILLI: Duration = Duration::from_millis(1);

type Wire = Harness<Bytes, Bytes>;

fn framed() -> Wire {
    Harness::new(Pipeline::new(LengthField::u8()).handle(|cx, frame| cx.write(frame)))
}

#[test]
fn a_frame_that_dribbles_is_cut_off_at_its_deadline() {
    let mut harness = framed();
    harness.pass(1_000 * SECOND).receive(b"\xffa");
    for _ in 0..29 {
        harness.pass(SECOND).receive(b"b");
    }
    harness.pass(SECOND - MILLI);
    assert_eq!(harness.closed(), None);
    harness.pass(MILLI);
    assert_eq!(harness.closed(), Some(CloseReason::FrameTimeout));
}

#[test]
fn frames_that_each_end_in_time_are_never_cut_off_however_they_overlap_the_reads() {
    let mut harness = framed();
    for _ in 0..100 {
        // The end of one and the beginning of the next come together.
        harness.receive(b"\x03a").pass(FRAME_TIMEOUT - MILLI);
        harness.receive(b"bc\x02d").pass(FRAME_TIMEOUT - MILLI);
        harness.receive(b"e");
        assert_eq!(harness.closed(), None);
    }
    harness.pass(1_000 * SECOND);
    assert_eq!(harness.closed(), None, "between frames there is no hurry");
}

#[test]
fn many_frames_in_a_period_arm_one_timer() {
    let mut harness = framed();
    harness.receive(b"\x02a");
    for _ in 0..1_000 {
        harness.receive(b"b\x02a").pass(MILLI);
    }
    harness.receive(b"b").pass(FRAME_TIMEOUT);
    assert_eq!(harness.closed(), None);
    assert_eq!(harness.sent().len(), 3 * 1_001);
}

#[test]
fn a_pause_of_ours_gives_the_frame_its_time_again() {
    let mut harness = framed();
    // The echo fills the output, so that our side stops reading in the middle of a frame.
    let frame = [&[255][..], &[1; 255]].concat();
    harness.block();
    harness.receive(&[&frame.repeat(300)[..], b"\x05ab"].concat());
    assert!(harness.is_paused());
    harness
        .pass(9 * SECOND)
        .accept_bytes(20_000)
        .pass(9 * SECOND);
    harness.unblock();
    assert!(!harness.is_paused());
    harness.pass(FRAME_TIMEOUT - MILLI);
    assert_eq!(harness.closed(), None);
    harness.pass(MILLI);
    assert_eq!(harness.closed(), Some(CloseReason::FrameTimeout));
}

#[test]
fn a_frame_that_was_cut_off_by_a_fin_leaves_the_answers_their_time() {
    let mut limits = ConnectionLimits::default();
    limits.write_stall_timeout = Duration::MAX;
    let pipeline = Pipeline::new(LengthField::u8()).handle(|cx, frame| cx.write(frame));
    let mut harness = Harness::builder().limits(limits).open(pipeline);
    harness.block().receive(b"\x01a\x09b").receive_eof();
    harness.pass(2 * FRAME_TIMEOUT);
    assert_eq!(harness.closed(), None, "an answer waits");
    harness.unblock();
    assert_eq!(harness.sent(), b"\x01a");
    assert_eq!(harness.closed(), Some(CloseReason::PeerClosed));
}

#[test]
fn raw_bytes_have_no_frames_and_no_deadline() {
    let mut harness = Harness::new(Pipeline::raw().handle(|cx, bytes| cx.write(bytes)));
    harness.receive(b"a").pass(1_000 * SECOND);
    assert_eq!(harness.closed(), None);
}

/// Sends whatever it is sent, without a pause of its own.
fn sending() -> Wire {
    let pipeline = Pipeline::raw().handle(|cx, bytes: Bytes| cx.write(bytes));
    Harness::builder().auto_pause(false).open(pipeline)
}

#[test]
fn a_reader_that_takes_a_byte_now_and_then_is_cut_off() {
    let mut harness = sending();
    harness.block().receive(&[1; 200_000]);
    let mut passed = Duration::ZERO;
    while harness.closed().is_none() {
        harness.pass(SECOND).accept_bytes(10);
        passed += SECOND;
        assert!(passed <= SLOW_READER_TIMEOUT, "late");
    }
    assert_eq!(passed, SLOW_READER_TIMEOUT);
    assert_eq!(harness.closed(), Some(CloseReason::WriteStall));
}

#[test]
fn a_reader_that_takes_its_share_is_served_to_the_end() {
    const MESSAGE: usize = 20 << 20;
    let mut harness = sending();
    harness.block().receive(&vec![1; MESSAGE]);
    let share = OUTPUT_BYTES_MAX / 50;
    let mut sent = 0;
    while sent < MESSAGE {
        harness.pass(SECOND).accept_bytes(share);
        sent += harness.sent().len();
        assert_eq!(harness.closed(), None, "{sent}");
    }
    harness.pass(1_000 * SECOND);
    assert_eq!(harness.closed(), None);
}

#[test]
fn a_reader_that_catches_up_begins_anew() {
    let mut harness = sending();
    for _ in 0..5 {
        harness.block().receive(&[1; 100_000]);
        for _ in 0..SLOW_READER_TIMEOUT.as_secs() - 1 {
            harness.pass(SECOND).accept_bytes(10);
        }
        harness.unblock();
        assert_eq!(harness.closed(), None);
    }
}
