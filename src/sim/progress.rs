//! How far a long run is, for whoever looks at it.

use std::io::{self, IsTerminal, Write};
use std::ops::Range;
use std::sync::Mutex;
use std::time::Duration;

use crate::clock::{Clock, Instant};
use crate::sync::lock;

/// Between two pictures; the first comes after as long, so that a short run shows none.
const INTERVAL: Duration = Duration::from_millis(200);
/// Characters of the bar.
const WIDTH: u64 = 30;

/// A bar on stderr, where that is a terminal.
pub(super) struct Progress {
    total: u64,
    clock: Clock,
    shown: Option<Mutex<Shown>>,
}

struct Shown {
    done: u64,
    next: Instant,
    drawn: bool,
}

impl Progress {
    pub(super) fn new(seeds: &Range<u64>) -> Self {
        let first = Shown {
            done: 0,
            next: Instant::START + INTERVAL,
            drawn: false,
        };
        Self {
            total: seeds.end.saturating_sub(seeds.start),
            clock: Clock::system(),
            shown: io::stderr().is_terminal().then(|| Mutex::new(first)),
        }
    }

    /// One more is done.
    pub(super) fn step(&self) {
        let Some(shown) = &self.shown else { return };
        let mut shown = lock(shown);
        shown.done += 1;
        let now = self.clock.now();
        if now >= shown.next {
            (shown.next, shown.drawn) = (now + INTERVAL, true);
            write(&picture(shown.done, self.total));
        }
    }

    /// Takes the bar away.
    pub(super) fn end(&self) {
        let drawn = self.shown.as_ref().is_some_and(|shown| lock(shown).drawn);
        if drawn {
            write("\r\x1b[K");
        }
    }
}

fn write(text: &str) {
    // Nobody is helped by an error of a terminal that has gone.
    let _ = io::stderr().write_all(text.as_bytes());
}

fn picture(done: u64, total: u64) -> String {
    let filled = done.saturating_mul(WIDTH) / total.max(1);
    let bar: String = (0..WIDTH)
        .map(|place| if place < filled { '#' } else { '.' })
        .collect();
    format!("\r[{bar}] {done} of {total} worlds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_shows_how_far_it_is() {
        let half = picture(50, 100);
        assert_eq!(half.matches('#').count(), 15);
        assert!(half.ends_with("50 of 100 worlds"), "{half}");
        assert_eq!(picture(0, 0).matches('#').count(), 0);
    }
}
