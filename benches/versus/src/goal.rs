//! The figures to reach, and whether they were.

use serde::Serialize;

use crate::metric::Metric;
use crate::statistics::Interval;

/// What a figure is held against.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// The rival's figure divided by ours, pair by pair: at least this.
    Faster(f64),
    /// Our figure divided by the rival's, pair by pair: at most this.
    Within(f64),
    /// Our figure itself.
    AtMost(f64),
    AtLeast(f64),
}

/// A figure to reach. It is reached when the favourable end of the 90 % interval reaches it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Goal {
    pub metric: Metric,
    /// The server judged.
    pub of: &'static str,
    pub against: Option<&'static str>,
    pub bound: Bound,
    /// What others reached, elsewhere; empty when nothing is known.
    pub reference: &'static str,
}

/// The server that the goals are for.
pub const OURS: &str = "netwheel";

impl Goal {
    const fn new(
        metric: Metric,
        against: Option<&'static str>,
        bound: Bound,
        reference: &'static str,
    ) -> Self {
        Self {
            metric,
            of: OURS,
            against,
            bound,
            reference,
        }
    }

    /// At least `ratio` times better than `against`.
    pub const fn faster(
        metric: Metric,
        against: &'static str,
        ratio: f64,
        reference: &'static str,
    ) -> Self {
        Self::new(metric, Some(against), Bound::Faster(ratio), reference)
    }

    /// At most `ratio` times the figure of `against`.
    pub const fn within(
        metric: Metric,
        against: &'static str,
        ratio: f64,
        reference: &'static str,
    ) -> Self {
        Self::new(metric, Some(against), Bound::Within(ratio), reference)
    }

    pub const fn at_most(metric: Metric, value: f64, reference: &'static str) -> Self {
        Self::new(metric, None, Bound::AtMost(value), reference)
    }

    pub const fn at_least(metric: Metric, value: f64, reference: &'static str) -> Self {
        Self::new(metric, None, Bound::AtLeast(value), reference)
    }

    /// The same for another of our servers.
    pub const fn of(self, of: &'static str) -> Self {
        Self { of, ..self }
    }

    /// The quantity of one pair of runs that the bound is about.
    pub fn quantity(&self, ours: f64, theirs: Option<f64>) -> Option<f64> {
        match self.bound {
            Bound::Faster(_) => Some(theirs? / ours),
            Bound::Within(_) => Some(ours / theirs?),
            Bound::AtMost(_) | Bound::AtLeast(_) => Some(ours),
        }
    }

    /// Whether the interval's favourable end reaches the bound.
    pub fn is_reached(&self, interval: &Interval) -> bool {
        match self.bound {
            Bound::Faster(least) | Bound::AtLeast(least) => interval.high >= least,
            Bound::Within(most) | Bound::AtMost(most) => interval.low <= most,
        }
    }

    /// The goal in words.
    pub fn words(&self) -> String {
        let title = self.metric.title();
        let against = self.against.unwrap_or_default();
        match self.bound {
            Bound::Faster(ratio) => format!("{title}: {ratio:.2}x or better against {against}"),
            Bound::Within(ratio) => format!("{title}: at most {ratio:.2}x that of {against}"),
            Bound::AtMost(value) => format!("{title}: at most {}", self.metric.show(value)),
            Bound::AtLeast(value) => format!("{title}: at least {}", self.metric.show(value)),
        }
    }

    /// A quantity of this goal with its unit.
    pub fn show(&self, quantity: f64) -> String {
        match self.bound {
            Bound::Faster(_) | Bound::Within(_) => format!("{quantity:.2}x"),
            Bound::AtMost(_) | Bound::AtLeast(_) => self.metric.show(quantity),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLOSE: Interval = Interval {
        low: 0.98,
        median: 1.0,
        high: 1.03,
    };

    #[test]
    fn the_favourable_end_decides() {
        assert!(Goal::faster(Metric::Cpu, "tokio", 1.02, "").is_reached(&CLOSE));
        assert!(!Goal::faster(Metric::Cpu, "tokio", 1.04, "").is_reached(&CLOSE));
        assert!(Goal::within(Metric::P99, "c", 0.99, "").is_reached(&CLOSE));
        assert!(!Goal::at_most(Metric::Tail, 0.9, "").is_reached(&CLOSE));
    }

    #[test]
    fn faster_divides_theirs_by_ours_and_within_the_other_way() {
        let faster = Goal::faster(Metric::Cpu, "tokio", 2.0, "");
        let within = Goal::within(Metric::Cpu, "tokio", 2.0, "");
        assert_eq!(faster.quantity(2.0, Some(6.0)), Some(3.0));
        assert_eq!(within.quantity(2.0, Some(6.0)), Some(2.0 / 6.0));
        assert_eq!(faster.quantity(2.0, None), None);
    }
}
