//! When bytes last moved on a connection, as idle timeouts and heartbeats need it.
//!
//! Kept where the bytes are, not where messages are: a large send that leaves slowly is progress, a message
//! that a stage swallows is too. Costs a read and a write one store of four bytes each; whoever wants to know
//! asks when its own timer is due, so nothing is armed or moved on the path of a message.

use std::time::Duration;

use crate::clock::Instant;

const NANOS_PER_MILLI: u64 = 1_000_000;

/// A moment in four bytes: milliseconds of the clock, rounded up, so that no silence is told early. Wraps after
/// 49 days, which only makes a connection that is silent for longer look younger.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp(u32);

impl Stamp {
    #[expect(clippy::cast_possible_truncation, reason = "a stamp wraps")]
    pub(crate) const fn of(now: Instant) -> Self {
        Self(now.as_nanos().div_ceil(NANOS_PER_MILLI) as u32)
    }

    /// Time since then, never more than has passed.
    #[expect(clippy::cast_possible_truncation, reason = "a stamp wraps")]
    fn age(self, now: Instant) -> Duration {
        let millis = ((now.as_nanos() / NANOS_PER_MILLI) as u32).wrapping_sub(self.0);
        // What was stamped in this very millisecond is ahead of it.
        let millis = if millis > u32::MAX / 2 { 0 } else { millis };
        Duration::from_millis(u64::from(millis))
    }
}

/// When bytes last moved on one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pulse {
    read: Stamp,
    written: Stamp,
    frame: Stamp,
    /// Whether the last bytes that arrived are not a whole frame yet.
    mid_frame: bool,
    /// Whether a look at the age of a frame is armed. It stands here, where it takes no room of its own.
    pub(crate) watched: bool,
}

impl Pulse {
    /// The connection is open: nothing has been silent yet.
    pub(crate) fn begin(&mut self, now: Stamp) {
        *self = Self {
            read: now,
            written: now,
            ..Self::default()
        };
    }

    #[inline]
    pub(crate) fn note_read(&mut self, now: Stamp) {
        self.read = now;
    }

    /// A pause has ended, in which the peer could do nothing.
    pub(crate) fn note_resumed(&mut self, now: Stamp) {
        (self.read, self.frame) = (now, now);
    }

    #[inline]
    pub(crate) fn note_written(&mut self, now: Stamp) {
        self.written = now;
    }

    /// What has arrived ends in the middle of a frame; in a new one when `anew`, else in the same as before.
    pub(crate) fn note_mid_frame(&mut self, now: Stamp, anew: bool) {
        if anew || !self.mid_frame {
            self.frame = now;
        }
        self.mid_frame = true;
    }

    #[inline]
    pub(crate) fn note_whole(&mut self) {
        self.mid_frame = false;
    }

    pub(crate) fn read_silence(&self, now: Instant) -> Duration {
        self.read.age(now)
    }

    pub(crate) fn write_silence(&self, now: Instant) -> Duration {
        self.written.age(now)
    }

    pub(crate) fn frame_age(&self, now: Instant) -> Option<Duration> {
        self.mid_frame.then(|| self.frame.age(now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MICRO: u64 = 1_000;

    fn at(micros: u64) -> Instant {
        Instant::from_nanos(micros * MICRO)
    }

    #[test]
    fn a_silence_is_never_told_longer_than_it_is() {
        for begun in [0, 1, 999, 1_000, 1_001, 5_500] {
            for passed in [0, 1, 400, 1_000, 1_500, 20_000] {
                let told = Stamp::of(at(begun)).age(at(begun + passed));
                let real = Duration::from_micros(passed);
                assert!(told <= real, "{begun} {passed}: {told:?}");
                assert!(
                    told + Duration::from_millis(2) > real,
                    "{begun} {passed}: {told:?}"
                );
            }
        }
    }

    #[test]
    fn a_silence_over_the_end_of_the_count_is_told_right() {
        let wrap = (u64::from(u32::MAX) + 1) * NANOS_PER_MILLI;
        let begun = Instant::from_nanos(wrap - 5 * NANOS_PER_MILLI);
        let age = Stamp::of(begun).age(begun + Duration::from_millis(12));
        assert_eq!(age, Duration::from_millis(12));
    }

    #[test]
    fn a_frame_keeps_its_age_until_it_is_whole() {
        let mut pulse = Pulse::default();
        assert_eq!(pulse.frame_age(at(0)), None);
        pulse.note_mid_frame(Stamp::of(at(1_000)), false);
        pulse.note_mid_frame(Stamp::of(at(3_000)), false);
        assert_eq!(pulse.frame_age(at(5_000)), Some(Duration::from_millis(4)));
        pulse.note_mid_frame(Stamp::of(at(5_000)), true);
        assert_eq!(pulse.frame_age(at(6_000)), Some(Duration::from_millis(1)));
        pulse.note_whole();
        assert_eq!(pulse.frame_age(at(9_000)), None);
    }
}
