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
    /// Stands for no moment where a field may have none.
    const NEVER: Self = Self(0);

    /// The moment, or the next one where it would read as none: a silence looks a millisecond shorter.
    const fn or_next(self) -> Self {
        if self.0 == 0 { Self(1) } else { self }
    }

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

#[expect(clippy::cast_possible_truncation, reason = "wraps after 13 years")]
const fn tenths(now: Instant) -> u32 {
    (now.as_nanos() / (100 * NANOS_PER_MILLI)) as u32
}

/// When bytes last moved on one connection.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Pulse {
    /// When it began, in tenths of a second: wraps after 13 years.
    begun: u32,
    read: Stamp,
    written: Stamp,
    /// Since when the last bytes that arrived are no whole frame; [`Stamp::NEVER`] where they are.
    frame: Stamp,
    /// Whether a look at the age of a frame is armed. It stands here, where it takes no room of its own.
    pub(crate) watched: bool,
}

impl Pulse {
    /// The connection is open: nothing has been silent yet.
    pub(crate) fn begin(&mut self, now: Instant) {
        *self = Self {
            begun: tenths(now),
            read: Stamp::of(now),
            written: Stamp::of(now),
            ..Self::default()
        };
    }

    /// Time since the connection is open, to a tenth of a second.
    pub(crate) fn age(&self, now: Instant) -> Duration {
        let tenths = tenths(now).wrapping_sub(self.begun);
        Duration::from_millis(u64::from(tenths) * 100)
    }

    #[inline]
    pub(crate) fn note_read(&mut self, now: Stamp) {
        self.read = now;
    }

    /// A pause has ended, in which the peer could do nothing.
    pub(crate) fn note_resumed(&mut self, now: Stamp) {
        self.read = now;
        if self.frame != Stamp::NEVER {
            self.frame = now.or_next();
        }
    }

    #[inline]
    pub(crate) fn note_written(&mut self, now: Stamp) {
        self.written = now;
    }

    /// What has arrived ends in the middle of a frame; in a new one when `anew`, else in the same as before.
    pub(crate) fn note_mid_frame(&mut self, now: Stamp, anew: bool) {
        if anew || self.frame == Stamp::NEVER {
            self.frame = now.or_next();
        }
    }

    #[inline]
    pub(crate) fn note_whole(&mut self) {
        self.frame = Stamp::NEVER;
    }

    pub(crate) fn read_silence(&self, now: Instant) -> Duration {
        self.read.age(now)
    }

    pub(crate) fn write_silence(&self, now: Instant) -> Duration {
        self.written.age(now)
    }

    pub(crate) fn frame_age(&self, now: Instant) -> Option<Duration> {
        (self.frame != Stamp::NEVER).then(|| self.frame.age(now))
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

    #[test]
    fn a_frame_begun_at_the_first_moment_is_one() {
        let mut pulse = Pulse::default();
        pulse.begin(at(0));
        pulse.note_mid_frame(Stamp::of(at(0)), true);
        assert_eq!(pulse.frame_age(at(5_000)), Some(Duration::from_millis(4)));
        pulse.note_resumed(Stamp::of(at(7_000)));
        assert_eq!(pulse.frame_age(at(9_000)), Some(Duration::from_millis(2)));
        pulse.note_whole();
        pulse.note_resumed(Stamp::of(at(9_000)));
        assert_eq!(pulse.frame_age(at(9_000)), None);
    }

    #[test]
    fn an_age_is_told_to_a_tenth_of_a_second_and_outlasts_the_stamps() {
        let mut pulse = Pulse::default();
        pulse.begin(at(1_050_000));
        assert_eq!(pulse.age(at(1_099_000)), Duration::ZERO);
        assert_eq!(pulse.age(at(61_100_000)), Duration::from_millis(60_100));
        let year = 365 * 24 * 3600;
        let later = at(1_050_000 + year * 1_000_000);
        assert_eq!(pulse.age(later), Duration::from_secs(year));
    }
}
