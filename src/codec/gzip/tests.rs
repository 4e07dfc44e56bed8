//! Compression by example, against flate2's own reader and writer, and what a peer may do to it.

use std::io::{Read, Write};

use flate2::GzBuilder;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use super::*;
use crate::codec::{Blob, Utf8};
use crate::error::CloseReason;

fn packed(plain: &[u8]) -> Vec<u8> {
    let mut wire = b"before".to_vec();
    let encoded = Gzip::new(Blob).encode(plain.to_vec().into(), &mut wire);
    encoded.expect("it may be sent");
    wire.split_off(6)
}

fn reason(wire: &[u8]) -> CloseReason {
    let decoded = Gzip::new(Blob).decode(wire);
    decoded.expect_err("it is no message").reason()
}

#[test]
fn a_bomb_is_refused_before_memory_grows() {
    let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
    for _ in 0..64 {
        bomb.write_all(&[0; 1 << 20]).expect("to memory");
    }
    let bomb = bomb.finish().expect("to memory");
    for max in [0, 1, 4095, 4096, 4097, 1 << 20] {
        let mut work = Work::default();
        let failure = work.inflate(&bomb, max).expect_err("it is too long");
        assert_eq!(failure.reason(), CloseReason::OverLimit);
        assert!(work.plain.capacity() <= max + 1, "{max}");
    }
}

#[test]
fn the_limit_is_exact_in_both_directions() {
    let text = "x".repeat(10_000);
    let wire = packed(text.as_bytes());
    let mut exact = Gzip::new(Utf8::new()).inflated_bytes_max(10_000);
    assert_eq!(exact.decode(&wire).expect("it fits"), text);
    let mut dst = Vec::new();
    assert!(exact.encode(text.clone(), &mut dst).is_ok());
    let mut short = Gzip::new(Utf8::new()).inflated_bytes_max(9_999);
    let failure = short.decode(&wire).expect_err("a byte too many");
    assert_eq!(failure.reason(), CloseReason::OverLimit);
    let failure = short.encode(text, &mut dst).expect_err("a byte too many");
    assert_eq!(failure.reason(), CloseReason::OverLimit);
}

#[test]
fn headers_may_have_every_field() {
    let mut all = GzBuilder::new()
        .filename("a name")
        .comment("a comment")
        .extra(b"extra".to_vec())
        .mtime(1)
        .write(Vec::new(), Compression::fast());
    all.write_all(b"hello").expect("to memory");
    let wire = all.finish().expect("to memory");
    let message = Gzip::new(Blob).decode(&wire).expect("it is gzip");
    assert_eq!(message, "hello");
    for end in 0..wire.len() {
        assert_eq!(reason(&wire[..end]), CloseReason::ProtocolError, "{end}");
    }
}

#[test]
fn what_is_damaged_breaks_the_protocol() {
    let wire = packed(b"hello hello hello");
    for place in 0..wire.len() {
        // Time, hints and system mean nothing here.
        if (4..10).contains(&place) {
            continue;
        }
        let mut bad = wire.clone();
        bad[place] ^= 0x40;
        assert_eq!(reason(&bad), CloseReason::ProtocolError, "{place}");
    }
    let twice = wire.repeat(2);
    assert_eq!(reason(&twice), CloseReason::ProtocolError);
}

#[test]
fn a_failed_body_or_message_leaves_the_next_one_alone() {
    let mut text = Gzip::new(Utf8::new());
    assert!(text.decode(&packed(b"\xFF")).is_err());
    assert!(text.decode(b"junk").is_err());
    let fine = text.decode(&packed(b"fine"));
    assert_eq!(fine.expect("it is text"), "fine");
}

#[test]
fn a_body_may_be_compressed_twice() {
    let mut twice = Gzip::new(Gzip::new(Utf8::new()).level(1)).level(9);
    let mut wire = Vec::new();
    let encoded = twice.encode("a".repeat(5_000), &mut wire);
    encoded.expect("it may be sent");
    assert_eq!(twice.decode(&wire).expect("it was sent").len(), 5_000);
}

#[test]
fn a_thread_keeps_no_large_message() {
    let large = packed(&[7; 1 << 20]);
    let message = Gzip::new(Blob).decode(&large).expect("it was packed");
    assert_eq!(message.len(), 1 << 20);
    with_work(|work| assert!(work.plain.capacity() <= PLAIN_KEPT_MAX));
}

proptest! {
    #[test]
    fn others_read_what_we_write_and_we_what_they_write(
        plain in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..20_000),
            prop::collection::vec(0_u8..3, 0..20_000),
        ],
        level in 0_u32..10,
    ) {
        let mut wire = Vec::new();
        let encoded = Gzip::new(Blob).level(level).encode(plain.clone().into(), &mut wire);
        encoded.expect("it may be sent");
        let mut read = Vec::new();
        GzDecoder::new(&wire[..]).read_to_end(&mut read).expect("it is gzip");
        prop_assert_eq!(&read, &plain);

        let mut theirs = GzEncoder::new(Vec::new(), Compression::new(level));
        theirs.write_all(&plain).expect("to memory");
        let wire = theirs.finish().expect("to memory");
        let message = Gzip::new(Blob).decode(&wire).expect("it is gzip");
        prop_assert_eq!(&*message, &*plain);
    }

    #[test]
    fn noise_is_no_message(mut noise in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Gzip::new(Blob).decode(&noise);
        noise.splice(..0, HEADER);
        let _ = Gzip::new(Blob).decode(&noise);
    }
}
