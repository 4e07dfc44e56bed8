//! Metrics as Prometheus reads them: its text format, version 0.0.4.

use std::fmt::{self, Write};
use std::time::Duration;

use super::family::{Family, Kind, OF_REACTOR, OF_WORKERS, TIMES, Times};
use super::{Metrics, WorkerMetrics};
use crate::error::CloseReason;

/// Buckets that are told end at powers of two, in nanoseconds: from 1 us to 17 s, each twice the one before.
const BUCKET_BITS: std::ops::RangeInclusive<u32> = 10..=34;

impl Metrics {
    /// The metrics as Prometheus reads them (text format 0.0.4); every name begins with `netwheel_`.
    ///
    /// Counters end in `_total`, times are in seconds, figures of a worker carry its number as the label
    /// `worker`. Cost: some 10 KiB of text a worker.
    #[must_use]
    pub fn prometheus(&self) -> String {
        let mut text = String::new();
        // A string takes all that is written to it.
        let _ = self.write_all(&mut text);
        text
    }

    fn write_all(&self, to: &mut String) -> fmt::Result {
        for family in OF_REACTOR {
            let name = head(to, family.name, family.help, family.kind)?;
            writeln!(to, "{name} {}", (family.value)(self))?;
        }
        for family in OF_WORKERS {
            self.write_family(to, family)?;
        }
        self.write_closes(to)?;
        for times in TIMES {
            self.write_times(to, times)?;
        }
        Ok(())
    }

    fn write_family(&self, to: &mut String, family: &Family<WorkerMetrics>) -> fmt::Result {
        let name = head(to, family.name, family.help, family.kind)?;
        for (index, worker) in self.workers.iter().enumerate() {
            let value = (family.value)(worker);
            writeln!(to, "{name}{{worker=\"{index}\"}} {value}")?;
        }
        Ok(())
    }

    fn write_closes(&self, to: &mut String) -> fmt::Result {
        let name = head(to, "closed", "Connections that ended.", Kind::Counter)?;
        for (index, worker) in self.workers.iter().enumerate() {
            for reason in CloseReason::ALL {
                let value = worker.stats.closes(reason);
                writeln!(
                    to,
                    "{name}{{worker=\"{index}\",reason=\"{reason}\"}} {value}"
                )?;
            }
        }
        Ok(())
    }

    fn write_times(&self, to: &mut String, times: &Times) -> fmt::Result {
        let name = times.name;
        describe(to, name, times.help, "histogram")?;
        for (index, worker) in self.workers.iter().enumerate() {
            let histogram = (times.of)(worker);
            for bits in BUCKET_BITS {
                let (le, count) = (
                    Seconds(Duration::from_nanos(1 << bits)),
                    histogram.count_to(bits),
                );
                writeln!(
                    to,
                    "netwheel_{name}_bucket{{worker=\"{index}\",le=\"{le}\"}} {count}"
                )?;
            }
            let (sum, count) = (Seconds(histogram.sum()), histogram.count());
            writeln!(
                to,
                "netwheel_{name}_bucket{{worker=\"{index}\",le=\"+Inf\"}} {count}"
            )?;
            writeln!(to, "netwheel_{name}_sum{{worker=\"{index}\"}} {sum}")?;
            writeln!(to, "netwheel_{name}_count{{worker=\"{index}\"}} {count}")?;
        }
        Ok(())
    }
}

/// Writes what goes before the figures of a name; answers the name in full.
fn head(to: &mut String, name: &str, help: &str, kind: Kind) -> Result<String, fmt::Error> {
    let (suffix, kind) = match kind {
        Kind::Counter => ("_total", "counter"),
        Kind::Gauge => ("", "gauge"),
    };
    let name = format!("{name}{suffix}");
    describe(to, &name, help, kind)?;
    Ok(format!("netwheel_{name}"))
}

fn describe(to: &mut String, name: &str, help: &str, kind: &str) -> fmt::Result {
    writeln!(to, "# HELP netwheel_{name} {help}")?;
    writeln!(to, "# TYPE netwheel_{name} {kind}")
}

