//! How far long work has come: a bar where somebody looks, plain lines where a file does.

use std::io::{IsTerminal, Write, stderr};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// Progress through a number of seconds, on stderr.
pub(crate) struct Progress {
    seconds: u64,
    /// The second that was told last.
    told: u64,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Time between two updates that makes a bar move smoothly.
    pub(crate) const INTERVAL: Duration = Duration::from_millis(200);

    pub(crate) fn new(seconds: u64) -> Self {
        let bar = stderr().is_terminal().then(|| {
            let style = ProgressStyle::with_template("{bar:30} {msg}");
            ProgressBar::new(seconds * 1000).with_style(style.expect("the template is sound"))
        });
        Self {
            seconds,
            told: 0,
            bar,
        }
    }

    /// So much time has passed, and this is how it goes: a line a second, or the bar moves.
    pub(crate) fn update(&mut self, elapsed: Duration, text: &str) {
        let second = elapsed.as_secs();
        if let Some(bar) = &self.bar {
            bar.set_position(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX));
            bar.set_message(text.to_owned());
        } else if second > self.told {
            self.told = second;
            let _ = writeln!(stderr(), "{second}/{} s: {text}", self.seconds);
        }
    }

    /// The work is done: the bar makes room for the result.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
