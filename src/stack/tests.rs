//! The wire, byte for byte, and the laws of its codec.

use std::borrow::Cow;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;

use super::codec::{FrameLimits, Profile, StackCodec};
use super::message::{Message, MessageType, NODE_ID};
use super::wire::StackWire;
use crate::buffer::Output;
use crate::codec::Codec;
use crate::error::CloseReason;
use crate::link::{Hello, Kind, NodeId, Refusal, Reply, Wire};

fn codec(wire: &StackWire) -> StackCodec {
    wire.codec()
}

fn bytes_of(codec: &mut StackCodec, message: Message) -> Vec<u8> {
    let mut output = Output::new();
    codec.encode(message, &mut output).expect("a message");
    output.single().unwrap_or_default().to_vec()
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| {
        let pair = std::str::from_utf8(pair).expect("digits");
        u8::from_str_radix(pair, 16).expect("digits")
    };
    digits.chunks(2).map(byte).collect()
}

/// Encodes to exactly these bytes, and decodes back.
#[track_caller]
fn is_fixture(wire: &StackWire, message: Message, fixture: &str) {
    let mut codec = codec(wire);
    let expected = hex(fixture);
    assert_eq!(bytes_of(&mut codec, message.clone()), expected);
    let mut input = BytesMut::from(&expected[..]);
    assert_eq!(codec.decode(&mut input).expect("a frame"), Some(message));
    assert!(input.is_empty());
}

const ZEROS: &str = "0000000000000000";

#[test]
fn frames_of_profile_spec_are_those_of_the_standard() {
    let wire = StackWire::default();
    let node = NodeId::new("n1").expect("a name");
    let hello = |node| wire.hello(&Hello { node, proof: None });
    let header = |length: &str, kind: &str| format!("abef0101 000000{length} {ZEROS} {kind}00");
    is_fixture(&wire, hello(None), &(header("16", "03") + "00000000"));
    let accepted = wire.reply(&Reply::Accepted);
    is_fixture(&wire, accepted, &(header("17", "04") + "00000000 00"));
    let refused = wire.reply(&Reply::Refused(Refusal::Duplicate));
    is_fixture(&wire, refused, &(header("17", "04") + "00000000 ff"));
    is_fixture(&wire, wire.ping(), &(header("16", "05") + "00000000"));
    let pong = wire.pong(&wire.ping());
    is_fixture(&wire, pong, &(header("16", "06") + "00000000"));
    let named = header("26", "03") + "00000001 00000006 6e6f64654964 00000002 6e31";
    is_fixture(&wire, hello(Some(node)), &named);
    let hi = Message::one_way("hi");
    is_fixture(&wire, hi, &(header("18", "02") + "00000000 6869"));
}

#[test]
fn frames_of_profile_book_are_those_of_its_code() {
    let wire = StackWire::new(Profile::Book);
    let login = wire.hello(&Hello::default());
    let empty = format!("abef0101 00000012 {ZEROS} 0300 00000000 00000000");
    is_fixture(&wire, login, &empty);
    let hi = format!("abef0101 00000014 {ZEROS} 0200 00000000 00000002 6869");
    is_fixture(&wire, Message::one_way("hi"), &hi);
}

#[track_caller]
fn closes(wire: &StackWire, frame: &str) -> CloseReason {
    let mut input = BytesMut::from(&hex(frame)[..]);
    let failure = codec(wire).decode(&mut input).expect_err("a bad frame");
    assert!(input.capacity() < 1 << 16, "nothing grew");
    failure.reason()
}

