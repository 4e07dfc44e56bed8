//! What the library has logged.

use std::sync::{Mutex, Once, PoisonError};

use log::{LevelFilter, Log, Metadata, Record};

struct Capture(Mutex<Vec<String>>);

static CAPTURE: Capture = Capture(Mutex::new(Vec::new()));

impl Log for Capture {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = format!("{} {} {}", record.level(), record.target(), record.args());
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(line);
    }

    fn flush(&self) {}
}

/// Keeps every line that is logged from now on.
pub(crate) fn capture() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        log::set_logger(&CAPTURE).expect("no other logger in a test");
        log::set_max_level(LevelFilter::Trace);
    });
}

/// The lines so far that hold all of `words`.
pub(crate) fn lines_with(words: &[&str]) -> Vec<String> {
    let lines = CAPTURE.0.lock().unwrap_or_else(PoisonError::into_inner);
    let holds = |line: &&String| words.iter().all(|word| line.contains(word));
    lines.iter().filter(holds).cloned().collect()
}
