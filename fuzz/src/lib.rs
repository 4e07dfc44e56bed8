//! What is done with fuzzed bytes: a function for each decoder, and one for a whole connection.
//!
//! For a framing the first bytes choose the settings, and the rest is the stream; for a body all of it is one
//! frame. This file is also a module of `tests/fuzz_corpus.rs`.

mod connection;

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use netwheel::codec::{
    Codec, Delimiter, FixedLength, FrameError, FrameErrorKind, Framing, LengthField, Lines,
    OnFrameError, Utf8, Varint32,
};
use netwheel::{Body, CloseReason, Failure, Output};

pub use connection::connection;

/// A function that panics where bytes break a promise.
pub type Target = fn(&[u8]);

/// Every target that the features allow, by the name of its folder of seeds.
pub const TARGETS: &[(&str, Target)] = &[
    #[cfg(feature = "caviar")]
    ("caviar", caviar),
    ("connection", connection),
    ("delimiter", delimiter),
    ("fixed_length", fixed_length),
    ("length_field", length_field),
    ("lines", lines),
    ("varint32", varint32),
    ("utf8", utf8),
    #[cfg(feature = "gzip")]
    ("gzip", gzip),
    #[cfg(feature = "json")]
    ("json", json),
    #[cfg(feature = "msgpack")]
    ("msgpack", msgpack),
    #[cfg(feature = "protobuf")]
    ("protobuf", protobuf),
    #[cfg(feature = "stack")]
    ("stack", stack),
];

/// Settings: set of delimiters, 64 to keep them, 128 to skip bad frames; maximum.
pub fn delimiter(data: &[u8]) {
    let Some((&[choice, max], stream)) = data.split_first_chunk() else {
        return;
    };
    let sets: [&[&str]; 6] = [
        &["$_"],
        &["\n"],
        &["\r\n", "\n"],
        &["$$$"],
        &["a$_", "$_", "_a"],
        &["$a$a_", "__", "\n", "\r$", "a\r"],
    ];
    let set = sets[usize::from(choice & 63) % sets.len()];
    let mut framing = Delimiter::any_of(set)
        .expect("the sets are sound")
        .frame_bytes_max(max.into())
        .on_error(policy(choice & 128 != 0));
    if choice & 64 != 0 {
        framing = framing.keep();
    }
    check_framing(&framing, stream);
}

/// Settings: length of a frame, less one.
pub fn fixed_length(data: &[u8]) {
    if let Some((length, stream)) = data.split_first() {
        let framing = FixedLength::new(usize::from(*length) + 1);
        check_framing(&framing.pad_with(b' '), stream);
    }
}

/// Settings: width, 8 for little-endian, 16 to include the length, 32 to skip bad frames; offset; adjustment;
/// strip; maximum.
pub fn length_field(data: &[u8]) {
    let Some((&[choice, offset, adjustment, strip, max], stream)) = data.split_first_chunk() else {
        return;
    };
    let width = [1, 2, 3, 4, 8][usize::from(choice & 7) % 5];
    let built = LengthField::builder(width)
        .offset(offset.into())
        .adjustment((adjustment as i8).into())
        .strip(strip.into())
        .decode_only()
        .build();
    let Ok(mut framing) = built else { return };
    if choice & 8 != 0 {
        framing = framing.little_endian();
    }
    if choice & 16 != 0 {
        framing = framing.includes_length();
    }
    // At least what every message of the layout has.
    let max = usize::from(max) + 1024;
    let framing = framing.frame_bytes_max(max);
    check_framing(&framing.on_error(policy(choice & 32 != 0)), stream);
}

/// Settings: 1 for strict, 2 to send CR LF, 4 to skip bad lines; maximum.
pub fn lines(data: &[u8]) {
    let Some((&[choice, max], stream)) = data.split_first_chunk() else {
        return;
    };
    let mut lines = if choice & 1 != 0 {
        Lines::crlf()
    } else {
        Lines::new()
    };
    if choice & 2 != 0 {
        lines = lines.send_crlf();
    }
    let lines = lines.frame_bytes_max(max.into());
    check_framing(&lines.on_error(policy(choice & 4 != 0)), stream);
}

/// Settings: 1 to skip bad frames; maximum.
pub fn varint32(data: &[u8]) {
    let Some((&[choice, max], stream)) = data.split_first_chunk() else {
        return;
    };
    let framing = Varint32::new().frame_bytes_max(max.into());
    check_framing(&framing.on_error(policy(choice & 1 != 0)), stream);
}

