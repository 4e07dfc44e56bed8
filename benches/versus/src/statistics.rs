//! Medians, spreads, and the bootstrap interval of a median.

use serde::Serialize;

/// Resamples of a bootstrap: the interval's ends are stable to the third digit.
const RESAMPLES: usize = 4000;

/// A median with the 90 % bootstrap interval of it.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Interval {
    pub low: f64,
    pub median: f64,
    pub high: f64,
}

/// The middle value, or the mean of the two in the middle.
pub fn median(values: &[f64]) -> Option<f64> {
    quantile(&sorted(values), 0.5)
}

/// The quartiles: half of the runs lie between them.
pub fn quartiles(values: &[f64]) -> Option<(f64, f64)> {
    let sorted = sorted(values);
    Some((quantile(&sorted, 0.25)?, quantile(&sorted, 0.75)?))
}

/// The percentile bootstrap (Efron 1979) of the median: resampled with replacement, from a fixed seed.
pub fn interval(values: &[f64]) -> Option<Interval> {
    let median_of_all = median(values)?;
    let mut state = 0x2545_F491_4F6C_DD1D_u64;
    let mut pick = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        values[(state >> 11) as usize % values.len()]
    };
    let medians: Vec<f64> = (0..RESAMPLES)
        .filter_map(|_| {
            let resample: Vec<f64> = values.iter().map(|_| pick()).collect();
            median(&resample)
        })
        .collect();
    let medians = sorted(&medians);
    Some(Interval {
        low: quantile(&medians, 0.05)?,
        median: median_of_all,
        high: quantile(&medians, 0.95)?,
    })
}

fn sorted(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted
}

/// Linear interpolation between the neighbours.
fn quantile(sorted: &[f64], at: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let place = at * last as f64;
    let (below, above) = (
        sorted[place.floor() as usize],
        sorted[place.ceil() as usize],
    );
    Some(below + (above - below) * place.fract())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_of_even_and_odd() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median(&[]), None);
    }

    #[test]
    fn the_interval_holds_the_median_and_narrows() {
        let few: Vec<f64> = (0..9).map(|at| 1.0 + f64::from(at % 3) / 10.0).collect();
        let many = few.repeat(40);
        let (few, many) = (
            interval(&few).expect("values"),
            interval(&many).expect("values"),
        );
        assert!(few.low <= few.median && few.median <= few.high);
        assert!(many.high - many.low <= few.high - few.low);
    }

    #[test]
    fn one_value_is_its_own_interval() {
        let interval = interval(&[1.5]).expect("a value");
        assert_eq!(
            (interval.low, interval.median, interval.high),
            (1.5, 1.5, 1.5)
        );
    }
}
