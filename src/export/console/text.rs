//! Writes aligned columns for people.

use std::fmt::Write;

use super::brief::push_brief;
use crate::model::{
    Event, Named, Percentile, Policy, Priority, RESERVED_PREFIX, Row, Series, Snapshot, Summary, Value,
};
use crate::text::visible::visible;

/// The maximum width of the name column. A longer name moves the rest of its own row to the right.
const NAME_WIDTH: usize = 60;
/// The width of the type column.
const TYPE_WIDTH: usize = 12;
/// The width of the numbers of counters, gauges and sets.
const NUMBER_WIDTH: usize = 12;
/// The width of each statistic of a timing, histogram or distribution.
const STATISTIC_WIDTH: usize = 8;

/// tallyd's own counters of losses, sorted and without their prefix.
const LOSSES: [&str; 14] = [
    "connections_refused",
    "datagrams_dropped",
    "datagrams_truncated",
    "events_dropped",
    "export_errors",
    "flush_late",
    "http_connections_refused",
    "increases_absorbed",
    "lines_cut",
    "lines_rejected",
    "samples_absorbed",
    "series_quarantined",
    "series_refused",
    "snapshots_dropped",
];

/// Writes the lines of one snapshot.
pub(super) struct Table<'a> {
    snapshot: &'a Snapshot,
    /// Whether the header replaces tallyd's own metrics. If so, only their counters of losses have rows.
    is_folded: bool,
    /// The width of the name column.
    name_width: usize,
    /// The labels before the percentiles, by policy.
    percentile_labels: Vec<Vec<String>>,
}

impl<'a> Table<'a> {
    /// Prepares the lines of a snapshot. On a terminal, the header replaces most of tallyd's own metrics, so people
    /// find the metrics of their applications.
    pub(super) fn new(snapshot: &'a Snapshot, is_terminal: bool) -> Self {
        let mut width = 0;
        let mut name = String::new();
        for row in snapshot.rows.iter().filter(|row| is_shown(*row, is_terminal)) {
            name.clear();
            width = width.max(push_name(&mut name, row.series));
            if width >= NAME_WIDTH {
                width = NAME_WIDTH;
                break;
            }
        }
        let label = |percentile: &Percentile| format!("  p{} ", percentile.percent());
        let labels = |policy: &Policy| policy.statistics.percentiles.iter().map(label).collect();
        Self {
            name_width: width,
            percentile_labels: snapshot.policies.iter().map(labels).collect(),
            snapshot,
            is_folded: is_terminal,
        }
    }

    /// Returns the header, which is the line above the rows.
    pub(super) fn header(&self) -> String {
        let Snapshot { interval, overview, .. } = self.snapshot;
        format!(
            "{}  {:.1} s  {} series  {} lines  {} samples  {} rejected  {} refused  {} datagrams dropped\n",
            self.snapshot.time_text(),
            interval.as_secs_f64(),
            overview.series,
            overview.lines,
            overview.samples,
            overview.rejected,
            overview.refused,
            overview.datagrams_dropped,
        )
    }

    /// Appends the line of a row, unless the row is hidden.
    pub(super) fn push(&self, text: &mut String, row: Row<'_>) {
        if !is_shown(row, self.is_folded) {
            return;
        }
        let Row { series, value, policy } = row;
        let kind = series.kind().name();
        text.push_str("  ");
        text.push_str(kind);
        push_spaces(text, TYPE_WIDTH - kind.len() + 2);
        let columns = push_name(text, series);
        push_spaces(text, self.name_width.saturating_sub(columns));
        match value {
            Value::Counter(value) => {
                push_right(text, *value);
                push_right(text, self.snapshot.rate(*value));
                text.push_str("/s");
            }
            Value::Gauge(value) | Value::Set(value) => push_right(text, *value),
            Value::Summary(summary) => {
                push_summary(text, summary, &self.percentile_labels[policy.index()]);
            }
        }
        text.push('\n');
    }
}

fn push_summary(text: &mut String, summary: &Summary, percentile_labels: &[String]) {
    let Summary { count, sum, min, max, mean, stddev, percentiles, .. } = summary;
    push_left(text, "  count ", *count);
    push_left(text, "  sum ", *sum);
    push_left(text, "  min ", *min);
    push_left(text, "  max ", *max);
    push_left(text, "  mean ", *mean);
    push_left(text, "  stddev ", *stddev);
    for (label, value) in percentile_labels.iter().zip(percentiles) {
        push_left(text, label, *value);
    }
    text.truncate(text.trim_end_matches(' ').len());
}

