//! A message as it is forwarded: what the server says of it is the server's, all else is as it came.

use std::io;

use prost::bytes::BufMut;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};

use super::Packet;

/// What the server says of a message, whatever its sender wrote there.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// The server's number of the message; the sequence of its frame, too.
    pub id: u64,
    /// Who has said it.
    pub from: &'a str,
    /// When the server has taken it, in milliseconds since 1970.
    pub time: u64,
}

/// Fields of `Message` that are ours: its sequence, and the sender's session, which is nobody else's business.
const HEAD: [u64; 2] = [2, 3];
const REQUEST: u64 = 6;
/// Fields of `MessageRequest` that are ours.
const BODY: [u64; 3] = [1, 2, 4];

/// The message `raw` as it goes to its receivers.
///
/// Every field but those of `delivery` and the session keeps its bytes and its place, fields of a schema newer
/// than ours among them.
///
/// # Errors
///
/// When `raw` is no protobuf message.
pub fn rewrite(raw: &[u8], delivery: Delivery<'_>) -> io::Result<Packet> {
    let mut out = Vec::with_capacity(raw.len() + delivery.from.len() + 40);
    let mut body = Vec::new();
    for field in fields(raw) {
        let field = field?;
        if HEAD.contains(&field.tag) {
            continue;
        }
        match field.content {
            // A message that stands twice is one message, says protobuf; so is ours.
            Some(content) if field.tag == REQUEST => keep(content, &BODY, &mut body)?,
            _ => out.extend_from_slice(field.whole),
        }
    }
    put_number(1, delivery.id, &mut body);
    put_bytes(2, delivery.from.as_bytes(), &mut body);
    put_number(4, delivery.time, &mut body);
    put_number(2, delivery.id, &mut out);
    put_bytes(6, &body, &mut out);
    Ok(Packet(out.into()))
}

/// Appends all fields but some.
fn keep(message: &[u8], without: &[u64], out: &mut Vec<u8>) -> io::Result<()> {
    for field in fields(message) {
        let field = field?;
        if !without.contains(&field.tag) {
            out.extend_from_slice(field.whole);
        }
    }
    Ok(())
}

struct Field<'a> {
    tag: u64,
    /// Its key and what follows it.
    whole: &'a [u8],
    /// Of a field with a length: what it holds.
    content: Option<&'a [u8]>,
}

/// The fields of a message, one by one, until the first fault.
fn fields(mut rest: &[u8]) -> impl Iterator<Item = io::Result<Field<'_>>> {
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = take_field(&mut rest);
        if field.is_none() {
            rest = &[];
        }
        Some(field.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "no protobuf")))
    })
}

fn take_field<'a>(rest: &mut &'a [u8]) -> Option<Field<'a>> {
    let start = *rest;
    let key = take_varint(rest)?;
    let mut content = None;
    match key & 7 {
        0 => drop(take_varint(rest)?),
        1 => drop(take(rest, 8)?),
        2 => {
            let len = usize::try_from(take_varint(rest)?).ok()?;
            content = Some(take(rest, len)?);
        }
        // A group has no length; it ends with a key of its own.
        3 => {
            while take_varint(&mut { *rest })? != key + 1 {
                // Groups are of proto2, and no client of this schema has any: one level will do.
                if take_varint(&mut { *rest })? & 7 == 3 {
                    return None;
                }
                take_field(rest)?;
            }
        }
        4 => {}
        5 => drop(take(rest, 4)?),
        _ => return None,
    }
    if key & 7 == 3 {
        take_varint(rest)?;
    }
    Some(Field {
        tag: key >> 3,
        whole: &start[..start.len() - rest.len()],
        content,
    })
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len)?;
    *rest = left;
    Some(taken)
}

fn take_varint(rest: &mut &[u8]) -> Option<u64> {
    prost::encoding::decode_varint(rest).ok()
}

fn put_number(tag: u32, value: u64, out: &mut Vec<u8>) {
    encode_key(tag, WireType::Varint, out);
    encode_varint(value, out);
}

fn put_bytes(tag: u32, bytes: &[u8], out: &mut Vec<u8>) {
    out.reserve(bytes.len() + encoded_len_varint(bytes.len() as u64) + 5);
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.put_slice(bytes);
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use crate::protocol::{HeadType, Message, MessageRequest};

    const DELIVERY: Delivery<'_> = Delivery {
        id: 300,
        from: "ann",
        time: 7,
    };

    fn said(sequence: u64, from: &str) -> Message {
        Message {
            r#type: HeadType::MessageRequest.into(),
            sequence,
            session_id: "secret".into(),
            message_request: Some(MessageRequest {
                msg_id: 9,
                from: from.into(),
                to: "bob".into(),
                content: "a:b:c".into(),
                ..MessageRequest::default()
            }),
            ..Message::default()
        }
    }

    #[test]
    fn what_the_server_says_replaces_what_the_sender_wrote() {
        let packet = rewrite(&said(1, "eve").encode_to_vec(), DELIVERY).expect("a message");
        let message = Message::decode(&*packet.0).expect("a message still");
        let mut expected = said(300, "ann");
        expected.session_id.clear();
        let request = expected.message_request.as_mut().expect("there");
        (request.msg_id, request.time) = (300, 7);
        assert_eq!(message, expected);
    }

    #[test]
    fn fields_of_a_newer_schema_keep_their_bytes() {
        let unknown: [&[u8]; 4] = [
            b"\xa0\x06\x07",                             // field 100, a number
            b"\xaa\x06\x02hi",                           // field 101, bytes
            b"\xb1\x06\x01\x02\x03\x04\x05\x06\x07\x08", // field 102, fixed
            b"\xbb\x06\x08\x01\xbc\x06",                 // field 103, a group
        ];
        let mut inner = said(1, "eve")
            .message_request
            .expect("there")
            .encode_to_vec();
        let mut outer = b"\x08\x05".to_vec();
        for field in unknown {
            inner.extend_from_slice(field);
            outer.extend_from_slice(field);
        }
        put_bytes(6, &inner, &mut outer);
        let packet = rewrite(&outer, DELIVERY).expect("a message");
        for field in unknown {
            let found = packet.0.windows(field.len()).filter(|part| part == &field);
            assert_eq!(found.count(), 2, "{field:x?}");
        }
        assert!(Message::decode(&*packet.0).is_ok());
    }

    #[test]
    fn bytes_that_are_no_message_are_refused() {
        for raw in [&b"\x32\x7f"[..], b"\x08", b"\xff", b"\x0f", b"\xbb\x06"] {
            assert!(rewrite(raw, DELIVERY).is_err(), "{raw:x?}");
        }
    }
}
