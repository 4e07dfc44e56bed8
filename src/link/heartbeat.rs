//! Whether the other side is still there: pings, and the silence that ends a link.

use std::time::Duration;

use crate::clock::Instant;
use crate::error::{Error, ErrorKind};
use crate::limits::{HEARTBEAT_INTERVAL, HEARTBEATS_MISSED_MAX};
use crate::random::Random;

/// The largest share of a delay that jitter adds to it, as its inverse: a delay d becomes d to 1.2 d.
const JITTER_INVERSE: u64 = 5;

/// How one end of a link finds out that the other has gone.
///
/// ```
/// use std::time::Duration;
/// use netwheel::link::HeartbeatRules;
///
/// let fast = HeartbeatRules::dialer().interval(Duration::from_millis(50));
/// assert_eq!(fast.detects_after(), Duration::from_millis(200)); // (N + 1) T
/// let fast = HeartbeatRules::listener().interval(Duration::from_millis(50));
/// assert_eq!(fast.detects_after(), Duration::from_millis(150)); // N T
/// ```
///
/// By default [`HEARTBEAT_INTERVAL`] (T) and [`HEARTBEATS_MISSED_MAX`] (N). A listener that hears one ping in T
/// only should allow two misses or more: jitter, and the way, make some pings later than T.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatRules {
    interval: Duration,
    missed_max: u32,
    pings: bool,
    /// Whether the first silent interval only asks, by a ping, and is not counted as missed.
    asks_first: bool,
    jitter: bool,
}

impl HeartbeatRules {
    /// The end that dialled: it pings, and counts what is missed from the first ping on.
    #[must_use]
    pub const fn dialer() -> Self {
        Self {
            interval: HEARTBEAT_INTERVAL,
            missed_max: HEARTBEATS_MISSED_MAX,
            pings: true,
            asks_first: true,
            jitter: true,
        }
    }

    /// The end that listens: it answers pings, and counts each silent interval.
    #[must_use]
    pub const fn listener() -> Self {
        Self {
            pings: false,
            asks_first: false,
            ..Self::dialer()
        }
    }

    /// T: the silence after which a ping is sent, and a heartbeat counts as missed.
    #[must_use]
    pub const fn interval(mut self, time: Duration) -> Self {
        self.interval = time;
        self
    }

    /// N: heartbeats missed in a row that end the link.
    #[must_use]
    pub const fn missed_max(mut self, count: u32) -> Self {
        self.missed_max = count;
        self
    }

    /// Whether this end sends pings; a listener does not by default.
    #[must_use]
    pub const fn pings(mut self, on: bool) -> Self {
        self.pings = on;
        self
    }

    /// Whether the delay before each ping grows by chance, by up to a fifth, which spreads the pings of many
    /// links; on by default. What ends a link is never delayed.
    #[must_use]
    pub const fn jitter(mut self, on: bool) -> Self {
        self.jitter = on;
        self
    }

    /// The silence that ends the link: N T for a listener, (N + 1) T for a dialer.
    #[must_use]
    pub fn detects_after(&self) -> Duration {
        self.interval
            .saturating_mul(self.missed_max.saturating_add(u32::from(self.asks_first)))
    }

    /// Refuses what cannot work, in words that say what would.
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.interval < Duration::from_millis(1) {
            let text = format!(
                "a heartbeat every {:?} leaves no rest; set the interval to at least 1 ms",
                self.interval
            );
            return Err(Error::new(ErrorKind::Config, text));
        }
        if self.missed_max == 0 {
            let text = "missed_max is 0, which ends every link at once; set it to at least 1";
            return Err(Error::new(ErrorKind::Config, text));
        }
        Ok(())
    }
}

/// What a heartbeat asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Beat {
    /// Send a ping.
    Ping,
    /// The other side has gone: close.
    Lost,
}

/// The heartbeat of one connection.
///
/// ```text
///               heard: misses = 0
///             ┌──────────────────┐
///             v                  │
///   ──────> alive ──T silent──> asked ──T──> 1 missed ──T──> ... N missed ──> lost
///                      ping            ping            ping
/// ```
/// Everything follows from two stamps, of the last bytes that came and the last frame that went: whatever arms the
/// timer, and however late it fires, nothing is forgotten. A link that only writes is silent all the same, and
/// one that only reads pings, since its own silence would end it over there.
#[derive(Debug)]
pub(super) struct Heartbeat {
    rules: HeartbeatRules,
    random: Random,
    heard: Instant,
    sent: Instant,
    pinged: Instant,
    /// T, and what chance adds to it until the next ping.
    delay: Duration,
    /// Pings without a pong.
    unanswered: u32,
    /// The moment of the ping that the next pong answers; pongs come in order, and only a lone ping is timed.
    asked: Option<Instant>,
    rtt: Option<Duration>,
}

