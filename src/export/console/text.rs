//! Writes aligned columns for people.

use std::cell::Cell;
use std::fmt::Write;

use super::screen::Screen;
use crate::model::{
    Event, Named, Percentile, Policy, Priority, RESERVED_PREFIX, Row, Series, Snapshot, Summary, Value,
};
use crate::text::brief::push_brief;
use crate::text::visible::visible;

/// The maximum width of the name column. A longer name moves the rest of its own row to the right.
const NAME_WIDTH: usize = 60;
/// The width of the type column.
const TYPE_WIDTH: usize = 12;
/// The width of the numbers of counters, gauges and sets.
const NUMBER_WIDTH: usize = 12;
/// The width of each statistic of a timing, histogram or distribution.
const STATISTIC_WIDTH: usize = 8;

/// tallyd's own metrics of losses, sorted and without their prefix.
const LOSSES: [&str; 21] = [
    "connections_refused",
    "datagram_bytes_truncated",
    "datagrams_dropped",
    "datagrams_refused",
    "datagrams_truncated",
    "datagrams_unread",
    "drops_unreadable",
    "events_dropped",
    "export_errors",
    "flush_late",
    "http_connections_refused",
    "increases_absorbed",
    "lines_rejected",
    "lines_truncated",
    "log_lines_dropped",
    "machine_udp_errors",
    "samples_absorbed",
    "samples_undelivered",
    "series_quarantined",
    "series_refused",
    "snapshots_dropped",
];

/// Writes the lines of one snapshot.
pub(super) struct Table<'a> {
    snapshot: &'a Snapshot,
    /// The terminal, if the output is one. If so, the header replaces tallyd's own metrics, and only their counters of
    /// losses have rows.
    screen: Option<Screen>,
    /// The width of the name column.
    name_width: usize,
    /// The labels before the statistics, by policy. `None` stands for a statistic that does not fit the width.
    labels: Vec<Vec<Option<String>>>,
    /// The rows and events so far that count towards the limit of the terminal.
    counted: Cell<usize>,
}

impl<'a> Table<'a> {
    /// Prepares the lines of a snapshot. On a terminal, the header replaces most of tallyd's own metrics, so people
    /// find the metrics of their applications.
    pub(super) fn new(snapshot: &'a Snapshot, screen: Option<Screen>) -> Self {
        let widest = screen.map_or(NAME_WIDTH, |screen| screen.width.saturating_mul(2) / 5).min(NAME_WIDTH);
        let mut counted = 0;
        let mut width = 0;
        let mut name = String::new();
        for row in snapshot.rows.iter().filter(|row| is_shown(*row, screen.is_some())) {
            counted += usize::from(!is_loss(row.series, screen));
            if screen.is_some_and(|screen| counted > screen.max_rows) && !is_loss(row.series, screen) {
                continue;
            }
            name.clear();
            width = width.max(push_name(&mut name, row.series));
            if width >= widest {
                width = widest;
                break;
            }
        }
        let space = screen.map_or(usize::MAX, |screen| screen.width).saturating_sub(TYPE_WIDTH + 4 + width);
        let labels = |policy: &Policy| labels(&policy.statistics.percentiles, space);
        Self {
            name_width: width,
            labels: snapshot.policies.iter().map(labels).collect(),
            snapshot,
            screen,
            counted: Cell::new(0),
        }
    }

    /// Returns the header, which is the line above the rows.
    pub(super) fn header(&self) -> String {
        let Snapshot { interval, overview, .. } = self.snapshot;
        let mut header = HeaderLine::new(self.snapshot.time_text(), self.screen);
        header.push(&format!("{:.1} s", interval.as_secs_f64()), false);
        header.push(&format!("{} series", overview.series), false);
        header.push(&format!("{} lines", overview.lines), false);
        header.push(&format!("{} samples", overview.samples), false);
        header.push(&format!("{} rejected", overview.rejected), overview.rejected > 0);
        header.push(&format!("{} refused", overview.refused), overview.refused > 0);
        match overview.datagrams_dropped {
            Some(dropped) => header.push(&format!("{dropped} datagrams dropped"), dropped > 0),
            None => header.push("datagrams dropped: unknown", true),
        }
        header.text + "\n"
    }

