//! The figures of one run.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::load::Window;

/// What is measured; lower is better for all but `Rate` and `Slowest`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Metric {
    /// The server's CPU time per message, all threads, in nanoseconds.
    Cpu,
    /// Messages per second.
    Rate,
    /// Latency quantiles in microseconds.
    P50,
    P99,
    P999,
    Max,
    /// p99 divided by p50 of the same run.
    Tail,
    /// The slowest connection's count of messages as a share of the mean.
    Slowest,
    /// The load generator's CPU time as a share of the window.
    LoadBusy,
    /// Anonymous resident bytes of the server per connection, as a slope.
    Memory,
    /// System calls of the server per message.
    Syscalls,
    /// User-space instructions of the server per message.
    Instructions,
}

impl Metric {
    /// Its heading.
    pub fn title(self) -> &'static str {
        match self {
            Self::Cpu => "CPU/message",
            Self::Rate => "messages/s",
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::P999 => "p99.9",
            Self::Max => "max",
            Self::Tail => "p99/p50",
            Self::Slowest => "slowest/mean",
            Self::LoadBusy => "load core",
            Self::Memory => "memory/connection",
            Self::Syscalls => "syscalls/message",
            Self::Instructions => "instructions/message",
        }
    }

    /// A value with its unit.
    pub fn show(self, value: f64) -> String {
        match self {
            Self::Cpu if value < 995.0 => format!("{value:.0} ns"),
            Self::Cpu => format!("{} us", significant(value / 1e3)),
            Self::Rate if value >= 1e6 => format!("{:.2} M", value / 1e6),
            Self::Rate => format!("{:.1} k", value / 1e3),
            Self::P50 | Self::P99 | Self::P999 | Self::Max if value >= 9_950.0 => {
                format!("{} ms", significant(value / 1e3))
            }
            Self::P50 | Self::P99 | Self::P999 | Self::Max => {
                format!("{} us", significant(value))
            }
            Self::LoadBusy => format!("{:.0} %", value * 100.0),
            Self::Tail | Self::Slowest => format!("{value:.2}"),
            Self::Memory => format!("{value:.0} B"),
            Self::Syscalls => format!("{value:.3}"),
            Self::Instructions => format!("{value:.0}"),
        }
    }
}

/// Three significant digits, without an exponent.
fn significant(value: f64) -> String {
    let decimals = if value >= 99.5 {
        0
    } else if value >= 9.95 {
        1
    } else {
        2
    };
    format!("{value:.decimals$}")
}

/// The figures of one run of one server.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(transparent)]
pub struct Sample(BTreeMap<Metric, f64>);

impl Sample {
    /// What the load generator saw.
    pub fn from_window(window: &Window) -> Self {
        let mut sample = Self::default();
        let quantile = |at: f64| window.latency.value_at_quantile(at) as f64 / 1e3;
        let (p50, p99) = (quantile(0.50), quantile(0.99));
        let rate = window.messages as f64 / window.elapsed.as_secs_f64();
        sample.set(Metric::Rate, rate);
        sample.set(Metric::P50, p50);
        sample.set(Metric::P99, p99);
        sample.set(Metric::P999, quantile(0.999));
        sample.set(Metric::Max, window.latency.max() as f64 / 1e3);
        sample.set(Metric::Tail, p99 / p50.max(0.001));
        sample.set(Metric::Slowest, window.slowest_share);
        sample.set(Metric::LoadBusy, window.load_busy);
        sample
    }

    pub fn set(&mut self, metric: Metric, value: f64) {
        self.0.insert(metric, value);
    }

    pub fn get(&self, metric: Metric) -> Option<f64> {
        self.0.get(&metric).copied()
    }
}