/// Strict, and lossy.
pub fn utf8(data: &[u8]) {
    let text = check_body(&mut Utf8::new(), data);
    let lossy = check_body(&mut Utf8::lossy(), data);
    assert_eq!(
        text.is_none(),
        text != lossy,
        "lossy changes what is no text"
    );
}

/// Compressed bytes, up to 64 KiB of them.
#[cfg(feature = "gzip")]
pub fn gzip(data: &[u8]) {
    use netwheel::codec::{Blob, Gzip};
    let max = 64 << 10;
    let mut body = Gzip::new(Blob).inflated_bytes_max(max);
    if let Some(message) = check_body(&mut body, data) {
        assert!(message.len() <= max, "the limit holds");
    }
}

/// What the typed bodies read: something of everything.
#[cfg(any(feature = "json", feature = "msgpack"))]
#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Record {
    number: i64,
    text: String,
    list: Vec<Option<u8>>,
    inner: Option<Box<Self>>,
}

#[cfg(feature = "json")]
pub fn json(data: &[u8]) {
    check_body(&mut netwheel::codec::Json::<Record, Record>::new(), data);
}

#[cfg(feature = "msgpack")]
pub fn msgpack(data: &[u8]) {
    use netwheel::codec::MessagePack;
    check_body(&mut MessagePack::<Record, Record>::new(), data);
    check_body(&mut MessagePack::<Record, Record>::new().with_names(), data);
}

/// The same for protobuf.
#[cfg(feature = "protobuf")]
#[derive(Clone, PartialEq, prost::Message)]
pub struct Proto {
    #[prost(sint64, tag = "1")]
    number: i64,
    #[prost(string, tag = "2")]
    text: String,
    #[prost(uint32, repeated, tag = "3")]
    list: Vec<u32>,
    #[prost(message, optional, boxed, tag = "4")]
    inner: Option<Box<Self>>,
}

#[cfg(feature = "protobuf")]
pub fn protobuf(data: &[u8]) {
    check_body(&mut netwheel::codec::Protobuf::<Proto, Proto>::new(), data);
}

/// Settings: the longest body; 0 and what is above 127 mean the longest that a length can tell.
#[cfg(feature = "caviar")]
pub fn caviar(data: &[u8]) {
    use netwheel::caviar::CaviarCodec;

    let Some((&choice, stream)) = data.split_first() else {
        return;
    };
    let body_bytes_max = match choice {
        0 | 128.. => usize::MAX,
        few => usize::from(few),
    };
    let codec = || CaviarCodec::new().body_bytes_max(body_bytes_max);
    // Each message is what it was when it has gone out and come in again.
    for message in decode_pieces(codec, stream) {
        assert!(message.body.len() <= body_bytes_max);
        let mut output = Output::new();
        codec()
            .encode(message.clone(), &mut output)
            .expect("what was decoded can be sent");
        let mut sent = BytesMut::from(&output.tail()[..]);
        // Long bodies are shared, and stand behind.
        if sent.len() < output.len() {
            sent.extend_from_slice(&message.body);
        }
        let again = codec()
            .decode(&mut sent)
            .expect("what was sent is a message");
        assert_eq!(again.expect("a whole one"), message);
    }
}

/// Settings: 1 for profile `book`, 2 for checksums.
#[cfg(feature = "stack")]
pub fn stack(data: &[u8]) {
    use netwheel::link::Wire;
    use netwheel::stack::{Profile, StackWire};

    let Some((&choice, stream)) = data.split_first() else {
        return;
    };
    let profile = if choice & 1 == 0 {
        Profile::Spec
    } else {
        Profile::Book
    };
    let wire = StackWire::new(profile).checksum(choice & 2 != 0);
    // Each message is what it was when it has gone out and come in again.
    for message in decode_pieces(|| wire.codec(), stream) {
        let _ = (wire.kind(&message), wire.stamp_of(&message));
        let mut output = Output::new();
        wire.codec()
            .encode(message.clone(), &mut output)
            .expect("what was decoded can be sent");
        let sent = output.tail().clone();
        let again = wire.codec().decode(&mut BytesMut::from(&sent[..]));
        let again = again
            .expect("what was sent is a frame")
            .expect("a whole one");
        assert_eq!(
            (again.kind(), again.body()),
            (message.kind(), message.body())
        );
    }
}