#[test]
fn what_cannot_be_a_frame_closes_as_soon_as_it_shows() {
    let spec = StackWire::default();
    for (frame, reason) in [
        ("de", CloseReason::ProtocolError),
        ("dead0101", CloseReason::ProtocolError),
        ("abef02", CloseReason::ProtocolError),
        ("abef0101 00000015", CloseReason::ProtocolError),
        ("abef0101 00000000", CloseReason::ProtocolError),
        ("abef0101 7fffffff", CloseReason::OverLimit),
        ("abef0101 ffffffff", CloseReason::OverLimit),
        ("abef0101 00100001", CloseReason::OverLimit),
    ] {
        assert_eq!(closes(&spec, frame), reason, "{frame}");
    }
    let book = StackWire::new(Profile::Book);
    assert_eq!(
        closes(&book, "abef0101 00000011"),
        CloseReason::ProtocolError
    );
    assert_eq!(closes(&book, "abef0101 ffffffff"), CloseReason::OverLimit);
}

#[test]
fn attachments_and_bodies_that_do_not_fit_close() {
    let spec = StackWire::default();
    let frame = |length: &str, rest: &str| format!("abef0101 000000{length} {ZEROS} 0200 {rest}");
    for frame in [
        frame("16", "00000001"),
        frame("16", "00000041"),
        frame("1a", "00000001 00000001"),
        frame("1b", "00000001 00000001 61"),
        frame("1f", "00000001 00000001 61 00000001"),
        frame("1f", "00000001 00000001 ff 00000000"),
        frame("1e", "00000001 00000101 00000000"),
        frame("1f", "00000001 00000001 61 00010001"),
    ] {
        assert_eq!(closes(&spec, &frame), CloseReason::ProtocolError, "{frame}");
    }
    let book = StackWire::new(Profile::Book);
    let long = format!("abef0101 00000012 {ZEROS} 0200 00000000 00000001");
    assert_eq!(closes(&book, &long), CloseReason::ProtocolError);
    let short = format!("abef0101 00000014 {ZEROS} 0200 00000000 00000001 6869");
    assert_eq!(closes(&book, &short), CloseReason::ProtocolError);
}

#[test]
fn a_higher_minor_version_is_accepted() {
    let frame = hex(&format!("abef0109 00000016 {ZEROS} 0500 00000000"));
    let decoded = codec(&StackWire::default()).decode(&mut BytesMut::from(&frame[..]));
    let message = decoded.expect("a frame").expect("a whole one");
    assert_eq!(message.kind(), MessageType::HeartbeatRequest);
}

#[test]
fn a_message_that_would_not_be_taken_is_refused_before_it_is_kept() {
    let wire = StackWire::default();
    let limits = FrameLimits::default();
    let long = Bytes::from(vec![0; limits.frame_bytes_max]);
    let many = (0..limits.attachments_max).fold(Message::one_way(""), |message, n| {
        message.attach(n.to_string(), "")
    });
    for message in [
        Message::one_way(long.clone()),
        Message::one_way("").attach("k", long.slice(..=limits.value_bytes_max)),
        Message::one_way("").attach("k".repeat(300), ""),
        many,
        wire.ping(),
    ] {
        assert!(wire.check(&message).is_err(), "{message:?}");
    }
    assert!(wire.check(&Message::one_way("fine")).is_ok());
}

#[test]
fn an_unknown_type_closes_or_is_passed_over() {
    let message = Message::new(MessageType::Unknown(77), "");
    assert!(StackWire::default().kind(&message).is_err());
    let lenient = StackWire::default().ignore_unknown(true);
    assert_eq!(lenient.kind(&message).ok(), Some(Kind::Ignored));
}

#[test]
fn a_changed_bit_is_found_where_frames_have_checksums() {
    let wire = StackWire::default().checksum(true);
    let message = Message::one_way("hello").attach("a", "b");
    let frame = bytes_of(&mut codec(&wire), message);
    for at in 8..frame.len() {
        let mut bad = frame.clone();
        bad[at] ^= 0x10;
        let decoded = codec(&wire).decode(&mut BytesMut::from(&bad[..]));
        // Where the key itself was hit there is no checksum any more.
        let hit =
            decoded.is_ok_and(|message| message.is_some_and(|m| m.attachment("crc32c").is_some()));
        assert!(!hit, "bit at {at}");
    }
    let plain = bytes_of(&mut codec(&StackWire::default()), Message::one_way("hello"));
    let decoded = codec(&wire).decode(&mut BytesMut::from(&plain[..]));
    assert!(decoded.is_ok(), "who sends none is understood");
}