    /// Returns the line below the rows, if a terminal shows only some of them.
    pub(super) fn footer(&self) -> String {
        let hidden = self.screen.map_or(0, |screen| self.counted.get().saturating_sub(screen.max_rows));
        if hidden == 0 {
            return String::new();
        }
        format!("  and {} more (exporters.console.max_rows)\n", grouped(hidden))
    }

    /// Counts a row or an event. Returns false if it is beyond the limit.
    fn is_within_limit(&self) -> bool {
        self.counted.set(self.counted.get() + 1);
        self.screen.is_none_or(|screen| self.counted.get() <= screen.max_rows)
    }

    /// Appends the line of an event, unless it is beyond the limit.
    pub(super) fn push_event(&self, text: &mut String, event: &Event) {
        if self.is_within_limit() {
            let start = text.len();
            push_event(text, event);
            self.fit(text, start);
        }
    }

    /// Truncates the line that begins at `start` to the width of the terminal.
    fn fit(&self, text: &mut String, start: usize) {
        let Some(Screen { width, .. }) = self.screen else { return };
        let line = text[start..].trim_end_matches('\n');
        if let Some((end, _)) = line.char_indices().nth(width.saturating_sub(1))
            && line[end..].chars().nth(1).is_some()
        {
            text.truncate(start + end);
            text.push_str("…\n");
        }
    }

    /// Appends the line of a row, unless the row is hidden.
    pub(super) fn push(&self, text: &mut String, row: Row<'_>) {
        if !is_shown(row, self.screen.is_some()) {
            return;
        }
        let Row { series, value, policy } = row;
        let is_loss = is_loss(series, self.screen);
        if !is_loss && !self.is_within_limit() {
            return;
        }
        let start = text.len();
        let kind = series.kind().name();
        text.push_str("  ");
        text.push_str(kind);
        push_spaces(text, TYPE_WIDTH - kind.len() + 2);
        let name = text.len();
        let mut columns = push_name(text, series);
        if self.screen.is_some() && columns > self.name_width {
            let end = text[name..].char_indices().nth(self.name_width.saturating_sub(1));
            text.truncate(name + end.map_or(0, |(end, _)| end));
            text.push('…');
            columns = self.name_width;
        }
        push_spaces(text, self.name_width.saturating_sub(columns));
        match value {
            Value::Counter(value) => {
                push_right(text, *value);
                push_right(text, self.snapshot.rate(*value));
                text.push_str("/s");
            }
            Value::Gauge(value) | Value::Set(value) => push_right(text, *value),
            Value::Summary(summary) => {
                push_summary(text, summary, &self.labels[policy.index()]);
            }
        }
        text.push('\n');
        self.fit(text, start);
        if is_loss && self.screen.is_some_and(|screen| screen.has_color) {
            text.insert_str(start, RED);
            text.insert_str(text.len() - 1, PLAIN);
        }
    }
}

/// Appends the statistics that have a label.
fn push_summary(text: &mut String, summary: &Summary, labels: &[Option<String>]) {
    let Summary { count, sum, min, max, mean, stddev, percentiles, .. } = summary;
    let values = [*count, *sum, *min, *max, *mean, *stddev].into_iter().chain(percentiles.iter().copied());
    for (label, value) in labels.iter().zip(values) {
        if let Some(label) = label {
            push_left(text, label, value);
        }
    }
    text.truncate(text.trim_end_matches(' ').len());
}

/// Returns the labels of the statistics that fit into `space` columns: the more important ones first. All rows of a
/// policy have the same ones, so they are aligned.
fn labels(percentiles: &[Percentile], space: usize) -> Vec<Option<String>> {
    const COUNT: usize = 0;
    const SUM: usize = 1;
    const MIN: usize = 2;
    const MAX: usize = 3;
    const MEAN: usize = 4;
    const STDDEV: usize = 5;
    let names = ["count", "sum", "min", "max", "mean", "stddev"].map(str::to_owned);
    let percents = percentiles.iter().map(|percentile| format!("p{}", percentile.percent()));
    let mut labels: Vec<_> =
        names.into_iter().chain(percents).map(|name| Some(format!("  {name} "))).collect();
    let first = STDDEV + 1;
    let last = labels.len() - 1;
    let order = [COUNT, last, first, MAX, MEAN].into_iter().chain(first..=last).chain([MIN, SUM, STDDEV]);
    let mut fits = vec![false; labels.len()];
    let mut left = space;
    for index in order.filter(|&index| index <= last) {
        let width = labels[index].as_ref().map_or(0, |label| label.len() + STATISTIC_WIDTH);
        if !fits[index] && width <= left {
            fits[index] = true;
            left -= width;
        }
    }
    for (label, fits) in labels.iter_mut().zip(fits) {
        label.take_if(|_| !fits);
    }
    labels
}

