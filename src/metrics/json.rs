//! Metrics as JSON, for pages and programs.

use super::family::{OF_REACTOR, OF_WORKERS, TIMES};
use super::{Metrics, WorkerMetrics};
use crate::error::CloseReason;
use crate::histogram::Histogram;
use crate::json::Json;

impl Metrics {
    /// The metrics as JSON: the figures of the reactor, and `workers`, an array of theirs.
    ///
    /// Names are those of [`prometheus`](Self::prometheus) without prefix and `_total`. A histogram is an
    /// object of `count`, `sum_ns`, `max_ns`, `p50_ns`, `p99_ns`, and `buckets`: pairs of the longest time in a
    /// bucket and its count, those of empty ones left out.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut json = Json::default();
        json.object(|json| {
            json.key("uptime_ms")
                .number(u64::try_from(self.uptime.as_millis()).unwrap_or(u64::MAX));
            for family in OF_REACTOR {
                json.key(family.name).number((family.value)(self));
            }
            json.key("workers").array(|json| {
                for worker in &self.workers {
                    write_worker(json, worker);
                }
            });
        });
        json.into_text()
    }
}

fn write_worker(json: &mut Json, worker: &WorkerMetrics) {
    json.object(|json| {
        for family in OF_WORKERS {
            json.key(family.name).number((family.value)(worker));
        }
        json.key("closed").object(|json| {
            for reason in CloseReason::ALL {
                json.key(reason.name()).number(worker.stats.closes(reason));
            }
        });
        for times in TIMES {
            write_histogram(json.key(times.name), (times.of)(worker));
        }
    });
}

fn write_histogram(json: &mut Json, histogram: &Histogram) {
    let nanos = |time: std::time::Duration| u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
    json.object(|json| {
        json.key("count").number(histogram.count());
        json.key("sum_ns").number(nanos(histogram.sum()));
        json.key("max_ns").number(nanos(histogram.max()));
        json.key("p50_ns").number(nanos(histogram.quantile(0.5)));
        json.key("p99_ns").number(nanos(histogram.quantile(0.99)));
        json.key("buckets").array(|json| {
            for (end, count) in histogram.buckets() {
                json.array(|json| {
                    json.number(end);
                    json.number(count);
                });
            }
        });
    });
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::sample;

    #[test]
    fn the_text_is_json_with_every_figure() {
        let read: Value = serde_json::from_str(&sample().to_json()).expect("it is JSON");
        assert_eq!(read["uptime_ms"], 61_500);
        let workers = read["workers"].as_array().expect("an array");
        assert_eq!(workers.len(), 2);
        assert_eq!(workers[0]["accepted"], 3);
        assert_eq!(workers[0]["closed"]["reset"], 1);
        assert_eq!(workers[0]["turn_seconds"]["count"], 3);
        assert_eq!(workers[0]["turn_seconds"]["max_ns"], 400_000);
        let buckets = workers[0]["turn_seconds"]["buckets"].as_array();
        assert_eq!(buckets.expect("an array").len(), 3);
        assert_eq!(workers[1]["turn_seconds"]["buckets"], json!([]));
    }
}