fn policy(skip: bool) -> OnFrameError {
    if skip {
        OnFrameError::Skip
    } else {
        OnFrameError::Close
    }
}

/// What one stream held: its messages, the bad frames passed over, and why it ended early.
#[derive(Debug, PartialEq)]
struct Found {
    messages: Vec<Bytes>,
    skipped: u64,
    end: Option<(CloseReason, Option<FrameErrorKind>)>,
}

/// Frames and errors do not depend on the cut; what was decoded can be sent, and is decoded again.
fn check_framing<F: Framing + Clone>(framing: &F, stream: &[u8]) {
    let found = receive(framing, &[stream]);
    if stream.len() <= 4096 {
        let bytes: Vec<_> = stream.chunks(1).collect();
        assert_eq!(receive(framing, &bytes), found, "byte by byte");
    }
    for cut in (0..stream.len()).step_by(1 + stream.len() / 64) {
        let (one, two) = stream.split_at(cut);
        assert_eq!(receive(framing, &[one, two]), found, "cut at {cut}");
    }
    for message in found.messages {
        let (mut codec, mut output) = (framing.clone(), Output::new());
        if codec.encode(message.clone(), &mut output).is_err() {
            continue;
        }
        if output.tail().len() == output.len() {
            let again = receive(framing, &[output.tail()]);
            assert_eq!(again.messages, [message], "sent and decoded again");
        }
    }
}

fn receive<F: Framing + Clone>(framing: &F, reads: &[&[u8]]) -> Found {
    let (mut codec, mut input) = (framing.clone(), BytesMut::new());
    let mut messages = Vec::new();
    let mut end = None;
    for read in reads {
        input.extend_from_slice(read);
        end = end.or_else(|| drain(|| codec.decode(&mut input), &mut messages));
    }
    end = end.or_else(|| drain(|| codec.decode_eof(&mut input), &mut messages));
    assert!(end.is_some() || input.is_empty(), "nothing is left over");
    let skipped = Codec::take_skipped(&mut codec);
    Found {
        messages,
        skipped,
        end: end.map(|failure| {
            let cause = failure.cause().and_then(|cause| cause.downcast_ref());
            (failure.reason(), cause.map(FrameError::kind))
        }),
    }
}

/// The messages of a stream, which are the same in one piece and byte by byte.
#[cfg(any(feature = "caviar", feature = "stack"))]
fn decode_pieces<C>(codec: impl Fn() -> C, stream: &[u8]) -> Vec<C::In>
where
    C: Codec,
    C::In: Debug + PartialEq,
{
    let decode = |piece| {
        let (mut codec, mut input, mut messages) = (codec(), BytesMut::new(), Vec::new());
        let failed = stream.chunks(piece).any(|bytes| {
            input.extend_from_slice(bytes);
            drain(|| codec.decode(&mut input), &mut messages).is_some()
        });
        (messages, failed)
    };
    let whole = decode(usize::MAX);
    assert_eq!(decode(1), whole, "byte by byte");
    whole.0
}

/// Decodes until more bytes are needed, or something is wrong.
fn drain<M>(
    mut decode: impl FnMut() -> netwheel::Result<Option<M>>,
    messages: &mut Vec<M>,
) -> Option<Failure> {
    loop {
        match decode() {
            Ok(Some(message)) => messages.push(message),
            Ok(None) => return None,
            Err(failure) => return Some(failure),
        }
    }
}

/// A frame that is a message can be sent, and is the same message again; one that is none is the peer's fault.
fn check_body<B>(body: &mut B, frame: &[u8]) -> Option<B::In>
where
    B: Body<Out = <B as Body>::In>,
    B::In: Clone + Debug + PartialEq,
{
    let message = match body.decode(frame) {
        Ok(message) => message,
        Err(failure) => {
            let fault = [CloseReason::ProtocolError, CloseReason::OverLimit];
            assert!(fault.contains(&failure.reason()), "{failure}");
            return None;
        }
    };
    let mut wire = b"before".to_vec();
    let encoded = body.encode(message.clone(), &mut wire);
    encoded.expect("what was received can be sent");
    let again = body.decode(&wire["before".len()..]);
    assert_eq!(again.expect("what was sent can be received"), message);
    Some(message)
}
