//! Aligned columns for people who `tail -f`.

use std::fmt::Write;

use crate::aggregate::{RESERVED_PREFIX, Summary};
use crate::protocol::Priority;
use crate::series::Series;
use crate::snapshot::{Event, Row, Snapshot, Value};
use crate::terminal::visible;

/// Columns that the widest name gets at most; longer ones push their own row to the right.
const NAME_WIDTH: usize = 60;

/// The columns of a snapshot.
pub(super) struct Table<'a> {
    snapshot: &'a Snapshot,
    /// Of the names.
    width: usize,
}

impl<'a> Table<'a> {
    pub(super) fn of(snapshot: &'a Snapshot) -> Self {
        let shown = snapshot.rows.iter().filter(|row| is_shown(*row));
        let width = shown.map(|row| display_name(row.series).chars().count().min(NAME_WIDTH)).max();
        Self { snapshot, width: width.unwrap_or(0) }
    }

    /// The line above the rows.
    pub(super) fn progress(&self) -> String {
        let Snapshot { time, interval, overview, .. } = self.snapshot;
        let tally = &overview.tally;
        let sum = |counts: &[u64]| counts.iter().sum::<u64>();
        format!(
            "{}  {:.1} s  {} series  {} lines  {} samples  {} rejected  {} refused  {} datagrams dropped\n",
            humantime::format_rfc3339_seconds(*time),
            interval.as_secs_f64(),
            overview.series,
            tally.lines,
            sum(&tally.samples),
            sum(&tally.rejected),
            sum(&tally.refused),
            overview.datagrams_dropped,
        )
    }

    /// Appends the line of a row, if it has one.
    pub(super) fn push(&self, text: &mut String, row: Row<'_>) {
        if !is_shown(row) {
            return;
        }
        let Row { series, value } = row;
        // Writing to a string cannot fail, here and below.
        _ = write!(
            text,
            "  {:<12}  {:<width$}",
            series.kind().name(),
            display_name(series),
            width = self.width
        );
        match value {
            Value::Counter(value) => {
                _ = write!(text, "  {:>12}  {:>12}/s", brief(*value), brief(self.snapshot.rate(*value)));
            }
            Value::Gauge(value) | Value::Set(value) => _ = write!(text, "  {:>12}", brief(*value)),
            Value::Summary(summary) => push_summary(text, self.snapshot, summary),
        }
        text.push('\n');
    }
}

/// Appends the line of an event.
pub(super) fn push_event(text: &mut String, event: &Event) {
    let Event { title, text: words, alert_type, priority, hostname, tags, .. } = event;
    let mut line = title.clone();
    push_tags(&mut line, tags.iter().map(|(key, value)| (key.as_str(), value.as_str())));
    if !words.is_empty() {
        line.extend([": ", words]);
    }
    _ = write!(text, "  {:<12}  ", "event");
    if *priority != Priority::Normal {
        _ = write!(text, "{} ", priority.name());
    }
    _ = write!(text, "{}", alert_type.name());
    if let Some(hostname) = hostname {
        _ = write!(text, " on {}", visible(hostname));
    }
    _ = writeln!(text, "  {}", visible(&line));
}

/// Of tallyd's own metrics those that are 0 are left out.
fn is_shown(row: Row<'_>) -> bool {
    let is_zero = matches!(row.value, Value::Counter(0.0) | Value::Gauge(0.0));
    !is_zero || !row.series.name().starts_with(RESERVED_PREFIX)
}

fn push_summary(text: &mut String, snapshot: &Snapshot, summary: &Summary) {
    let Summary { count, sum, min, max, mean, stddev, percentiles, .. } = summary;
    for (label, value) in
        [("count", count), ("sum", sum), ("min", min), ("max", max), ("mean", mean), ("stddev", stddev)]
    {
        _ = write!(text, "  {label} {:<8}", brief(*value));
    }
    for (percentile, value) in snapshot.percentiles().iter().zip(percentiles) {
        _ = write!(text, "  p{} {:<8}", percentile.percent(), brief(*value));
    }
    text.truncate(text.trim_end_matches(' ').len());
}

/// `name{key:value,key}`
fn display_name(series: &Series) -> String {
    let mut name = series.name().to_owned();
    push_tags(&mut name, series.tags());
    visible(&name).into_owned()
}

