//! Codecs: one read full of messages, and as many messages written.
//!
//! A read is 64 KiB, the buffer of a worker, or a message if that is longer.

use bytes::{Bytes, BytesMut};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use netwheel::codec::{Body, Codec, Framing, LengthField, Raw};
use netwheel::{Output, Result};

/// Bytes of a message.
const SIZES: [usize; 6] = [16, 64, 256, 1024, 4096, 65_536];

const READ_BYTES: usize = 64 << 10;

/// Each message a `Bytes` of its own: copied out of the read while short, shared with it from 2 KiB.
#[divan::bench(args = SIZES)]
fn length_field_decode(bencher: Bencher<'_, '_>, size: usize) {
    decode(bencher, LengthField::u32(), size);
}

/// Each message read where it lies.
#[divan::bench(args = SIZES)]
fn length_field_decode_in_place(bencher: Bencher<'_, '_>, size: usize) {
    decode(bencher, LengthField::u32().then(Record::of(size)), size);
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
fn raw_encode(bencher: Bencher<'_, '_>, size: usize) {
    encode(bencher, Raw, size, &Bytes::from(vec![1; size]));
}

/// Messages of `size` bytes in a read, at least one.
fn messages(size: usize) -> usize {
    (READ_BYTES / (4 + size)).max(1)
}

fn decode<C: Codec>(bencher: Bencher<'_, '_>, mut codec: C, size: usize) {
    let mut frame = (size as u32).to_be_bytes().to_vec();
    frame.resize(4 + size, 1);
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