/// Appends the line of an event.
pub(super) fn push_event(text: &mut String, event: &Event) {
    let Event { title, text: words, alert_type, priority, hostname, tags, .. } = event;
    let mut line = title.clone();
    let given = tags.iter().map(|(key, value)| (key.as_str(), Some(value.as_str())));
    push_tags(&mut line, given.map(|(key, value)| (key, value.filter(|value| !value.is_empty()))));
    if !words.is_empty() {
        line.extend([": ", words]);
    }
    // Writing to a string cannot fail.
    _ = write!(text, "  {:<TYPE_WIDTH$}  ", "event");
    if *priority != Priority::Normal {
        _ = write!(text, "{} ", priority.name());
    }
    _ = write!(text, "{}", alert_type.name());
    if let Some(hostname) = hostname {
        _ = write!(text, " on {}", visible(hostname));
    }
    _ = writeln!(text, "  {}", visible(&line));
}

/// Returns false for tallyd's own metrics that are 0 or that the header replaces.
fn is_shown(row: Row<'_>, is_folded: bool) -> bool {
    if row.is_own_zero() {
        return false;
    }
    // The name matters only on a terminal.
    let own = is_folded.then(|| row.series.name().strip_prefix(RESERVED_PREFIX)).flatten();
    own.is_none_or(|own| LOSSES.binary_search(&own).is_ok())
}

/// Appends two spaces and a number, aligned to the right of its column.
fn push_right(text: &mut String, value: f64) {
    let start = text.len();
    push_brief(text, value);
    let missing = NUMBER_WIDTH.saturating_sub(text.len() - start);
    text.insert_str(start, &SPACES[..missing + 2]);
}

/// Appends a label and a number, aligned to the left of its column.
fn push_left(text: &mut String, label: &str, value: f64) {
    text.push_str(label);
    let start = text.len();
    push_brief(text, value);
    push_spaces(text, STATISTIC_WIDTH.saturating_sub(text.len() - start));
}

fn push_spaces(text: &mut String, count: usize) {
    text.push_str(&SPACES[..count]);
}

/// Enough spaces for the widest column.
const SPACES: &str = match str::from_utf8(&[b' '; NAME_WIDTH]) {
    Ok(spaces) => spaces,
    Err(_) => "",
};

/// Appends `name{key:value,key}`, and returns its width in columns.
fn push_name(text: &mut String, series: &Series) -> usize {
    let start = text.len();
    text.push_str(series.name());
    push_tags(text, series.tags_as_sent());
    let name = &text[start..];
    // Without an early exit, the compiler can compare many bytes at a time.
    if name.bytes().fold(true, |plain, byte| plain & matches!(byte, b' '..=b'~')) {
        return name.len();
    }
    let shown = visible(name).into_owned();
    text.truncate(start);
    text.push_str(&shown);
    shown.chars().count()
}

