//! Encodes snapshots as lines of Graphite's plaintext protocol: a name, a number and a time.

use std::time::UNIX_EPOCH;

use super::names::{GraphiteNames, Group};
use super::timer::{Threshold, Weighted, sum_squares, threshold};
use crate::deliver::Batch;
use crate::export::endpoints::SnapshotContent;
use crate::export::outcome::{ExportOutcome, QuarantineReason};
use crate::export::seen_names::SeenNames;
use crate::model::{Kind, NameFilter, Row, Snapshot, Summary, Value};
use crate::text::number::push_number;

/// The size in bytes after which a batch is sent.
const BATCH: usize = 256 << 10;

/// The content that an endpoint gets.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct GraphiteContent {
    pub(crate) naming: GraphiteNames,
    /// Whether counters have their sum besides their rate (statsd's `flush_counts`).
    pub(crate) flush_counts: bool,
    /// Percentages, each with the part of its names: 90 and `90`, or -99.5 and `top99_5`.
    pub(crate) thresholds: Vec<(f64, String)>,
    /// The names of series that are sent.
    pub(crate) names: NameFilter,
}

impl GraphiteContent {
    /// Returns a percentage with the part of its names, as statsd writes it.
    pub(crate) fn threshold(percent: f64) -> (f64, String) {
        let mut text = String::new();
        push_number(&mut text, percent);
        (percent, text.replace('.', "_").replace('-', "top"))
    }
}

impl SnapshotContent for GraphiteContent {
    fn encode(&self, snapshot: &Snapshot, outcome: &mut ExportOutcome, push: &mut dyn FnMut(Batch)) {
        let mut names = SeenNames::with_capacity(snapshot.rows.series().len());
        let mut name = String::new();
        let seconds = snapshot.time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut lines = Lines { content: self, end: format!(" {seconds}\n"), text: String::new(), points: 0 };
        let mut send = |lines: &mut Lines<'_>| {
            let points = std::mem::take(&mut lines.points);
            if points > 0 {
                push(Batch { body: std::mem::take(&mut lines.text).into(), points, time: snapshot.time });
            }
        };
        for row in snapshot.rows.iter().filter(|row| self.names.has(row.series.name())) {
            name.clear();
            self.naming.push(&mut name, group_of(row.series.kind()), row.series, "");
            if !names.is_new(&name) {
                outcome.quarantined[QuarantineReason::DuplicateSeries] += 1;
                continue;
            }
            lines.push_row(snapshot, row);
            if lines.text.len() >= BATCH {
                send(&mut lines);
            }
        }
        send(&mut lines);
    }
}

fn group_of(kind: Kind) -> Group {
    match kind {
        Kind::Counter => Group::Counter,
        Kind::Gauge => Group::Gauge,
        Kind::Set => Group::Set,
        Kind::Timing | Kind::Histogram | Kind::Distribution => Group::Timer,
    }
}

/// The lines of a batch.
struct Lines<'a> {
    content: &'a GraphiteContent,
    /// The end of each line: the time.
    end: String,
    text: String,
    points: u64,
}

impl Lines<'_> {
    fn push_row(&mut self, snapshot: &Snapshot, row: Row<'_>) {
        match row.value {
            Value::Counter(sum) => self.push_counter(row, *sum, snapshot.rate(*sum)),
            Value::Gauge(value) => self.push(Group::Gauge, row, "", *value),
            Value::Set(members) => self.push(Group::Set, row, "count", *members),
            Value::Summary(summary) => self.push_timer(snapshot, row, summary),
        }
    }

    fn push_counter(&mut self, row: Row<'_>, sum: f64, rate: f64) {
        let GraphiteContent { naming, flush_counts, .. } = self.content;
        if naming.legacy_namespace {
            self.push(Group::Counter, row, "", rate);
            if *flush_counts {
                naming.push_legacy_count(&mut self.text, row.series);
                self.push_value(sum);
            }
        } else {
            self.push(Group::Counter, row, "rate", rate);
            if *flush_counts {
                self.push(Group::Counter, row, "count", sum);
            }
        }
    }

    fn push_timer(&mut self, snapshot: &Snapshot, row: Row<'_>, summary: &Summary) {
        let Summary { count, sum, min, max, mean, stddev, values, .. } = summary;
        let pairs: Vec<_> = values.iter().flat_map(|values| values.iter()).collect();
        self.push_thresholds(row, &pairs);
        for (statistic, value) in [
            ("std", *stddev),
            ("upper", *max),
            ("lower", *min),
            ("count", *count),
            ("count_ps", snapshot.rate(*count)),
            ("sum", *sum),
            ("mean", *mean),
        ] {
            self.push(Group::Timer, row, statistic, value);
        }
        if let Some(values) = values {
            self.push(Group::Timer, row, "sum_squares", sum_squares(&pairs));
            self.push(Group::Timer, row, "median", values.median());
        }
    }

    fn push_thresholds(&mut self, row: Row<'_>, values: Weighted<'_>) {
        for (percent, suffix) in &self.content.thresholds {
            let Some(threshold) = threshold(values, *percent) else { continue };
            let Threshold { count, mean, boundary, sum, sum_squares } = threshold;
            let side = if *percent > 0.0 { "upper" } else { "lower" };
            for (statistic, value) in [
                ("count", count),
                ("mean", mean),
                (side, boundary),
                ("sum", sum),
                ("sum_squares", sum_squares),
            ] {
                self.push(Group::Timer, row, &format!("{statistic}_{suffix}"), value);
            }
        }
    }

    fn push(&mut self, group: Group, row: Row<'_>, statistic: &str, value: f64) {
        self.content.naming.push(&mut self.text, group, row.series, statistic);
        self.push_value(value);
    }

    /// Appends the rest of a line after its name.
    fn push_value(&mut self, value: f64) {
        self.text.push(' ');
        push_number(&mut self.text, value);
        self.text.push_str(&self.end);
        self.points += 1;
    }
}
