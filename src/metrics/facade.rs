//! Metrics handed to the `metrics` facade, for programs that have a recorder of their own.

use ::metrics::{Label, counter, gauge};

use super::Metrics;
use super::family::{Family, Kind, OF_REACTOR, OF_WORKERS, TIMES};
use crate::error::CloseReason;

/// The quantiles told of a histogram: the facade takes single values, and these were counted long ago.
const QUANTILES: [(&str, f64); 3] = [("0.5", 0.5), ("0.99", 0.99), ("1", 1.0)];

impl Metrics {
    /// Hands every figure to the program's recorder of the `metrics` facade, under the names of
    /// [`prometheus`](Self::prometheus) (feature `metrics`).
    ///
    /// To be called now and then, such as every second. Counters are set to their absolute value; of times,
    /// quantiles since the start are told as gauges, with the label `quantile`, since the facade has no way
    /// to take what was counted before.
    ///
    /// Threads: any. Cost: a look-up a figure in whatever recorder there is; none where there is none.
    pub fn publish(&self) {
        for family in OF_REACTOR {
            publish(family, self, Vec::new());
        }
        for (index, worker) in self.workers.iter().enumerate() {
            let labels = vec![Label::new("worker", index.to_string())];
            for family in OF_WORKERS {
                publish(family, worker, labels.clone());
            }
            for reason in CloseReason::ALL {
                let mut labels = labels.clone();
                labels.push(Label::new("reason", reason.name()));
                counter!("netwheel_closed_total", labels).absolute(worker.stats.closes(reason));
            }
            for times in TIMES {
                for (text, q) in QUANTILES {
                    let mut labels = labels.clone();
                    labels.push(Label::new("quantile", text));
                    let seconds = (times.of)(worker).quantile(q).as_secs_f64();
                    gauge!(format!("netwheel_{}", times.name), labels).set(seconds);
                }
            }
        }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a gauge of the facade is a float; counts up to 2^53 are exact"
)]
fn publish<T>(family: &Family<T>, of: &T, labels: Vec<Label>) {
    let value = (family.value)(of);
    match family.kind {
        Kind::Counter => {
            counter!(format!("netwheel_{}_total", family.name), labels).absolute(value)
        }
        Kind::Gauge => gauge!(format!("netwheel_{}", family.name), labels).set(value as f64),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use ::metrics::{
        Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder,
        SharedString, Unit, with_local_recorder,
    };

    use super::super::sample;
    use crate::sync::lock;

    type Figures = Arc<Mutex<BTreeMap<String, f64>>>;

    /// A recorder that keeps what it is told.
    struct Keeper(Figures);

    struct Cell(String, Figures);

    impl CounterFn for Cell {
        fn increment(&self, _: u64) {
            panic!("counters are set, not added to");
        }

        fn absolute(&self, value: u64) {
            #[expect(clippy::cast_precision_loss, reason = "a small number")]
            lock(&self.1).insert(self.0.clone(), value as f64);
        }
    }

    impl GaugeFn for Cell {
        fn increment(&self, _: f64) {
            panic!("gauges are set, not added to");
        }

        fn decrement(&self, _: f64) {
            panic!("gauges are set, not subtracted from");
        }

        fn set(&self, value: f64) {
            lock(&self.1).insert(self.0.clone(), value);
        }
    }

    impl Keeper {
        fn cell(&self, key: &Key) -> Arc<Cell> {
            let labels = key
                .labels()
                .map(|label| format!(" {}={}", label.key(), label.value()));
            let name = key.name().to_owned() + &labels.collect::<String>();
            Arc::new(Cell(name, Arc::clone(&self.0)))
        }
    }

    impl Recorder for Keeper {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.cell(key))
        }

        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.cell(key))
        }

        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn a_recorder_is_told_every_figure_under_the_names_of_prometheus() {
        let figures = Figures::default();
        with_local_recorder(&Keeper(Arc::clone(&figures)), || sample().publish());
        let figures = lock(&figures);
        assert_eq!(figures["netwheel_accepted_total worker=0"], 3.0);
        assert_eq!(figures["netwheel_closed_total worker=0 reason=reset"], 1.0);
        assert_eq!(figures["netwheel_connections worker=0"], 1.0);
        assert_eq!(figures["netwheel_uptime_seconds"], 61.0);
        let longest = figures["netwheel_turn_seconds worker=0 quantile=1"];
        assert!((longest - 0.000_4).abs() < 1e-12, "{longest}");
        let text = sample().prometheus();
        for name in figures.keys() {
            let name = name.split(' ').next().expect("a name");
            assert!(text.contains(name), "{name}");
        }
    }
}
