//! Charts as SVG.

use std::collections::BTreeMap;
use std::mem;
use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::case::CASES;
use crate::metric::Metric;
use crate::outcome::Outcome;
use crate::statistics::Interval;
use crate::timer_case;

const WIDTH: u32 = 900;

/// A server's colour, the same in every chart: Wong's palette, told apart by colour-blind readers too.
fn color(server: &str) -> RGBColor {
    match server {
        "netwheel" | "wheel" => RGBColor(213, 94, 0),
        "tokio" => RGBColor(0, 114, 178),
        "tokio-64k" | "tokio-batch" | "tokio-crossbeam" => RGBColor(86, 180, 233),
        "c" | "heap" => RGBColor(0, 158, 115),
        "libuv" => RGBColor(204, 121, 167),
        "netty" => RGBColor(150, 150, 150),
        "go" => RGBColor(90, 90, 90),
        // The other variants of ours, and of tokio.
        name if name.starts_with("netwheel") => RGBColor(230, 159, 0),
        _ => RGBColor(150, 190, 215),
    }
}

/// Draws every chart that there are figures for, and returns the files' names.
pub fn draw_all(outcomes: &[Outcome], folder: &Path) -> Result<Vec<&'static str>> {
    let mut drawn = Vec::new();
    let ratios = ratio_rows(outcomes);
    if !ratios.is_empty() {
        draw_ratios(&ratios, &folder.join("versus-ratios.svg")).map_err(failed)?;
        drawn.push("versus-ratios.svg");
    }
    for growth in &GROWTHS {
        let lines = growth.lines(outcomes);
        if !lines.is_empty() {
            draw_growth(growth, &lines, &folder.join(growth.file)).map_err(failed)?;
            drawn.push(growth.file);
        }
    }
    Ok(drawn)
}

/// plotters' errors borrow from the canvas.
fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("drawing: {error}")
}

/// One bar: a server's advantage over the baseline of its case.
struct RatioRow {
    /// The case and its baseline, on the first bar of a case only.
    label: String,
    server: &'static str,
    interval: Interval,
}

/// The cases of the quick look, which are those with goals; the tables hold the others too.
fn ratio_rows(outcomes: &[Outcome]) -> Vec<RatioRow> {
    let mut rows = Vec::new();
    for outcome in outcomes.iter().filter(|outcome| !is_long(outcome.case)) {
        let mut label = format!("{} (1 = {})", outcome.case, outcome.baseline);
        for entry in &outcome.entries {
            let interval = outcome.ratio(entry.server, outcome.main_metric());
            if let (false, Some(interval)) = (entry.server == outcome.baseline, interval) {
                rows.push(RatioRow {
                    label: mem::take(&mut label),
                    server: entry.server,
                    interval,
                });
            }
        }
    }
    rows
}

fn is_long(case: &str) -> bool {
    let case = CASES.iter().find(|other| other.name == case);
    case.is_none_or(|case| case.is_long)
}

type Drawn = Result<(), DrawingAreaErrorKind<std::io::Error>>;

/// Horizontal bars on a logarithmic axis that start at the baseline: to the right is better.
fn draw_ratios(rows: &[RatioRow], path: &Path) -> Drawn {
    const ROW: u32 = 15;
    /// Where the servers' names and the figures stand, in pixels.
    const SERVER: i32 = 185;
    const FIGURES: i32 = WIDTH as i32 - 135;
    let root = SVGBackend::new(path, (WIDTH, 70 + ROW * rows.len() as u32)).into_drawing_area();
    root.fill(&WHITE)?;
    let ends = rows
        .iter()
        .flat_map(|row| [row.interval.low, row.interval.high]);
    let (low, high) = ends.fold((0.5_f64, 2.0_f64), |(low, high), end| {
        (low.min(end), high.max(end))
    });
    let title =
        "times better than the baseline, in server CPU per message (idle-memory: in memory)";
    let mut chart = ChartBuilder::on(&root)
        .caption(title, ("sans-serif", 15))
        .x_label_area_size(28)
        .margin(8)
        .margin_left(SERVER as u32 + 105)
        .margin_right(145)
        .build_cartesian_2d((low * 0.9..high * 1.1).log_scale(), rows.len() as f64..0.0)?;
    chart
        .configure_mesh()
        .disable_y_mesh()
        .y_labels(0)
        .x_label_formatter(&|value| plain(*value))
        .draw()?;
    for (index, row) in rows.iter().enumerate() {
        let (top, middle) = (index as f64 + 0.15, index as f64 + 0.5);
        let Interval { low, median, high } = row.interval;
        let color = color(row.server).mix(0.8).filled();
        chart.draw_series([Rectangle::new([(1.0, top), (median, top + 0.7)], color)])?;
        let whisker = PathElement::new([(low, middle), (high, middle)], BLACK.stroke_width(1));
        chart.draw_series([whisker])?;
        let y = chart.backend_coord(&(1.0, middle)).1 - 6;
        let style = ("sans-serif", 12).into_font().color(&BLACK);
        let figures = format!("{median:.2} ({low:.2} to {high:.2})");
        root.draw(&Text::new(row.label.as_str(), (8, y), style.clone()))?;
        root.draw(&Text::new(row.server, (SERVER, y), style.clone()))?;
        root.draw(&Text::new(figures, (FIGURES, y), style))?;
    }
    root.present()
}

