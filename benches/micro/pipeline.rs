//! The walk of a message along the stages, each message a byte, so that the codec costs next to nothing.
//!
//! What a stage costs is the difference between two rows, divided by the stages: codec, handler and
//! harness are the same in all of them.

use bytes::{Buf, BytesMut};
use divan::counter::ItemsCount;
use divan::{Bencher, black_box};
use netwheel::codec::Codec;
use netwheel::testing::Harness;
use netwheel::{Context, Flow, Output, Pipeline, PipelineBuilder, Result, Stage};

/// Messages of one read: enough that the harness' own work does not count.
const BURST: usize = 4096;

const STAGES: [usize; 3] = [0, 1, 5];
const NAMES: [&str; 5] = ["one", "two", "three", "four", "five"];

/// Messages pass the stages and end in the handler.
#[divan::bench(args = STAGES)]
fn inward(bencher: Bencher<'_, '_>, stages: usize) {
    receive_bursts(bencher, Harness::new(build(stages).handle(swallow)));
}

/// Messages pass the stages inward, and the handler's answers pass them outward.
#[divan::bench(args = STAGES)]
fn there_and_back(bencher: Bencher<'_, '_>, stages: usize) {
    receive_bursts(
        bencher,
        Harness::new(build(stages).handle(|cx, m| cx.write(m))),
    );
}

/// As `inward` with five stages, none of which is where it was put when the pipeline was built.
#[divan::bench]
fn inward_edited(bencher: Bencher<'_, '_>) {
    let mut is_edited = false;
    let pipeline = Pipeline::new(Bytewise)
        .stage("zero", Counter(0))
        .stage("three", Counter(0))
        .handle(move |cx, message| {
            if !is_edited {
                cx.pipeline()
                    .add_before("three", "two", Counter(0))
                    .add_after("three", "four", Counter(0))
                    .replace("zero", "one", Counter(0))
                    .add_last("five", Counter(0));
                is_edited = true;
            }
            swallow(cx, message)
        });
    receive_bursts(bencher, Harness::new(pipeline));
}

/// As `inward` with five stages, of which the handler replaces one after every message.
#[divan::bench]
fn inward_editing(bencher: Bencher<'_, '_>) {
    let pipeline = build(5).handle(|cx, message| {
        cx.pipeline().replace("three", "three", Counter(0));
        swallow(cx, message)
    });
    receive_bursts(bencher, Harness::new(pipeline));
}

/// Messages come from a handle, pass the stages outward and are written once.
#[divan::bench(args = STAGES)]
fn outward_from_handle(bencher: Bencher<'_, '_>, stages: usize) {
    let mut harness = Harness::new(build(stages).handle(swallow));
    let handle = harness.handle();
    bencher.counter(ItemsCount::new(BURST)).bench_local(|| {
        for message in 0..BURST {
            let sent = handle.try_send(message as u8);
            debug_assert!(sent.is_ok(), "a burst finds room");
        }
        harness.mail().sent()
    });
}

fn build(stages: usize) -> PipelineBuilder<Bytewise> {
    NAMES[..stages]
        .iter()
        .fold(Pipeline::new(Bytewise), |builder, name| {
            builder.stage(name, Counter(0))
        })
}

fn receive_bursts(bencher: Bencher<'_, '_>, mut harness: Harness<u8, u8>) {
    let burst = [1; BURST];
    bencher
        .counter(ItemsCount::new(BURST))
        .bench_local(|| harness.receive(&burst).sent());
    assert_eq!(harness.closed(), None);
}

#[expect(clippy::unnecessary_wraps, reason = "it is a handler")]
fn swallow(_: &mut Context<'_, u8, u8>, message: u8) -> Result<()> {
    black_box(message);
    Ok(())
}

/// Does a little with every message, so that the walk to it cannot be left out.
struct Counter(u64);

impl Stage<u8, u8> for Counter {
    fn on_inbound(&mut self, _: &mut Context<'_, u8, u8>, message: &mut u8) -> Result<Flow> {
        self.0 += u64::from(*message);
        Ok(Flow::Next)
    }

    fn on_outbound(&mut self, _: &mut Context<'_, u8, u8>, message: &mut u8) -> Result<Flow> {
        self.0 += u64::from(*message);
        Ok(Flow::Next)
    }
}

/// A byte is a message.
pub(crate) struct Bytewise;

impl Codec for Bytewise {
    type In = u8;
    type Out = u8;

    fn decode(&mut self, input: &mut BytesMut) -> Result<Option<u8>> {
        Ok((!input.is_empty()).then(|| input.get_u8()))
    }

    fn encode(&mut self, out: u8, dst: &mut Output) -> Result<()> {
        dst.put(&[out]);
        Ok(())
    }
}
