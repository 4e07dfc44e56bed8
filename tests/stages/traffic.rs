//! Rates are kept over time, both ways, alone and together; bytes are counted.

use netwheel::limits::ConnectionLimits;
use netwheel::stages::{Idle, Traffic};
use netwheel::testing::Harness;
use netwheel::{CloseReason, Pipeline};

use crate::{Log, MILLI, SECOND, Told, Wire};

/// An echo of raw bytes that never closes for slowness.
fn echo(stages: &[&Traffic]) -> Wire {
    let mut builder = Pipeline::raw();
    for (name, stage) in ["a", "b", "c"].into_iter().zip(stages) {
        builder = builder.stage(name, (*stage).clone());
    }
    Harness::new(builder.handle(|cx, bytes| cx.write(bytes)))
}

#[test]
fn bytes_are_counted_both_ways() {
    let (all, each) = (Traffic::new(), Traffic::new());
    let mut first = echo(&[&all, &each]);
    let mut second = echo(&[&all]);
    first.receive(b"hello");
    second.receive(b"you").block().receive(b"stuck");
    assert_eq!((each.bytes_read(), each.bytes_written()), (5, 5));
    assert_eq!((all.bytes_read(), all.bytes_written()), (13, 8));
}

/// Seconds until everything that was sent has come back.
fn seconds_to_echo(harness: &mut Wire, bytes: usize) -> f64 {
    let (start, mut came) = (harness.now(), 0);
    harness.receive(&vec![5; bytes]);
    while came < bytes {
        came += harness.pass(MILLI).sent().len();
        assert_eq!(harness.closed(), None);
    }
    harness.now().since(start).as_secs_f64()
}

#[test]
fn reading_keeps_to_its_rate() {
    let slow = Traffic::new().read_rate(10_000);
    let seconds = seconds_to_echo(&mut echo(&[&slow]), 100_000);
    assert!((9.7..=10.0).contains(&seconds), "{seconds}");
}

#[test]
fn writing_keeps_to_its_rate_and_a_stall_is_not_of_the_peers_making() {
    let slow = Traffic::new().write_rate(2_000);
    let seconds = seconds_to_echo(&mut echo(&[&slow]), 60_000);
    assert!((29.0..=30.0).contains(&seconds), "{seconds}");
}

#[test]
fn the_slowest_of_several_rates_holds() {
    let (fast, slow) = (
        Traffic::new().read_rate(1 << 20),
        Traffic::new().write_rate(50_000),
    );
    let seconds = seconds_to_echo(&mut echo(&[&fast, &slow, &fast]), 100_000);
    assert!((1.7..=2.0).contains(&seconds), "{seconds}");
}

#[test]
fn a_shared_rate_is_shared_fairly() {
    let all = Traffic::new().read_rate(100_000);
    let mut wires: Vec<Wire> = (0..10).map(|_| echo(&[&all])).collect();
    let mut came = [0; 10];
    for wire in &mut wires {
        wire.receive(&vec![5; 1 << 20]);
    }
    for _ in 0..10_000 {
        for (wire, came) in wires.iter_mut().zip(&mut came) {
            *came += wire.pass(MILLI).sent().len();
        }
    }
    let sum: usize = came.iter().sum();
    assert!(
        (1_000_000..1_050_000).contains(&sum),
        "{sum} in 10 s at 100,000 a second"
    );
    assert!(
        came.iter().all(|came| (90_000..115_000).contains(came)),
        "{came:?}"
    );
}

#[test]
fn who_reads_nothing_is_still_found_while_output_is_shaped() {
    let slow = Traffic::new().write_rate(1_000);
    let mut harness = echo(&[&slow]);
    harness.block().receive(&[1; 5_000]);
    let stall = ConnectionLimits::default().write_stall_timeout;
    harness.pass(stall - MILLI);
    assert_eq!(harness.closed(), None);
    assert_eq!(harness.pass(MILLI).closed(), Some(CloseReason::WriteStall));
}

#[test]
fn a_peer_that_we_slow_down_is_not_silent() {
    let log = Log::default();
    let pipeline = Pipeline::raw()
        .stage("slow", Traffic::new().read_rate(100))
        .stage("idle", Idle::new().read(SECOND))
        .handler(Told(log.clone()));
    let mut harness = Harness::new(pipeline);
    harness.receive(&[1; 5_000]).pass(49 * SECOND);
    assert_eq!(log.take(), "open");
}

#[test]
fn a_rate_may_change_and_its_stage_may_go() {
    let slow = Traffic::new().write_rate(100);
    let pipeline = Pipeline::raw()
        .stage("slow", slow.clone())
        .handle(|cx, bytes| {
            if bytes.last() == Some(&b'!') {
                cx.pipeline().remove("slow");
            }
            cx.write(bytes)
        });
    let mut harness = Harness::new(pipeline);
    let sent = harness.receive(&[1; 4_000]).sent().len();
    assert!(sent < 4_000, "{sent}");
    slow.set_write_rate(None);
    let rest = harness.pass(12 * SECOND).sent().len();
    assert_eq!(
        sent + rest,
        4_000,
        "who waits by the old rate still does, for a piece"
    );
    slow.set_write_rate(Some(10));
    let sent = harness.receive(&[1; 4_000]).sent().len();
    assert!(sent < 4_000, "{sent}");
    let rest = harness.receive(b"!").sent().len();
    assert_eq!(sent + rest, 4_001, "what waited leaves at once");
}

#[test]
fn a_shutdown_waits_for_what_is_held_back() {
    let slow = Traffic::new().write_rate(1_000);
    let mut harness = echo(&[&slow]);
    harness.receive(&[1; 5_000]).shutdown();
    assert_eq!(harness.closed(), None);
    harness.pass(5 * SECOND);
    assert_eq!(harness.sent().len(), 5_000);
    assert_eq!(harness.closed(), Some(CloseReason::Shutdown));
}