fn push_tags<'a>(name: &mut String, tags: impl Iterator<Item = (&'a str, &'a str)>) {
    let bare = name.len();
    for (index, (key, value)) in tags.enumerate() {
        name.push(if index == 0 { '{' } else { ',' });
        name.push_str(key);
        if !value.is_empty() {
            name.push(':');
            name.push_str(value);
        }
    }
    if name.len() > bare {
        name.push('}');
    }
}

/// A number as a person reads it: whole, or with the few digits that matter.
fn brief(value: f64) -> String {
    let magnitude = value.abs();
    let decimals = match magnitude {
        m if m != 0.0 && !(1e-3..1e15).contains(&m) => return format!("{value:.3e}"),
        m if m >= 1e6 || m.fract() == 0.0 => 0,
        m if m >= 100.0 => 1,
        m if m >= 1.0 => 2,
        _ => 4,
    };
    let text = format!("{value:.decimals$}");
    if decimals == 0 { text } else { text.trim_end_matches('0').trim_end_matches('.').to_owned() }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::aggregate::{Percentile, Statistics, Tally};
    use crate::protocol::Kind;
    use crate::snapshot::{Overview, Rows};

    #[test]
    fn rows_are_aligned_and_start_with_a_progress_line() {
        let row = |kind, name: &str, tags: &[(&str, &str)], value| (Series::new(kind, name, tags), value);
        let mut snapshot = Snapshot {
            time: SystemTime::UNIX_EPOCH,
            interval: Duration::from_secs(10),
            statistics: std::sync::Arc::default(),
            rows: Rows::from_iter([
                row(Kind::Counter, "api.hits", &[("env", "prod"), ("x", "")], Value::Counter(1204.0)),
                row(Kind::Gauge, "q", &[], Value::Gauge(0.25)),
                row(Kind::Counter, "tallyd.lines", &[], Value::Counter(0.0)),
                row(Kind::Gauge, "tallyd.series", &[], Value::Gauge(0.0)),
                row(Kind::Set, "u", &[("k", "\x1b[31m")], Value::Set(3.0)),
            ]),
            events: Vec::new(),
            overview: Overview { series: 3, ..Overview::default() },
        };
        snapshot.overview.tally =
            Tally { lines: 7, samples: [1, 2, 0, 0, 0, 0], refused: [1, 0, 1], ..Tally::default() };
        snapshot.overview.tally.rejected[0] = 4;
        snapshot.overview.datagrams_dropped = 5;
        let table = Table::of(&snapshot);
        let mut text = table.progress();
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
    fn a_distribution_has_its_statistics_in_its_row_and_a_long_name_pushes_only_its_own() {
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
        };
        let timing = (Series::new(Kind::Timing, "t", &[]), Value::Summary(Box::new(summary)));
        let long = "x".repeat(NAME_WIDTH + 5);
        let gauge = (Series::new(Kind::Gauge, &long, &[]), Value::Gauge(1.0));
        let snapshot = Snapshot {
            time: SystemTime::UNIX_EPOCH,
            interval: Duration::from_secs(10),
            statistics: std::sync::Arc::new(Statistics { percentiles, ..Statistics::default() }),
            rows: Rows::from_iter([timing, gauge]),
            events: Vec::new(),
            overview: Overview::default(),
        };
        let table = Table::of(&snapshot);
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

    #[test]
    fn an_event_is_a_line_that_tells_it() {
        let event = Event {
            timestamp: None,
            title: "deploy".to_owned(),
            text: "one\ntwo".to_owned(),
            alert_type: crate::protocol::AlertType::Error,
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

    #[test]
    fn numbers_are_brief() {
        let cases = [
            (1204.0, "1204"),
            (0.25, "0.25"),
            (120.449, "120.4"),
            (1.234_56, "1.23"),
            (0.100_01, "0.1"),
            (1_795_369_680.25, "1795369680"),
            (-3.10, "-3.1"),
            (1e-5, "1.000e-5"),
            (2.5e12, "2500000000000"),
            (2.5e18, "2.500e18"),
        ];
        for (value, expected) in cases {
            assert_eq!(brief(value), expected);
        }
    }
}