/// A time in seconds, exact.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0.as_secs(), self.0.subsec_nanos())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use super::super::sample;

    /// One line of figures: name, labels, value.
    type Sample = (String, BTreeMap<String, String>, f64);

    /// A parser that forgives nothing: answers each name's type and all samples.
    fn parse(text: &str) -> (BTreeMap<String, String>, Vec<Sample>) {
        let (mut types, mut helped, mut samples) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
        assert!(text.ends_with('\n'), "the last line ends too");
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, text) = help.split_once(' ').expect("a help text");
                assert!(!text.is_empty() && !text.contains('\\'), "{line}");
                assert!(helped.insert(name.to_owned()), "told twice: {name}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').expect("a type");
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(helped.contains(name), "help stands before the type: {name}");
                let old = types.insert(name.to_owned(), kind.to_owned());
                assert_eq!(old, None, "the samples of a name stand together: {name}");
            } else {
                samples.push(parse_sample(line));
                let last = types.keys().map(String::as_str);
                let name = &samples[samples.len() - 1].0;
                assert!(
                    last.into_iter().any(|known| name.starts_with(known)),
                    "the type stands before the samples: {line}"
                );
            }
        }
        (types, samples)
    }

    fn parse_sample(line: &str) -> Sample {
        let (series, value) = line.rsplit_once(' ').expect("a value");
        let (name, labels) = match series.split_once('{') {
            Some((name, rest)) => (name, rest.strip_suffix('}').expect("a closed brace")),
            None => (series, ""),
        };
        let is_word = |text: &str| {
            !text.is_empty()
                && !text.starts_with(|c: char| c.is_ascii_digit())
                && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
        };
        assert!(is_word(name), "{line}");
        let mut found = BTreeMap::new();
        for label in labels.split(',').filter(|label| !label.is_empty()) {
            let (key, quoted) = label.split_once('=').expect("a label's value");
            let value = quoted.strip_prefix('"').and_then(|v| v.strip_suffix('"'));
            let value = value.expect("a quoted value");
            assert!(is_word(key) && !value.contains(['"', '\\', '\n']), "{line}");
            assert_eq!(found.insert(key.to_owned(), value.to_owned()), None);
        }
        (name.to_owned(), found, value.parse().expect("a number"))
    }

    fn value_of(samples: &[Sample], name: &str, labels: &[(&str, &str)]) -> f64 {
        let wanted: BTreeMap<_, _> = labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        let mut found = samples.iter().filter(|s| s.0 == name && s.1 == wanted);
        let value = found
            .next()
            .unwrap_or_else(|| panic!("no {name} {labels:?}"))
            .2;
        assert!(found.next().is_none(), "one sample a series");
        value
    }

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let (types, samples) = parse(&sample().prometheus());
        assert!(types.keys().all(|name| name.starts_with("netwheel_")));
        for (name, kind) in &types {
            assert_eq!(kind == "counter", name.ends_with("_total"), "{name}");
        }
        let worker = [("worker", "0")];
        let of = |name: &str, labels: &[(&str, &str)]| value_of(&samples, name, labels);
        assert_eq!(of("netwheel_accepted_total", &worker), 3.0);
        assert_eq!(of("netwheel_connections", &worker), 1.0);
        assert_eq!(of("netwheel_mailbox_messages", &worker), 1.0);
        assert_eq!(of("netwheel_panics_total", &[("worker", "1")]), 1.0);
        assert_eq!(of("netwheel_uptime_seconds", &[]), 61.0);
        let reset = [("worker", "0"), ("reason", "reset")];
        assert_eq!(of("netwheel_closed_total", &reset), 1.0);
    }

    #[test]
    fn buckets_count_up_and_end_in_the_count() {
        let (types, samples) = parse(&sample().prometheus());
        assert_eq!(types["netwheel_turn_seconds"], "histogram");
        let buckets: Vec<_> = samples
            .iter()
            .filter(|s| s.0 == "netwheel_turn_seconds_bucket" && s.1["worker"] == "0")
            .map(|s| {
                (
                    s.1["le"].replace("+Inf", "inf").parse().expect("a bound"),
                    s.2,
                )
            })
            .collect();
        assert!(buckets.is_sorted_by(|a: &(f64, f64), b| a.0 < b.0 && a.1 <= b.1));
        assert_eq!(buckets[buckets.len() - 1], (f64::INFINITY, 3.0));
        let below = buckets.iter().find(|bucket| bucket.0 > 0.000_03);
        assert_eq!(below.expect("a bucket").1, 2.0);
        let worker = [("worker", "0")];
        let sum = value_of(&samples, "netwheel_turn_seconds_sum", &worker);
        assert!((sum - 0.000_43).abs() < 1e-12, "{sum}");
        assert_eq!(
            value_of(&samples, "netwheel_turn_seconds_count", &worker),
            3.0
        );
    }
}