#[test]
fn a_session_is_named_by_the_accepting_answer_and_repeated_by_both_sides() {
    let mut giving = StackWire::default();
    giving.layout.sessions = Some(std::sync::Arc::default());
    let (mut server, mut client) = (codec(&giving), codec(&StackWire::default()));
    let accepted = bytes_of(&mut server, giving.reply(&Reply::Accepted));
    assert_eq!(accepted[8..16], 1_u64.to_be_bytes());
    client
        .decode(&mut BytesMut::from(&accepted[..]))
        .expect("a frame");
    for side in [&mut client, &mut server] {
        let frame = bytes_of(side, Message::one_way("hi"));
        assert_eq!(frame[8..16], 1_u64.to_be_bytes());
    }
}

#[test]
fn a_login_with_a_bad_name_is_an_error_of_the_peer() {
    let wire = StackWire::default();
    let login = Message::new(MessageType::HandshakeRequest, "");
    let bad = login.clone().attach(NODE_ID, &b"\xff"[..]);
    let failure = wire.kind(&bad).expect_err("no text");
    assert_eq!(failure.reason(), CloseReason::ProtocolError);
    assert!(wire.kind(&login.attach(NODE_ID, "n1")).is_ok());
}

fn message() -> impl Strategy<Value = Message> {
    let attachment = ("[a-z]{0,12}", prop::collection::vec(any::<u8>(), 0..40));
    let attachments = prop::collection::vec(attachment, 0..6);
    let body = prop::collection::vec(any::<u8>(), 0..3000);
    (any::<u8>(), any::<u8>(), any::<i64>(), attachments, body).prop_map(
        |(kind, priority, session, attachments, body)| {
            let mut message = Message::new(MessageType::of(kind), body).priority(priority);
            message.session = session.max(1);
            for (key, value) in attachments {
                message.attachments.push((Cow::Owned(key), value.into()));
            }
            message
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// However the stream is cut, in both profiles and with checksums or without.
    #[test]
    fn any_messages_come_back_however_the_stream_is_cut(
        messages in prop::collection::vec(message(), 1..8),
        cuts in prop::collection::vec(1..400_usize, 1..30),
        book: bool,
    ) {
        let wire = StackWire::new(if book { Profile::Book } else { Profile::Spec });
        let (mut writer, mut reader) = (codec(&wire), codec(&wire));
        let mut stream = Vec::new();
        for message in &messages {
            stream.extend(bytes_of(&mut writer, message.clone()));
        }
        let (mut input, mut decoded, mut cuts) = (BytesMut::new(), Vec::new(), cuts.iter().cycle());
        let mut rest = &stream[..];
        while !rest.is_empty() {
            let cut = (*cuts.next().expect("endless")).min(rest.len());
            input.extend_from_slice(&rest[..cut]);
            rest = &rest[cut..];
            while let Some(message) = reader.decode(&mut input).expect("whole frames") {
                decoded.push(message);
            }
        }
        prop_assert_eq!(decoded, messages);
    }

    /// Whatever comes, it is decoded or refused, and what is decoded is no longer than what came.
    #[test]
    fn any_bytes_are_decoded_or_refused(tail in prop::collection::vec(any::<u8>(), 0..200), length in 0..220_u8) {
        let mut bytes = hex("abef0101 000000");
        bytes.push(length);
        bytes.extend(tail);
        let mut input = BytesMut::from(&bytes[..]);
        if let Ok(Some(message)) = codec(&StackWire::default()).decode(&mut input) {
            prop_assert!(message.body().len() <= bytes.len());
        }
    }
}
