//! What the log shows of a connection.

use std::sync::Mutex;

use log::{Level, LevelFilter, Metadata, Record};
use netwheel::Pipeline;
use netwheel::stages::Logging;
use netwheel::testing::Harness;

/// Keeps the lines of the stage; the only test of this program that logs.
struct Lines(Mutex<Vec<String>>);

impl log::Log for Lines {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.target() == "netwheel::stages" && metadata.level() <= Level::Debug
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            self.0.lock().unwrap().push(record.args().to_string());
        }
    }

    fn flush(&self) {}
}

static LINES: Lines = Lines(Mutex::new(Vec::new()));

#[test]
fn a_line_for_each_thing_that_passes() {
    log::set_logger(&LINES).expect("the only logger");
    log::set_max_level(LevelFilter::Trace);
    let pipeline = Pipeline::raw()
        .stage("log", Logging::text(Level::Debug).shown_bytes(8))
        .stage("quiet", Logging::hex(Level::Trace))
        .handle(|cx, bytes| cx.write(bytes));
    let mut harness = Harness::new(pipeline);
    harness.receive(b"hello\x1b[2J, all").receive_eof();
    let lines = LINES.0.lock().unwrap();
    let ours: Vec<&str> = lines
        .iter()
        .filter_map(|line| line.split_once("192.0.2.1:1: ").map(|(_, what)| what))
        .collect();
    assert_eq!(
        ours,
        [
            "open",
            r#"in 14 B "hello\u{1b}[2"..."#,
            r#"out 14 B "hello\u{1b}[2"..."#,
            "closed: peer_closed"
        ]
    );
}
