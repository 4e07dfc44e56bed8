//! Framings and bodies in a connection: what a peer gets back, and what ends it.
#![allow(missing_docs, clippy::unwrap_used, reason = "a test")]

use netwheel::codec::{
    Delimiter, FixedLength, FrameErrorKind, Lines, OnFrameError, Utf8, Varint32,
};
use netwheel::testing::Harness;
use netwheel::{CloseReason, Codec, Framing, Pipeline};

/// Sends every message back.
fn echo<C: Codec<Out = <C as Codec>::In>>(codec: C) -> Harness<C::In, C::In> {
    Harness::new(Pipeline::new(codec).handle(|cx, message| cx.write(message)))
}

#[test]
fn records_come_back_whole_and_the_rest_waits() {
    let mut connection = echo(FixedLength::new(5));
    connection.receive(b"aaaaabbbbb").receive(b"ccccccc");
    assert_eq!(connection.sent(), b"aaaaabbbbbccccc");
    assert_eq!(connection.receive(b"ddd").sent(), b"ccddd");
}

#[test]
fn a_short_record_is_filled_up() {
    let records = FixedLength::new(200).pad_with(b' ').then(Utf8::new());
    let pipeline = Pipeline::new(records).handle(|cx, _| cx.write("abc".to_owned()));
    let mut connection = Harness::new(pipeline);
    let answer = connection.receive(&[b'?'; 200]).sent();
    assert_eq!(answer, format!("abc{}", " ".repeat(197)).as_bytes());
}

#[test]
fn a_delimiter_in_two_reads_ends_a_frame_and_none_in_too_many_bytes_ends_the_connection() {
    let mut connection = echo(Delimiter::new("$_").frame_bytes_max(1024));
    connection.receive(b"bbbb$").receive(b"_cccc$_");
    assert_eq!(connection.sent(), b"bbbb$_cccc$_");
    assert_eq!(connection.receive(&[b'x'; 1024]).closed(), None);
    assert_eq!(
        connection.receive(b"x").closed(),
        Some(CloseReason::OverLimit)
    );
}

#[test]
fn bad_frames_that_are_passed_over_are_counted() {
    let lines = Lines::new().frame_bytes_max(8);
    let mut connection = echo(lines.on_error(OnFrameError::Skip));
    connection
        .receive(b"GET / HTTP/1.1\r\n")
        .receive(b"\nfine\n");
    assert_eq!(connection.sent(), b"\nfine\n");
    assert_eq!(connection.stats().decode_errors, 1);
    assert_eq!(connection.closed(), None);
}

#[test]
fn text_that_is_none_breaks_the_protocol() {
    let mut connection = echo(Varint32::new().then(Utf8::new()));
    assert_eq!(connection.receive(b"\x02hi").sent(), b"\x02hi");
    let closed = connection.receive(b"\x01\xFF").closed();
    assert_eq!(closed, Some(CloseReason::ProtocolError));
}

#[test]
fn an_answer_that_would_arrive_as_two_is_not_sent() {
    let pipeline = Pipeline::new(Lines::new()).handle(|cx, _| {
        let failure = cx.write("one\ntwo".into()).expect_err("it is two lines");
        let error = failure.cause().unwrap().to_string();
        let kind = FrameErrorKind::Malformed("a line that holds an end of line");
        assert_eq!(error, kind.to_string());
        cx.write("one".into())
    });
    let mut connection = Harness::new(pipeline);
    assert_eq!(connection.receive(b"?\n").sent(), b"one\n");
}
