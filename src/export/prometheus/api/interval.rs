//! Summarizes an interval for people who watch.

use std::time::SystemTime;

use serde::Serialize;
use serde_json::{Map, Value as Json};

use super::history::{is_old, unit};
use super::series::{Found, Search, percentiles};
use crate::model::{RESERVED_PREFIX, Row, Snapshot, Summary, Value};

/// tallyd's own counters of lost data, without the prefix, and the tag that says more.
const LOSSES: [(&str, &str); 11] = [
    ("lines_rejected", "reason"),
    ("series_refused", "reason"),
    ("datagrams_dropped", "listener"),
    ("datagrams_refused", ""),
    ("datagrams_unread", ""),
    ("datagrams_truncated", ""),
    ("lines_truncated", ""),
    ("events_dropped", ""),
    ("samples_absorbed", "type"),
    ("samples_undelivered", "exporter"),
    ("series_quarantined", "reason"),
];

/// The most bytes of names and tags in the results of one interval. A viewer that does not read can hold a few intervals.
const MOST_BYTES: usize = 128 << 10;

/// What happened in an interval.
#[derive(Debug, Clone, Serialize)]
pub(super) struct Report {
    #[serde(skip)]
    end: SystemTime,
    /// The end of the interval.
    time: String,
    /// The length of the interval in seconds.
    seconds: f64,
    /// Live series.
    series: u64,
    lines: u64,
    samples: u64,
    /// Only kinds with a count above 0.
    losses: Vec<Loss>,
    /// Whether the kernel says how many datagrams it dropped.
    drops_known: bool,
    /// `None` without telemetry, as for `memory`.
    flush_seconds: Option<f64>,
    memory: Option<MemoryFigures>,
}

/// A number of things that were lost for the same reason.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Loss {
    kind: String,
    /// The reason, the listener or the exporter. Empty for a kind without such.
    by: String,
    count: f64,
}

/// Memory in bytes.
#[derive(Debug, Clone, Copy, Default, Serialize)]
struct MemoryFigures {
    /// What counts towards the limit.
    used: f64,
    max: f64,
    /// What the process takes.
    resident: f64,
}

impl Report {
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let overview = snapshot.overview;
        let mut report = Self {
            end: snapshot.time,
            time: snapshot.time_text(),
            seconds: snapshot.interval.as_secs_f64(),
            series: overview.series,
            lines: overview.lines,
            samples: overview.samples,
            losses: Vec::new(),
            drops_known: overview.datagrams_dropped.is_some(),
            flush_seconds: None,
            memory: None,
        };
        for row in snapshot.rows.own() {
            report.add_own(&row);
        }
        if report.memory.is_none() {
            // Without telemetry, there are no details.
            let dropped = overview.datagrams_dropped.unwrap_or(0);
            for (kind, count) in [
                ("lines_rejected", overview.rejected),
                ("series_refused", overview.refused),
                ("datagrams_dropped", dropped),
            ] {
                report.add_loss(kind, "", count as f64);
            }
        }
        report
    }

    /// Returns true if the interval is so old at `now` that nobody asks for it.
    pub(super) fn is_old(&self, now: SystemTime) -> bool {
        is_old(self.end, now)
    }

    /// Takes over the figure of one of tallyd's own metrics, if the report has it.
    fn add_own(&mut self, row: &Row<'_>) {
        let name = &row.series.name()[RESERVED_PREFIX.len()..];
        let mut memory = |field: fn(&mut MemoryFigures) -> &mut f64, value| {
            *field(self.memory.get_or_insert_default()) += value;
        };
        match (name, row.value) {
            ("flush_duration_seconds", Value::Gauge(value)) => self.flush_seconds = Some(*value),
            ("memory_bytes", Value::Gauge(value)) => memory(|memory| &mut memory.used, value),
            ("memory_max_bytes", Value::Gauge(value)) => memory(|memory| &mut memory.max, value),
            ("process_resident_memory_bytes", Value::Gauge(value)) => {
                memory(|memory| &mut memory.resident, value);
            }
            (name, Value::Counter(count)) => {
                if let Some((kind, key)) = LOSSES.iter().find(|(kind, _)| *kind == name) {
                    let by = row.series.tags().find(|(other, _)| other == key).map_or("", |(_, value)| value);
                    self.add_loss(kind, by, *count);
                }
            }
            _ => {}
        }
    }

    fn add_loss(&mut self, kind: &str, by: &str, count: f64) {
        if count == 0.0 {
            return;
        }
        // Several receivers of a listener count the same.
        match self.losses.iter_mut().find(|loss| loss.kind == kind && loss.by == by) {
            Some(loss) => loss.count += count,
            None => self.losses.push(Loss { kind: kind.to_owned(), by: by.to_owned(), count }),
        }
    }
}

/// The results of an interval that a viewer asked for.
#[derive(Debug, Serialize)]
pub(super) struct Results {
    /// The number of series with samples that match.
    matched: usize,
    results: Vec<Found<ResultValue>>,
}

/// The result of a series.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum ResultValue {
    Counter {
        value: f64,
        rate: f64,
    },
    Number {
        value: f64,
    },
    Distribution {
        count: f64,
        rate: f64,
        sum: f64,
        min: f64,
        max: f64,
        mean: f64,
        stddev: f64,
        percentiles: Map<String, Json>,
    },
}

impl Results {
    pub(super) fn new(search: &Search, snapshot: &Snapshot) -> Self {
        let rows = snapshot.rows.iter().map(|row| (row.series, row));
        let (matched, results) = search.find(rows, MOST_BYTES, |row| result_value(&row, snapshot));
        Self { matched, results }
    }
}

fn result_value(row: &Row<'_>, snapshot: &Snapshot) -> ResultValue {
    match row.value {
        Value::Counter(value) => ResultValue::Counter { value: *value, rate: snapshot.rate(*value) },
        Value::Gauge(value) | Value::Set(value) => ResultValue::Number { value: *value },
        Value::Summary(summary) => {
            let unit = unit(row.series);
            let Summary { count, sum, min, max, mean, stddev, percentiles: values, .. } = &**summary;
            let values: Vec<_> = values.iter().map(|value| value / unit).collect();
            ResultValue::Distribution {
                count: *count,
                rate: snapshot.rate(*count),
                sum: sum / unit,
                min: min / unit,
                max: max / unit,
                mean: mean / unit,
                stddev: stddev / unit,
                percentiles: percentiles(&snapshot.policies, row.policy, &values),
            }
        }
    }
}
