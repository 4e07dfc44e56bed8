//! Layouts, limits and errors by example, those of Netty's own tests among them.

use std::io::IoSlice;

use bytes::BytesMut;

use super::*;
use crate::codec::Codec;
use crate::codec::law::{
    Found::{Bad, Message},
    Recorder, receive,
};
use crate::error::CloseReason;

/// What an encoder makes of `message`, or the reason why it does not.
fn encoded(framing: &LengthField, message: &'static [u8]) -> Result<Vec<u8>, FrameErrorKind> {
    let mut output = Output::new();
    output.put(b"before");
    let answer = framing
        .clone()
        .encode(Bytes::from_static(message), &mut output);
    let wire = output.tail().split_off(6);
    answer.map(|()| wire.clone()).map_err(|failure| {
        assert!(wire.is_empty(), "nothing of the failed frame is left");
        let cause = failure
            .cause()
            .and_then(|cause| cause.downcast_ref::<FrameError>());
        cause.expect("a frame error is the cause").kind()
    })
}

#[test]
fn every_layout_of_the_table_is_encoded_and_decoded_as_shown() {
    let rows: [(LengthField, &[u8], &'static [u8]); 7] = [
        (LengthField::u16(), b"\x00\x05HELLO", b"HELLO"),
        (
            LengthField::u16().includes_length(),
            b"\x00\x07HELLO",
            b"HELLO",
        ),
        (
            LengthField::u16().little_endian(),
            b"\x05\x00HELLO",
            b"HELLO",
        ),
        (built(LengthField::builder(2)), b"\x00\x05HELLO", b"__HELLO"),
        (
            built(LengthField::builder(2).offset(2)),
            b"\xCA\xFE\x00\x05HELLO",
            b"\xCA\xFE__HELLO",
        ),
        (
            built(LengthField::builder(2).adjustment(1)),
            b"\x00\x05\xCAHELLO",
            b"__\xCAHELLO",
        ),
        (
            built(LengthField::builder(4).offset(4).adjustment(-8)),
            b"\xAB\xEF\x01\x01\x00\x00\x00\x0DHELLO",
            b"\xAB\xEF\x01\x01____HELLO",
        ),
    ];
    for (framing, wire, message) in rows {
        assert_eq!(
            encoded(&framing, message).expect("the message fits"),
            wire,
            "{framing:?}"
        );
        let kept = &wire[usize::from(framing.strip)..];
        assert_eq!(
            receive(&framing, [wire]),
            [Message(kept.to_vec())],
            "{framing:?}"
        );
    }
    let builder = LengthField::builder(4)
        .offset(4)
        .adjustment(-8)
        .strip(8)
        .decode_only();
    let wire = b"\xAB\xEF\x01\x01\x00\x00\x00\x0DHELLO";
    assert_eq!(
        receive(&built(builder), [&wire[..]]),
        [Message(b"HELLO".to_vec())]
    );
}

fn built(builder: LengthFieldBuilder) -> LengthField {
    builder.build().expect("the layout works")
}

/// Netty's `testDiscardTooLongFrame1` and `2`: a frame of 36 bytes where 16 are allowed, then a good one.
#[test]
fn a_frame_behind_one_that_is_too_long_arrives() {
    let framing = built(LengthField::builder(4))
        .frame_bytes_max(16)
        .on_error(OnFrameError::Skip);
    let mut wire = b"\x00\x00\x00\x20".to_vec();
    wire.extend(0..32);
    wire.extend_from_slice(b"\x00\x00\x00\x01a");
    let too_long = Bad(FrameErrorKind::TooLong { bytes: 36, max: 16 });
    let expected = [too_long, Message(b"\x00\x00\x00\x01a".to_vec())];
    assert_eq!(receive(&framing, [&wire[..]]), expected);
    assert_eq!(receive(&framing, [&wire[..14], &wire[14..]]), expected);
}

/// Netty's `testFailFastTooLongFrameRecovery`, twice as there: the error comes with the header.
#[test]
fn a_frame_that_is_too_long_is_reported_with_its_header_and_skipped_behind_it() {
    let framing = LengthField::u32()
        .frame_bytes_max(1)
        .on_error(OnFrameError::Skip);
    let mut recorder = Recorder::new(&framing);
    let mut input = BytesMut::new();
    for _ in 0..2 {
        recorder.found.clear();
        input.extend_from_slice(b"\x00\x00\x00\x02");
        recorder.drain(&mut input, false);
        assert_eq!(
            recorder.found,
            [Bad(FrameErrorKind::TooLong { bytes: 2, max: 1 })]
        );
        input.extend_from_slice(b"\x00\x00\x00\x00\x00\x01A");
        recorder.drain(&mut input, false);
        assert_eq!(recorder.found[1..], [Message(b"A".to_vec())]);
    }
}

/// Netty's five tests of `LengthFieldPrepender`, whose adjustment has the opposite sign of a decoder's.
#[test]
fn lengths_are_prepended_as_netty_does() {
    let adjusted = |by| built(LengthField::builder(4).strip(4).adjustment(by));
    assert_eq!(
        encoded(&LengthField::u32(), b"A"),
        Ok(b"\x00\x00\x00\x01A".to_vec())
    );
    assert_eq!(
        encoded(&LengthField::u32().includes_length(), b"A"),
        Ok(b"\x00\x00\x00\x05A".to_vec())
    );
    assert_eq!(
        encoded(&adjusted(1), b"A"),
        Ok(b"\x00\x00\x00\x00A".to_vec())
    );
    let too_short = FrameErrorKind::TooShort { bytes: 5, min: 6 };
    assert_eq!(encoded(&adjusted(2), b"A"), Err(too_short));
    assert_eq!(
        encoded(&LengthField::u32().little_endian(), b"A"),
        Ok(b"\x01\x00\x00\x00A".to_vec())
    );
}

#[test]
fn the_maximum_is_that_of_the_message_whatever_the_header() {
    let whole = built(
        LengthField::builder(4)
            .offset(4)
            .adjustment(-8)
            .strip(8)
            .decode_only(),
    );
    for (framing, over) in [
        (LengthField::u32(), FRAME_BYTES_MAX as u64 + 1),
        (
            LengthField::u24().includes_length(),
            FRAME_BYTES_MAX as u64 + 4,
        ),
        (LengthField::u64(), FRAME_BYTES_MAX as u64 + 1),
        (whole, FRAME_BYTES_MAX as u64 + 9),
    ] {
        let mut wire = vec![0; framing.header()];
        let field = usize::from(framing.offset)..framing.header();
        framing.write(&mut wire[field.clone()], over - 1);
        wire.resize(framing.header() + FRAME_BYTES_MAX, 7);
        assert_eq!(
            receive(&framing, [&wire[..]]),
            [Message(vec![7; FRAME_BYTES_MAX])]
        );
        framing.write(&mut wire[field], over);
        let max = FRAME_BYTES_MAX as u64;
        let too_long = Bad(FrameErrorKind::TooLong {
            bytes: max + 1,
            max,
        });
        assert_eq!(receive(&framing, [&wire[..framing.header()]]), [too_long]);
    }
}

#[test]
fn an_absurd_length_is_refused_before_memory_grows() {
    let unsigned = |bytes| FrameErrorKind::TooLong {
        bytes,
        max: FRAME_BYTES_MAX as u64,
    };
    let whole = built(LengthField::builder(4).offset(4).adjustment(-8));
    let rows: [(LengthField, &[u8], FrameErrorKind, CloseReason); 6] = [
        (
            LengthField::u32(),
            &[0xFF; 4],
            unsigned(0xFFFF_FFFF),
            CloseReason::OverLimit,
        ),
        (
            LengthField::u24(),
            &[0xFF; 3],
            unsigned(0xFF_FFFF),
            CloseReason::OverLimit,
        ),
        (
            LengthField::u64(),
            &[0xFF; 8],
            FrameErrorKind::NegativeLength { value: -1 },
            CloseReason::ProtocolError,
        ),
        (
            LengthField::u64(),
            &[0x7F, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF],
            FrameErrorKind::LengthOverflow {
                value: i64::MAX as u64,
            },
            CloseReason::OverLimit,
        ),
        (
            LengthField::u16().includes_length(),
            &[0, 1],
            FrameErrorKind::LengthBelowHeader { value: 1, min: 2 },
            CloseReason::ProtocolError,
        ),
        (
            whole,
            &[0xAB, 0xEF, 1, 1, 0, 0, 0, 7],
            FrameErrorKind::LengthBelowHeader { value: 7, min: 8 },
            CloseReason::ProtocolError,
        ),
    ];
    for (mut framing, header, kind, reason) in rows {
        let mut input = BytesMut::with_capacity(64);
        input.extend_from_slice(header);
        let room = input.capacity();
        let failure = framing
            .decode(&mut input)
            .expect_err("the length is refused");
        assert_eq!(failure.reason(), reason);
        let cause = failure
            .cause()
            .and_then(|cause| cause.downcast_ref::<FrameError>());
        assert_eq!(cause.map(FrameError::kind), Some(kind));
        assert_eq!(
            (input.capacity(), &input[..]),
            (room, header),
            "nothing grew, nothing was taken"
        );
    }
}

#[test]
fn gigabytes_are_passed_over_read_by_read() {
    let mut framing = LengthField::u64().on_error(OnFrameError::Skip);
    let header = (5_u64 << 30).to_be_bytes();
    let mut input = BytesMut::from(&header[..]);
    assert_eq!(framing.decode(&mut input).expect("passed over"), None);
    assert!(
        input.is_empty(),
        "what belongs to the bad frame is dropped at once"
    );
    let read = vec![0; 1 << 20];
    for _ in 0..5 << 10 {
        let scan = framing.scan(&read).expect("still inside the bad frame");
        assert_eq!(scan, Scan::Skip(read.len()));
    }
    input.extend_from_slice(b"\x00\x00\x00\x00\x00\x00\x00\x01A");
    assert_eq!(
        framing.decode(&mut input).expect("a good frame").as_deref(),
        Some(&b"A"[..])
    );
    assert_eq!(Codec::take_skipped(&mut framing), 1);
}

#[test]
fn a_stream_that_ends_inside_a_frame_is_told_and_counts_as_closed_by_the_peer() {
    for (left, min) in [(&b"\x00"[..], 4), (b"\x00\x00\x00\x05HEL", 9)] {
        let truncated = FrameErrorKind::Truncated {
            bytes: left.len(),
            min,
        };
        let mut closing = LengthField::u32();
        let mut input = BytesMut::from(left);
        assert_eq!(closing.decode(&mut input).expect("not all is there"), None);
        let failure = closing
            .decode_eof(&mut input)
            .expect_err("nothing else will come");
        assert_eq!(failure.reason(), CloseReason::PeerClosed);
        let skipping = LengthField::u32().on_error(OnFrameError::Skip);
        assert_eq!(receive(&skipping, [left]), [Bad(truncated)]);
    }
    assert_eq!(receive(&LengthField::u32(), [b""]), []);
}

#[test]
fn a_message_that_cannot_be_framed_leaves_nothing_behind_and_the_next_one_is_fine() {
    let mut framing = LengthField::u8().frame_bytes_max(1000);
    let mut output = Output::new();
    let failure = framing
        .encode(Bytes::from(vec![0; 256]), &mut output)
        .expect_err("one too long");
    assert_eq!(failure.reason(), CloseReason::OverLimit);
    assert_eq!(
        failure.to_string(),
        "over_limit: a message of 256 bytes, where at most 255 are allowed"
    );
    assert!(output.is_empty());
    framing
        .encode(Bytes::from(vec![7; 255]), &mut output)
        .expect("just fits");
    assert_eq!((output.len(), output.tail()[0]), (256, 255));

    let small = LengthField::u32().frame_bytes_max(4);
    assert_eq!(
        encoded(&small, b"HELLO"),
        Err(FrameErrorKind::TooLong { bytes: 5, max: 4 })
    );
    let whole = built(LengthField::builder(4).offset(4).adjustment(-8));
    assert_eq!(
        encoded(&whole, b"1234567"),
        Err(FrameErrorKind::TooShort { bytes: 7, min: 8 })
    );
    assert_eq!(
        encoded(&whole, b"12345678"),
        Ok(b"1234\x00\x00\x00\x08".to_vec())
    );
}

#[test]
fn a_large_body_is_framed_without_a_copy() {
    let body = Bytes::from(vec![7; 100_000]);
    let mut output = Output::new();
    LengthField::u32()
        .encode(body.clone(), &mut output)
        .expect("fits");
    let mut slices = [IoSlice::new(&[]); 3];
    assert_eq!(output.gather(&mut slices), 2);
    assert_eq!(&*slices[0], 100_000_u32.to_be_bytes());
    assert_eq!(slices[1].as_ptr(), body.as_ptr());

    let mut output = Output::new();
    let mut kept = built(LengthField::builder(4).offset(2));
    kept.encode(body.clone(), &mut output).expect("fits");
    let mut slices = [IoSlice::new(&[]); 3];
    assert_eq!(output.gather(&mut slices), 2);
    assert_eq!(&*slices[0], [7, 7, 0, 1, 0x86, 0x9A]);
    assert_eq!(slices[1].as_ptr(), body[6..].as_ptr());
}

#[test]
fn layouts_that_cannot_work_are_refused_when_they_are_made() {
    let builder = LengthField::builder;
    for (refused, word) in [
        (builder(0), "length field"),
        (builder(5), "length field"),
        (builder(9), "length field"),
        (builder(4).offset(HEADER_BYTES_MAX - 3), "offset"),
        (builder(4).offset(usize::MAX), "offset"),
        (builder(4).adjustment(i64::MIN), "adjustment"),
        (builder(4).adjustment(1025), "adjustment"),
        (builder(4).strip(1025).decode_only(), "strip"),
        (builder(1).adjustment(-255), "a length field of 1 bytes"),
        (
            builder(1).strip(300).decode_only(),
            "a length field of 1 bytes",
        ),
        (builder(4).strip(3), "decode_only"),
        (builder(4).offset(1).strip(5), "decode_only"),
    ] {
        let error = refused.build().expect_err("it cannot work");
        assert_eq!(error.kind(), ErrorKind::Config);
        assert!(error.to_string().contains(word), "{error}");
    }
    let edge = built(builder(1).adjustment(-254)).includes_length();
    assert_eq!(receive(&edge, [&b"\xFF"[..]]), [Message(b"\xFF".to_vec())]);
    built(builder(8).offset(HEADER_BYTES_MAX - 8));
}

#[test]
fn a_layout_declared_decode_only_refuses_to_encode() {
    let mut framing = built(LengthField::builder(2).offset(2).strip(4).decode_only());
    let mut output = Output::new();
    let failure = framing
        .encode(Bytes::from("x"), &mut output)
        .expect_err("no header known");
    assert!(
        failure.to_string().contains("decode_only") && output.is_empty(),
        "{failure}"
    );
}

#[test]
#[should_panic(expected = "frame_bytes_max")]
fn a_maximum_below_the_header_that_messages_carry_panics() {
    let _ = built(LengthField::builder(4).offset(4)).frame_bytes_max(7);
}

#[test]
fn strangers_are_named_in_the_error() {
    for (bytes, name) in [
        (&b"GET / HTTP/1.1\r\n"[..], "HTTP"),
        (b"\x16\x03\x01\x02\x00\x01\x00", "TLS"),
    ] {
        let mut input = BytesMut::from(bytes);
        let failure = LengthField::u32()
            .decode(&mut input)
            .expect_err("not our protocol");
        let text = failure.to_string();
        assert!(text.ends_with(&format!("looks like {name}")), "{text}");
    }
    let mut input = BytesMut::from(&[0xFF, 0xFF, 0xFF, 0xFF, 1][..]);
    let failure = LengthField::u32().decode(&mut input).expect_err("too long");
    assert!(
        failure
            .to_string()
            .ends_with("it begins with ff ff ff ff 01"),
        "{failure}"
    );
}