impl Heartbeat {
    pub(super) fn new(rules: HeartbeatRules, seed: u64, now: Instant) -> Self {
        let mut heartbeat = Self {
            delay: rules.interval,
            rules,
            random: Random::new(seed),
            heard: now,
            sent: now,
            pinged: now,
            unanswered: 0,
            asked: None,
            rtt: None,
        };
        heartbeat.draw();
        heartbeat
    }

    /// A whole frame has come, of any kind.
    pub(super) const fn handle_frame(&mut self, now: Instant) {
        self.heard = now;
    }

    /// Bytes have come, frames or parts of one, or nobody has read: the other side was silent for so long only.
    pub(super) fn handle_silence(&mut self, now: Instant, silence: Duration) {
        let since = now.as_nanos()
            - u64::try_from(silence.as_nanos()).map_or(0, |silence| silence.min(now.as_nanos()));
        self.heard = self.heard.max(Instant::from_nanos(since));
    }

    /// A frame goes out, of any kind.
    pub(super) const fn handle_sent(&mut self, now: Instant) {
        self.sent = now;
    }

    /// A pong has come, as a frame that [`handle_frame`](Self::handle_frame) was told of.
    pub(super) fn handle_pong(&mut self, now: Instant) {
        self.unanswered = self.unanswered.saturating_sub(1);
        if let Some(asked) = self.asked.take() {
            self.rtt = Some(now.since(asked));
        }
    }

    /// What is due by now, if anything; call until it answers `None`.
    pub(super) fn poll(&mut self, now: Instant) -> Option<Beat> {
        if now >= self.lost_at() {
            return Some(Beat::Lost);
        }
        if self.rules.pings && now >= self.ping_at() {
            self.pinged = now;
            self.sent = now;
            if self.unanswered == 0 {
                self.asked = Some(now);
            }
            self.unanswered = self.unanswered.saturating_add(1);
            self.draw();
            return Some(Beat::Ping);
        }
        None
    }

    /// When to poll again, unless frames come or go before.
    pub(super) fn next_timeout(&self) -> Instant {
        if self.rules.pings {
            self.lost_at().min(self.ping_at())
        } else {
            self.lost_at()
        }
    }

    /// Heartbeats missed in a row.
    pub(super) fn missed(&self, now: Instant) -> u32 {
        let silent = now.since(self.heard).as_nanos() / self.rules.interval.as_nanos().max(1);
        let silent = u32::try_from(silent).unwrap_or(u32::MAX);
        silent.saturating_sub(u32::from(self.rules.asks_first))
    }

    /// How long the last ping took to be answered.
    pub(super) const fn rtt(&self) -> Option<Duration> {
        self.rtt
    }

    fn lost_at(&self) -> Instant {
        self.heard + self.rules.detects_after()
    }

    /// Nothing has come for so long, and was not asked for meanwhile, or nothing has gone.
    fn ping_at(&self) -> Instant {
        self.heard.max(self.pinged).min(self.sent) + self.delay
    }