/// The escape sequences that begin and end red text.
const RED: &str = "\u{1b}[31m";
const PLAIN: &str = "\u{1b}[0m";

/// A line of fields, which a terminal breaks between two fields.
struct HeaderLine {
    text: String,
    column: usize,
    screen: Option<Screen>,
}

impl HeaderLine {
    fn new(first: String, screen: Option<Screen>) -> Self {
        Self { column: first.len(), text: first, screen }
    }

    /// Appends a field. On a terminal, an alarming one is red.
    fn push(&mut self, field: &str, is_alarming: bool) {
        self.column += 2 + field.len();
        if self.screen.is_some_and(|screen| self.column > screen.width) {
            self.text.push('\n');
            self.column = 2 + field.len();
        }
        let is_red = is_alarming && self.screen.is_some_and(|screen| screen.has_color);
        let (begin, end) = if is_red { (RED, PLAIN) } else { ("", "") };
        self.text.extend(["  ", begin, field, end]);
    }
}

/// Writes a number with a comma between thousands.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(",")
}

/// Appends the line of an event.
fn push_event(text: &mut String, event: &Event) {
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

/// Returns true for the shown rows of tallyd's own metrics on a terminal. They are losses, which no limit hides.
fn is_loss(series: &Series, screen: Option<Screen>) -> bool {
    screen.is_some() && series.name().starts_with(RESERVED_PREFIX)
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
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::model::{Kind, Overview, Rows, Statistics};

    fn snapshot(rows: Vec<(Series, Value)>, percentiles: Vec<Percentile>) -> Snapshot {
        let policies = std::sync::Arc::new(Statistics { percentiles, ..Statistics::default() }.into());
        Snapshot { policies, ..rows.into_iter().collect::<Rows>().into() }
    }

    fn screen(width: usize, max_rows: usize) -> Screen {
        Screen::new(width, max_rows, false)
    }

    /// Returns the header and all rows.
    fn render(snapshot: &Snapshot, screen: Option<Screen>) -> String {
        let table = Table::new(snapshot, screen);
        let mut text = table.header();
        snapshot.rows.iter().for_each(|row| table.push(&mut text, row));
        snapshot.events.iter().for_each(|event| table.push_event(&mut text, event));
        text + &table.footer()
    }

    fn timing(name: &str) -> (Series, Value) {
        let summary = Summary {
            count: 123_456_789.0,
            sum: 123_456_789_012.0,
            min: 1.5e-9,
            max: 3e300,
            mean: 2.0,
            stddev: 0.816,
            percentiles: [2.0, 2.5, 3.0].into(),
            buckets: [].into(),
            native: None,
            values: None,
        };
        (Series::new(Kind::Timing, name, &[("env", "prod")]), Value::Summary(Box::new(summary)))
    }

    #[test]
    fn rows_and_header_fit_the_width_of_a_terminal() {
        let percentiles = [50.0, 95.0, 99.9].into_iter().filter_map(Percentile::new).collect();
        let long = "ü".repeat(300);
        let rows = vec![
            timing("api.latency"),
            timing(&long),
            (Series::new(Kind::Counter, &long, &[]), Value::Counter(1e12)),
            (Series::new(Kind::Gauge, "x", &[]), Value::Gauge(1.0)),
        ];
        let mut snapshot = snapshot(rows, percentiles);
        snapshot.overview.rejected = u64::MAX;
        for width in [20, 40, 80, 132, 200, 1000] {
            let text = render(&snapshot, Some(screen(width, 0)));
            for line in text.lines() {
                // A field of the header is not broken.
                assert!(line.chars().count() <= width.max(31), "{width}: {line}");
            }
            assert!(text.contains("rejected"), "{text}");
        }
        let text = render(&snapshot, Some(screen(80, 0)));
        let row = text.lines().find(|line| line.contains("api.latency")).unwrap();
        assert!(row.contains("count 123456789") && row.contains("p99.9 3"), "{row}");
        let whole = render(&snapshot, None);
        assert!(whole.contains(&long) && whole.lines().count() == 5, "{whole}");
    }

    #[test]
    fn a_terminal_shows_a_limited_number_of_rows_and_every_loss() {
        let row =
            |number: usize| (Series::new(Kind::Gauge, &format!("a.{number:04}"), &[]), Value::Gauge(1.0));
        let loss = (Series::new(Kind::Counter, "tallyd.lines_rejected", &[]), Value::Counter(1.0));
        let snapshot = snapshot((0..5000).map(row).chain([loss]).collect(), Vec::new());
        let limited = render(&snapshot, Some(screen(80, 3)));
        let lines: Vec<_> = limited.lines().skip(2).map(str::trim).collect();
        assert!(lines[2].starts_with("gauge         a.0002"), "{limited}");
        assert!(lines[3].starts_with("counter       tallyd.lines_rejected"), "{limited}");
        assert_eq!(lines[4..], ["and 4,997 more (exporters.console.max_rows)"]);
        assert_eq!(render(&snapshot, Some(screen(80, 0))).lines().count(), 2 + 5001);
        assert_eq!(render(&snapshot, None).lines().count(), 1 + 5001);
    }

    #[test]
    fn a_terminal_shows_losses_in_red_if_it_has_colors() {
        let rows = vec![
            (Series::new(Kind::Gauge, "a", &[]), Value::Gauge(1.0)),
            (Series::new(Kind::Counter, "tallyd.lines_rejected", &[]), Value::Counter(7.0)),
        ];
        let mut snapshot = snapshot(rows, Vec::new());
        snapshot.overview.rejected = 7;
        let text = render(&snapshot, Some(Screen::new(200, 0, true)));
        let red: Vec<_> =
            text.split("\u{1b}[31m").skip(1).map(|rest| rest.split("\u{1b}[0m").next().unwrap()).collect();
        assert_eq!(red.len(), 2, "{text:?}");
        assert_eq!(red[0], "7 rejected");
        assert!(red[1].contains("tallyd.lines_rejected") && red[1].ends_with("/s"), "{text:?}");
        for screen in [None, Some(screen(200, 0))] {
            assert!(!render(&snapshot, screen).contains('\u{1b}'));
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
        let shown = |is_terminal: bool| {
            let table = Table::new(&snapshot, is_terminal.then(|| screen(200, 0)));
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
    fn a_terminal_shows_every_loss_that_the_telemetry_page_lists() {
        let page = include_str!("../../../docs/telemetry.md");
        let section = page.split("\n## ").find(|section| section.starts_with("Rejected, refused or lost\n"));
        let rows = section.unwrap().lines().filter_map(|line| line.strip_prefix("| `tallyd."));
        let names: Vec<_> = rows.map(|row| row.split(['{', '`']).next().unwrap()).collect();
        assert!(names.len() > 10, "{names:?}");
        // A clamped value is in all results.
        for name in names.into_iter().filter(|name| *name != "values_clamped") {
            assert!(LOSSES.contains(&name), "{name}");
        }
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
            Overview { series: 3, lines: 7, samples: 3, rejected: 4, refused: 2, datagrams_dropped: Some(5) };
        let table = Table::new(&snapshot, None);
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
            values: None,
        };
        let timing = (Series::new(Kind::Timing, "t", &[]), Value::Summary(Box::new(summary)));
        let long = "x".repeat(NAME_WIDTH + 5);
        let gauge = (Series::new(Kind::Gauge, &long, &[]), Value::Gauge(1.0));
        let snapshot = snapshot(vec![timing, gauge], percentiles);
        let table = Table::new(&snapshot, None);
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
            let table = Table::new(&snapshot, None);
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
