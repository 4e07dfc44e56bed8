//! The law of framings: what a stream holds does not depend on how it was cut into reads.
//!
//! Tests hold a framing against an oracle that sees the whole stream at once: in one read, byte by byte,
//! cut in two at every place, and cut at random.

use bytes::BytesMut;
use proptest::prelude::*;
use proptest::sample::Index;

use super::frame_error::{FrameError, FrameErrorKind, OnFrameError};
use super::framed::{Framing, Scan};
use crate::codec::Codec;
use crate::error::Result;

/// What came out of a stream, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Message(Vec<u8>),
    Bad(FrameErrorKind),
}

use Found::{Bad, Message};

/// A framing that writes down the bad frames it passes over.
pub(super) struct Recorder<F> {
    framing: F,
    policy: OnFrameError,
    pub(super) found: Vec<Found>,
}

impl<F: Framing> Framing for Recorder<F> {
    fn scan(&mut self, input: &[u8]) -> Result<Scan, FrameError> {
        self.framing.scan(input)
    }

    fn scan_eof(&mut self, input: &[u8]) -> Result<Scan, FrameError> {
        self.framing.scan_eof(input)
    }

    fn on_bad_frame(&mut self, error: &FrameError) -> OnFrameError {
        self.found.push(Bad(error.kind()));
        self.policy = self.framing.on_bad_frame(error);
        self.policy
    }

    fn take_skips(&mut self) -> u64 {
        self.framing.take_skips()
    }

    fn begin(&mut self, _dst: &mut Vec<u8>) {}

    fn end(&mut self, _dst: &mut Vec<u8>, _start: usize) -> Result<()> {
        Ok(())
    }
}

impl<F: Framing + Clone> Recorder<F> {
    pub(super) fn new(framing: &F) -> Self {
        Self {
            framing: framing.clone(),
            policy: OnFrameError::Skip,
            found: Vec::new(),
        }
    }

    /// Takes what `input` holds; answers whether the connection would go on.
    pub(super) fn drain(&mut self, input: &mut BytesMut, eof: bool) -> bool {
        loop {
            let answer = if eof {
                self.decode_eof(input)
            } else {
                self.decode(input)
            };
            match answer {
                Ok(Some(message)) => self.found.push(Message(message.to_vec())),
                Ok(None) => return true,
                Err(failure) => {
                    assert_eq!(self.policy, OnFrameError::Close, "{failure}");
                    return false;
                }
            }
        }
    }
}

/// Feeds the pieces as separate reads, then the end of the stream.
pub(super) fn receive<F: Framing + Clone>(
    framing: &F,
    reads: impl IntoIterator<Item = impl AsRef<[u8]>>,
) -> Vec<Found> {
    let mut recorder = Recorder::new(framing);
    let mut input = BytesMut::new();
    for read in reads {
        input.extend_from_slice(read.as_ref());
        if !recorder.drain(&mut input, false) {
            return recorder.found;
        }
    }
    if recorder.drain(&mut input, true) {
        assert!(input.is_empty(), "nothing is left at the end of the stream");
    }
    let bad = recorder.found.iter().filter(|one| matches!(one, Bad(_)));
    let (bad, skips) = (bad.count() as u64, Codec::take_skipped(&mut recorder));
    if recorder.policy == OnFrameError::Skip {
        assert_eq!(skips, bad, "each bad frame is counted");
    }
    assert_eq!(Codec::take_skipped(&mut recorder), 0, "and counted once");
    recorder.found
}

/// Holds what is found, however the stream is cut, against what is `expected`.
pub(super) fn check_cuts<F: Framing + Clone>(
    framing: &F,
    stream: &[u8],
    cuts: &[Index],
    expected: &Vec<Found>,
) -> Result<(), TestCaseError> {
    prop_assert_eq!(&receive(framing, [stream]), expected, "in one read");
    prop_assert_eq!(
        &receive(framing, stream.chunks(1)),
        expected,
        "byte by byte"
    );
    for cut in 0..=stream.len() {
        let (one, two) = stream.split_at(cut);
        prop_assert_eq!(&receive(framing, [one, two]), expected, "cut at {}", cut);
    }
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
    cuts.extend([0, stream.len()]);
    cuts.sort_unstable();
    let pieces = cuts.windows(2).map(|pair| &stream[pair[0]..pair[1]]);
    prop_assert_eq!(&receive(framing, pieces), expected, "cut at {:?}", cuts);
    Ok(())
}

/// What becomes of bad frames, for the laws.
pub(super) fn policy() -> impl Strategy<Value = OnFrameError> {
    prop_oneof![1 => Just(OnFrameError::Close), 2 => Just(OnFrameError::Skip)]
}

/// What a framing makes of messages, each encoded twice: as a body that is written, and as one that is ready.
///
/// The reason, where a message is refused; then nothing of it is left.
pub(super) fn encoded<F: Framing + Clone>(
    framing: &F,
    messages: &[&[u8]],
) -> Result<Vec<u8>, FrameErrorKind> {
    let (mut built, mut wrapped) = (framing.clone(), framing.clone());
    let (mut wire, mut output) = (b"before".to_vec(), crate::buffer::Output::new());
    output.put(b"before");
    for message in messages {
        let start = wire.len();
        built.begin(&mut wire);
        wire.extend_from_slice(message);
        let one = built.end(&mut wire, start);
        let two = wrapped.encode(bytes::Bytes::copy_from_slice(message), &mut output);
        assert_eq!(one.is_ok(), two.is_ok(), "both ways of encoding agree");
        if let Err(failure) = two {
            assert_eq!(output.len(), start, "nothing of the failed frame is left");
            let cause = failure.cause().and_then(|cause| cause.downcast_ref());
            return Err(cause
                .map(FrameError::kind)
                .expect("a frame error is the cause"));
        }
    }
    let mut slices = [std::io::IoSlice::new(&[]); 64];
    let filled = output.gather(&mut slices);
    let queued: Vec<_> = slices[..filled]
        .iter()
        .flat_map(|slice| slice.iter().copied())
        .collect();
    assert_eq!(queued, wire, "both ways of encoding agree");
    Ok(wire.split_off(6))
}