/// A label of a logarithmic axis: no decimals that say nothing.
fn plain(value: f64) -> String {
    if value >= 1.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    }
}

/// A chart of how the same work's cost grows with the number of something.
struct Growth {
    file: &'static str,
    caption: &'static str,
    /// What there is more and more of, and how many in the case of an outcome.
    of: &'static str,
    count: fn(&Outcome) -> Option<usize>,
    metric: Metric,
    /// What a figure is divided by to be in `unit`.
    scale: f64,
    unit: &'static str,
}

const GROWTHS: [Growth; 3] = [
    Growth {
        file: "versus-connections-cpu.svg",
        caption: "raw ping-pong of 64 B over the number of connections",
        of: "connections",
        count: connections,
        metric: Metric::Cpu,
        scale: 1e3,
        unit: "us of server CPU per message",
    },
    Growth {
        file: "versus-connections-p99.svg",
        caption: "raw ping-pong of 64 B over the number of connections",
        of: "connections",
        count: connections,
        metric: Metric::P99,
        scale: 1.0,
        unit: "us at p99",
    },
    Growth {
        file: "versus-timers.svg",
        caption: "a timer from arming to its end, nine of ten cancelled, over the number armed",
        of: "timers",
        count: timer_case::count,
        metric: Metric::Cpu,
        scale: 1.0,
        unit: "ns of CPU per timer",
    },
];

fn connections(outcome: &Outcome) -> Option<usize> {
    CASES.iter().find(|case| case.name == outcome.case)?.growth
}

type Lines = BTreeMap<&'static str, Vec<(f64, f64)>>;

impl Growth {
    /// By server, the medians over the count; of at least two counts.
    fn lines(&self, outcomes: &[Outcome]) -> Lines {
        let mut lines = Lines::new();
        for outcome in outcomes {
            let Some(count) = (self.count)(outcome) else {
                continue;
            };
            for entry in &outcome.entries {
                if let Some(value) = entry.median(self.metric) {
                    let points = lines.entry(entry.server).or_default();
                    points.push((count as f64, value / self.scale));
                }
            }
        }
        lines.retain(|_, points| points.len() > 1);
        for points in lines.values_mut() {
            points.sort_by(|one, other| one.0.total_cmp(&other.0));
        }
        lines
    }
}

/// A line per server; both axes are logarithmic.
fn draw_growth(growth: &Growth, lines: &Lines, path: &Path) -> Drawn {
    let root = SVGBackend::new(path, (WIDTH, 420)).into_drawing_area();
    root.fill(&WHITE)?;
    let points = || lines.values().flatten();
    let (least, most) = points().fold((f64::MAX, 0.0_f64), |(least, most), point| {
        (least.min(point.0), most.max(point.0))
    });
    let (low, high) = points().fold((f64::MAX, 0.0_f64), |(low, high), point| {
        (low.min(point.1), high.max(point.1))
    });
    let mut chart = ChartBuilder::on(&root)
        .caption(growth.caption, ("sans-serif", 15))
        .x_label_area_size(40)
        .y_label_area_size(60)
        .margin(10)
        .margin_right(30)
        .build_cartesian_2d(
            (least..most).log_scale(),
            (low * 0.8..high * 1.2).log_scale(),
        )?;
    chart
        .configure_mesh()
        .x_desc(growth.of)
        .y_desc(growth.unit)
        .x_label_formatter(&|value| plain(*value))
        .y_label_formatter(&|value| plain(*value))
        .draw()?;
    for (server, points) in lines {
        let color = color(server);
        chart
            .draw_series(
                LineSeries::new(points.iter().copied(), color.stroke_width(2)).point_size(3),
            )?
            .label(*server)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperMiddle)
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK.mix(0.3))
        .draw()?;
    root.present()
}
