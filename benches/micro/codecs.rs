//! Codecs: one read full of messages, and as many messages written.
//!
//! A read is 64 KiB, the buffer of a worker, or a message if that is longer.

use bytes::{Bytes, BytesMut};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use netwheel::codec::{
    Body, Codec, Delimiter, FixedLength, Framing, LengthField, Lines, Raw, Varint32,
};
use netwheel::{Output, Result};

/// Bytes of a message.
const SIZES: [usize; 6] = [16, 64, 256, 1024, 4096, 65_536];

const READ_BYTES: usize = 64 << 10;

/// Each message a `Bytes` of its own: copied out of the read while short, shared with it from 2 KiB.
#[divan::bench(args = SIZES)]
fn length_field_decode(bencher: Bencher<'_, '_>, size: usize) {
    decode(bencher, LengthField::u32(), &LengthField::u32(), size);
}

/// Each message read where it lies.
#[divan::bench(args = SIZES)]
fn length_field_decode_in_place(bencher: Bencher<'_, '_>, size: usize) {
    decode_in_place(bencher, &LengthField::u32(), size);
}

/// From here on the messages are read where they lie too: what is measured is the search for their ends.
#[divan::bench(args = SIZES)]
fn varint_decode_in_place(bencher: Bencher<'_, '_>, size: usize) {
    decode_in_place(bencher, &Varint32::new(), size);
}

#[divan::bench(args = SIZES)]
fn fixed_decode_in_place(bencher: Bencher<'_, '_>, size: usize) {
    decode_in_place(bencher, &FixedLength::new(size), size);
}

#[divan::bench(args = SIZES)]
fn lines_decode_in_place(bencher: Bencher<'_, '_>, size: usize) {
    decode_in_place(bencher, &Lines::new(), size);
}

#[divan::bench(args = SIZES)]
fn strict_lines_decode_in_place(bencher: Bencher<'_, '_>, size: usize) {
    decode_in_place(bencher, &Lines::crlf(), size);
}

#[divan::bench(args = SIZES)]
fn delimiter_decode_in_place(bencher: Bencher<'_, '_>, size: usize) {
    decode_in_place(bencher, &Delimiter::new("$_"), size);
}

/// Three delimiters, of which one is looked for in vain.
#[divan::bench(args = SIZES)]
fn three_delimiters_decode_in_place(bencher: Bencher<'_, '_>, size: usize) {
    let set = Delimiter::any_of(["\r\n", "\n", "\0"]);
    decode_in_place(bencher, &set.expect("none stands inside another"), size);
}

/// What comes, as it comes: a message is a whole read.
#[divan::bench(args = SIZES)]
fn raw_decode(bencher: Bencher<'_, '_>, size: usize) {
    let read = vec![1; size];
    bencher
        .with_inputs(|| BytesMut::from(&read[..]))
        .bench_local_values(|mut input| Raw.decode(&mut input));
}

/// Each message a `Bytes` that is ready: copied into the output while short, queued as it is from 4 KiB.
#[divan::bench(args = SIZES)]
fn length_field_encode(bencher: Bencher<'_, '_>, size: usize) {
    let message = Bytes::from(vec![1; size]);
    encode(bencher, LengthField::u32(), size, &message);
}

/// Each message written where it leaves from.
#[divan::bench(args = SIZES)]
fn length_field_encode_in_place(bencher: Bencher<'_, '_>, size: usize) {
    let codec = LengthField::u32().then(Record::of(size));
    encode(bencher, codec, size, &());
}

#[divan::bench(args = SIZES)]
fn varint_encode_in_place(bencher: Bencher<'_, '_>, size: usize) {
    encode(bencher, Varint32::new().then(Record::of(size)), size, &());
}

/// Each message is searched for an end of line that it must not hold.
#[divan::bench(args = SIZES)]
fn lines_encode_in_place(bencher: Bencher<'_, '_>, size: usize) {
    encode(bencher, Lines::new().then(Record::of(size)), size, &());
}

#[divan::bench(args = SIZES)]
fn delimiter_encode_in_place(bencher: Bencher<'_, '_>, size: usize) {
    let codec = Delimiter::new("$_").then(Record::of(size));
    encode(bencher, codec, size, &());
}

#[divan::bench(args = SIZES)]
fn raw_encode(bencher: Bencher<'_, '_>, size: usize) {
    encode(bencher, Raw, size, &Bytes::from(vec![1; size]));
}

/// Messages of `size` bytes in a read, at least one.
fn messages(size: usize) -> usize {
    (READ_BYTES / (4 + size)).max(1)
}

fn decode_in_place<F: Framing + Clone>(bencher: Bencher<'_, '_>, framing: &F, size: usize) {
    let codec = framing.clone().then(Record::of(size));
    decode(bencher, codec, framing, size);
}

/// Decodes a read of frames that `framing` made.
fn decode<C, F>(bencher: Bencher<'_, '_>, mut codec: C, framing: &F, size: usize)
where
    C: Codec,
    F: Framing + Clone,
{
    let (mut framing, mut frame) = (framing.clone(), Vec::new());
    framing.begin(&mut frame);
    frame.extend(vec![1; size]);
    let framed = framing.end(&mut frame, 0);
    framed.expect("it may be sent");
    let read = frame.repeat(messages(size));
    bencher
        .counter(ItemsCount::new(messages(size)))
        .with_inputs(|| BytesMut::from(&read[..]))
        .bench_local_refs(|input| {
            while let Some(message) = codec.decode(input).expect("the frames are good") {
                black_box(message);
            }
        });
}

fn encode<C>(bencher: Bencher<'_, '_>, mut codec: C, size: usize, message: &C::Out)
where
    C: Codec,
    C::Out: Clone,
{
    bencher
        .counter(ItemsCount::new(messages(size)))
        .with_inputs(|| {
            // A buffer that has been written before, as the worker lends one.
            let mut output = Output::new();
            output.tail().resize(2 * READ_BYTES, 0);
            output.tail().clear();
            output
        })
        .bench_local_refs(|output| {
            for _ in 0..messages(size) {
                let encoded = codec.encode(message.clone(), output);
                encoded.expect("it may be sent");
            }
        });
}

/// A message of which the first bytes are read; written, it is a pattern.
struct Record {
    pattern: Vec<u8>,
}

impl Record {
    fn of(size: usize) -> Self {
        Self {
            pattern: vec![1; size],
        }
    }
}

impl Body for Record {
    type In = u64;
    type Out = ();

    fn decode(&mut self, frame: &[u8]) -> Result<u64> {
        Ok(frame.iter().take(8).map(|byte| u64::from(*byte)).sum())
    }

    fn encode(&mut self, (): (), dst: &mut Vec<u8>) -> Result<()> {
        dst.extend_from_slice(&self.pattern);
        Ok(())
    }
}