    fn draw(&mut self) {
        self.delay = self.rules.interval;
        if self.rules.jitter {
            let span = u64::try_from(self.delay.as_nanos()).unwrap_or(u64::MAX) / JITTER_INVERSE;
            let chance = u128::from(self.random.next()) * (u128::from(span) + 1);
            self.delay += Duration::from_nanos(u64::try_from(chance >> 64).unwrap_or(span));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const T: Duration = Duration::from_millis(50);

    fn at(millis: u64) -> Instant {
        Instant::START + Duration::from_millis(millis)
    }

    fn plain(rules: HeartbeatRules) -> Heartbeat {
        let rules = rules.interval(T).jitter(false);
        Heartbeat::new(rules, 1, Instant::START)
    }

    /// Polls at each moment it asks for, and answers what it wanted when, up to `end`.
    fn run(heartbeat: &mut Heartbeat, end: u64) -> Vec<(u64, Beat)> {
        let mut beats = Vec::new();
        loop {
            let now = heartbeat.next_timeout();
            if now > at(end) {
                return beats;
            }
            let beat = heartbeat.poll(now).expect("it asked to be polled now");
            beats.push((now.as_nanos() / 1_000_000, beat));
            if beat == Beat::Lost {
                return beats;
            }
        }
    }

    #[test]
    fn a_dialer_pings_each_interval_and_gives_up_after_one_more_than_it_may_miss() {
        let mut heartbeat = plain(HeartbeatRules::dialer());
        let beats = run(&mut heartbeat, 1000);
        let expected = [
            (50, Beat::Ping),
            (100, Beat::Ping),
            (150, Beat::Ping),
            (200, Beat::Lost),
        ];
        assert_eq!(beats, expected);
        assert_eq!(heartbeat.missed(at(50)), 0);
        assert_eq!(heartbeat.missed(at(199)), 2);
        assert_eq!(heartbeat.missed(at(200)), 3);
    }

    #[test]
    fn a_listener_only_counts() {
        let mut heartbeat = plain(HeartbeatRules::listener());
        assert_eq!(run(&mut heartbeat, 1000), [(150, Beat::Lost)]);
        assert_eq!(heartbeat.missed(at(149)), 2);
    }

    #[test]
    fn any_frame_that_comes_clears_the_misses() {
        let mut heartbeat = plain(HeartbeatRules::listener());
        for quarter in (25..5000).step_by(125) {
            assert_eq!(heartbeat.poll(at(quarter)), None);
            heartbeat.handle_frame(at(quarter));
            assert_eq!(heartbeat.missed(at(quarter)), 0);
        }
    }

    #[test]
    fn a_frame_that_comes_slowly_and_a_reader_that_rests_are_no_silence() {
        let mut heartbeat = plain(HeartbeatRules::listener());
        heartbeat.handle_silence(at(140), 20 * Duration::from_millis(1));
        assert_eq!(heartbeat.missed(at(169)), 0);
        assert_eq!(heartbeat.next_timeout(), at(270));
        heartbeat.handle_silence(at(200), Duration::from_secs(9));
        assert_eq!(heartbeat.next_timeout(), at(270), "it has heard more since");
        heartbeat.handle_silence(at(260), Duration::ZERO);
        assert_eq!(heartbeat.poll(at(270)), None);
    }

    #[test]
    fn a_link_that_only_writes_still_pings_and_is_found_dead() {
        let mut heartbeat = plain(HeartbeatRules::dialer());
        let mut beats = Vec::new();
        for millis in 1.. {
            heartbeat.handle_sent(at(millis));
            if let Some(beat) = heartbeat.poll(at(millis)) {
                beats.push((millis, beat));
                if beat == Beat::Lost {
                    break;
                }
            }
        }
        let pings = [(50, Beat::Ping), (100, Beat::Ping), (150, Beat::Ping)];
        assert_eq!(beats[..3], pings);
        assert_eq!(beats[3..], [(200, Beat::Lost)]);
    }

    #[test]
    fn a_link_that_only_reads_pings_too_since_the_other_side_counts() {
        let mut heartbeat = plain(HeartbeatRules::dialer());
        let mut pings = 0;
        for millis in 1..=500 {
            heartbeat.handle_frame(at(millis));
            pings += u32::from(heartbeat.poll(at(millis)) == Some(Beat::Ping));
        }
        assert_eq!(pings, 10);
    }

    #[test]
    fn a_round_trip_is_measured_from_the_ping_that_it_answers() {
        let mut heartbeat = plain(HeartbeatRules::dialer());
        heartbeat.handle_pong(at(1));
        assert_eq!(heartbeat.rtt(), None, "nobody asked");
        assert_eq!(heartbeat.poll(at(50)), Some(Beat::Ping));
        heartbeat.handle_frame(at(57));
        heartbeat.handle_pong(at(57));
        assert_eq!(heartbeat.rtt(), Some(Duration::from_millis(7)));
    }

    #[test]
    fn jitter_only_adds_and_never_more_than_a_fifth() {
        let mut seen = (T * 2, Duration::ZERO);
        for seed in 0..1000 {
            let rules = HeartbeatRules::dialer().interval(T);
            let mut heartbeat = Heartbeat::new(rules, seed, Instant::START);
            let first = heartbeat.next_timeout().since(Instant::START);
            seen = (seen.0.min(first), seen.1.max(first));
            let beats = run(&mut heartbeat, 1000);
            assert_eq!(beats.last(), Some(&(200, Beat::Lost)), "never later");
        }
        assert!(seen.0 >= T && seen.0 < T + T / 50, "{seen:?}");
        assert!(seen.1 <= T + T / 5 && seen.1 > T + T / 6, "{seen:?}");
    }

    #[test]
    fn a_timer_that_fires_late_loses_nothing() {
        let mut heartbeat = plain(HeartbeatRules::dialer());
        assert_eq!(heartbeat.poll(at(170)), Some(Beat::Ping));
        assert_eq!(heartbeat.poll(at(170)), None, "once");
        assert_eq!(heartbeat.poll(at(5000)), Some(Beat::Lost));
    }

    #[test]
    fn rules_that_cannot_work_are_refused() {
        for rules in [
            HeartbeatRules::dialer().interval(Duration::ZERO),
            HeartbeatRules::listener().missed_max(0),
        ] {
            let error = rules.check().expect_err("senseless");
            assert_eq!(error.kind(), ErrorKind::Config);
        }
        assert!(HeartbeatRules::listener().check().is_ok());
    }
}