fn push_tags<'a>(name: &mut String, tags: impl Iterator<Item = (&'a str, Option<&'a str>)>) {
    let bare = name.len();
    for (index, (key, value)) in tags.enumerate() {
        name.push(if index == 0 { '{' } else { ',' });
        name.push_str(key);
        if let Some(value) = value {
            name.push(':');
            name.push_str(value);
        }
    }
    if name.len() > bare {
        name.push('}');
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Kind, Overview, Statistics};

    fn snapshot(rows: Vec<(Series, Value)>, percentiles: Vec<Percentile>) -> Snapshot {
        Snapshot {
            time: SystemTime::UNIX_EPOCH,
            interval: Duration::from_secs(10),
            policies: std::sync::Arc::new(Statistics { percentiles, ..Statistics::default() }.into()),
            rows: rows.into_iter().collect(),
            events: Vec::new(),
            overview: Overview::default(),
        }
    }

    #[test]
    fn a_terminal_shows_telemetry_only_if_it_counts_a_loss() {
        let row = |kind, name: &str, value| (Series::new(kind, name, &[]), value);
        let snapshot = snapshot(
            vec![
                row(Kind::Counter, "api.hits", Value::Counter(3.0)),
                row(Kind::Gauge, "tallyd.build_info", Value::Gauge(1.0)),
                row(Kind::Counter, "tallyd.lines", Value::Counter(3.0)),
                row(Kind::Counter, "tallyd.lines_rejected", Value::Counter(1.0)),
                row(Kind::Counter, "tallyd.series_refused", Value::Counter(0.0)),
            ],
            Vec::new(),
        );
        let shown = |is_terminal| {
            let table = Table::new(&snapshot, is_terminal);
            let mut text = String::new();
            snapshot.rows.iter().for_each(|row| table.push(&mut text, row));
            let name = |line: &str| line.split_whitespace().nth(1).unwrap().to_owned();
            text.lines().map(name).collect::<Vec<_>>()
        };
        assert_eq!(shown(true), ["api.hits", "tallyd.lines_rejected"]);
        assert_eq!(shown(false), ["api.hits", "tallyd.build_info", "tallyd.lines", "tallyd.lines_rejected"]);
        assert!(LOSSES.is_sorted());
    }

    #[test]
    fn rows_are_aligned_below_a_header() {
        let row = |kind, name: &str, tags: &[(&str, &str)], value| (Series::new(kind, name, tags), value);
        let rows = vec![
            row(Kind::Counter, "api.hits", &[("env", "prod"), ("x", "")], Value::Counter(1204.0)),
            row(Kind::Gauge, "q", &[], Value::Gauge(0.25)),
            row(Kind::Counter, "tallyd.lines", &[], Value::Counter(0.0)),
            row(Kind::Gauge, "tallyd.series", &[], Value::Gauge(0.0)),
            row(Kind::Set, "u", &[("k", "\x1b[31m")], Value::Set(3.0)),
        ];
        let mut snapshot = snapshot(rows, Vec::new());
        snapshot.overview =
            Overview { series: 3, lines: 7, samples: 3, rejected: 4, refused: 2, datagrams_dropped: 5 };
        let table = Table::new(&snapshot, false);
        let mut text = table.header();
        snapshot.rows.iter().for_each(|row| table.push(&mut text, row));
        assert_eq!(
            text,
            "1970-01-01T00:00:00Z  10.0 s  3 series  7 lines  3 samples  4 rejected  2 refused  5 datagrams dropped\n\
             \x20 counter       api.hits{env:prod,x}          1204         120.4/s\n\
             \x20 gauge         q                             0.25\n\
             \x20 set           u{k:\\u{1b}[31m}                  3\n"
        );
    }

    #[test]
    fn distribution_shows_statistics_and_long_name_moves_only_its_row() {
        let percentiles = [50.0, 99.9].into_iter().filter_map(Percentile::new).collect();
        let summary = Summary {
            count: 3.0,
            sum: 6.0,
            min: 1.0,
            max: 3.0,
            mean: 2.0,
            stddev: 0.816,
            percentiles: [2.0, 3.0].into(),
            buckets: [].into(),
            native: None,
        };
        let timing = (Series::new(Kind::Timing, "t", &[]), Value::Summary(Box::new(summary)));
        let long = "x".repeat(NAME_WIDTH + 5);
        let gauge = (Series::new(Kind::Gauge, &long, &[]), Value::Gauge(1.0));
        let snapshot = snapshot(vec![timing, gauge], percentiles);
        let table = Table::new(&snapshot, false);
        let mut text = String::new();
        snapshot.rows.iter().for_each(|row| table.push(&mut text, row));
        let name = format!("{:<NAME_WIDTH$}", "t");
        assert_eq!(
            text,
            format!(
                "  timing        {name}  count 3         sum 6         min 1         max 3         mean 2         \
                 stddev 0.816     p50 2         p99.9 3\n  gauge         {long}             1\n"
            )
        );
    }

    proptest! {
        #[test]
        fn rows_are_aligned_as_format_aligns_them(
            rows in vec((".{0,4}|[a-z.]{0,70}", vec(("[a-c]|\u{1b}|é", "[a-c]|"), 0..4), any::<f64>()), 1..4),
        ) {
            let row = |(name, tags, value): &(String, Vec<(String, String)>, f64)| {
                let tags: Vec<_> = tags.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
                let name = name.replace('\n', "");
                (Series::new(Kind::Counter, &name, &tags), Value::Counter(*value))
            };
            let snapshot = snapshot(rows.iter().map(row).collect(), Vec::new());
            let mut text = String::new();
            let table = Table::new(&snapshot, false);
            snapshot.rows.iter().for_each(|row| table.push(&mut text, row));

            let brief = |value| {
                let mut text = String::new();
                push_brief(&mut text, value);
                text
            };
            let name = |series: &Series| {
                let tag = |(key, value): (&str, &str)| match value {
                    "" => key.to_owned(),
                    _ => format!("{key}:{value}"),
                };
                let tags = series.tags().map(tag).collect::<Vec<_>>().join(",");
                let tags = if tags.is_empty() { tags } else { format!("{{{tags}}}") };
                visible(&format!("{}{tags}", series.name())).into_owned()
            };
            let width = snapshot.rows.iter().map(|row| name(row.series).chars().count().min(NAME_WIDTH)).max().unwrap();
            let line = |row: Row<'_>| {
                let Value::Counter(value) = *row.value else { unreachable!() };
                let rate = brief(snapshot.rate(value));
                format!("  {:<12}  {:<width$}  {:>12}  {rate:>12}/s\n", "counter", name(row.series), brief(value))
            };
            prop_assert_eq!(text, snapshot.rows.iter().map(line).collect::<String>());
        }
    }

    #[test]
    fn event_is_one_line() {
        let event = Event {
            timestamp: None,
            title: "deploy".to_owned(),
            text: "one\ntwo".to_owned(),
            alert_type: crate::model::AlertType::Error,
            priority: Priority::Low,
            hostname: Some("web\x1b1".to_owned()),
            aggregation_key: None,
            source_type: None,
            tags: vec![("env".to_owned(), "prod".to_owned())],
        };
        let mut text = String::new();
        push_event(&mut text, &event);
        assert_eq!(text, "  event         low error on web\\u{1b}1  deploy{env:prod}: one\\ntwo\n");
    }
}
