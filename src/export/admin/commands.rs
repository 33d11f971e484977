//! Reads commands, and answers them.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::Mutex;

use super::super::ExporterStatuses;
use crate::model::{FlushRequests, Kind, Pattern, RESERVED_PREFIX, Row, Series, Snapshot, Value};
use crate::text::number::push_number;
use crate::text::visible::{json_escaped, visible};

/// The end of most answers.
const END: &str = "END\n\n";

const HELP: &str =
    "Commands: stats, counters, timers, gauges, delcounters, deltimers, delgauges, health, quit\n\n";

/// The kinds of series that statsd calls timers.
const TIMERS: &[Kind] = &[Kind::Timing, Kind::Histogram, Kind::Distribution];

/// What the answers are made of.
#[derive(Debug)]
pub(super) struct State {
    started: Instant,
    exporters: ExporterStatuses,
    requests: FlushRequests,
    /// What `health down` said. It changes nothing else.
    is_down: AtomicBool,
    values: Mutex<Values>,
}

/// What is known from snapshots.
#[derive(Debug, Default)]
struct Values {
    latest: Option<Arc<Snapshot>>,
    /// The time of the latest snapshot with lines.
    last_lines: Option<Instant>,
    /// The lines rejected since the start.
    rejected: u64,
}

/// An answer.
#[derive(Debug)]
pub(super) enum Answer {
    Text(String),
    /// The values of clients' series of these kinds, in the latest interval.
    Rows(Option<Arc<Snapshot>>, &'static [Kind]),
    /// The connection ends.
    Quit,
}

impl State {
    pub(super) fn new(exporters: ExporterStatuses, requests: FlushRequests) -> Self {
        let (is_down, values) = Default::default();
        Self { started: Instant::now(), exporters, requests, is_down, values }
    }

    /// Takes over the values of an interval.
    pub(super) fn add(&self, snapshot: &Arc<Snapshot>) {
        let mut values = self.values.lock();
        values.latest = Some(Arc::clone(snapshot));
        values.rejected += snapshot.overview.rejected;
        if snapshot.overview.lines > 0 {
            values.last_lines = Some(Instant::now());
        }
    }

    /// Answers a line.
    pub(super) fn answer(&self, line: &str) -> Answer {
        let mut words = line.split_whitespace();
        let command = words.next().unwrap_or_default();
        let rows = |kinds| Answer::Rows(self.values.lock().latest.clone(), kinds);
        match command {
            "help" => Answer::Text(HELP.to_owned()),
            "stats" => Answer::Text(self.stats()),
            "health" => Answer::Text(self.health(words.next())),
            "counters" => rows(&[Kind::Counter]),
            "gauges" => rows(&[Kind::Gauge]),
            "timers" => rows(TIMERS),
            "delcounters" => Answer::Text(self.delete(words, &[Kind::Counter])),
            "delgauges" => Answer::Text(self.delete(words, &[Kind::Gauge])),
            "deltimers" => Answer::Text(self.delete(words, TIMERS)),
            "quit" => Answer::Quit,
            _ => Answer::Text("ERROR\n".to_owned()),
        }
    }

    fn stats(&self) -> String {
        let Values { last_lines, rejected, .. } = &*self.values.lock();
        let since = |time: Instant| time.elapsed().as_secs();
        let mut text = String::new();
        // statsd begins with the time of its start. Writing to a string never fails.
        _ = writeln!(text, "uptime: {}", since(self.started));
        _ = writeln!(text, "messages.last_msg_seen: {}", since(last_lines.unwrap_or(self.started)));
        _ = writeln!(text, "messages.bad_lines_seen: {rejected}");
        for exporter in self.exporters.report() {
            let age = exporter.age_seconds.unwrap_or_else(|| self.started.elapsed().as_secs_f64());
            _ = writeln!(text, "{}.last_flush: {age:.0}", exporter.name);
            _ = writeln!(text, "{}.failures: {}", exporter.name, exporter.failures);
        }
        text + END
    }

    fn health(&self, word: Option<&str>) -> String {
        match word.map(str::to_lowercase).as_deref() {
            Some("up") => self.is_down.store(false, Relaxed),
            Some("down") => self.is_down.store(true, Relaxed),
            _ => {}
        }
        format!("health: {}\n", if self.is_down.load(Relaxed) { "down" } else { "up" })
    }

    /// Deletes the series of these kinds whose names match one of the patterns.
    fn delete<'a>(&self, patterns: impl Iterator<Item = &'a str>, kinds: &[Kind]) -> String {
        let latest = self.values.lock().latest.clone();
        let series: &[Series] = latest.as_ref().map_or(&[], |snapshot| snapshot.rows.series());
        let mut text = String::new();
        for pattern in patterns {
            let deleted = self.requests.delete(series, &Pattern::new(pattern), kinds);
            if deleted.is_empty() {
                _ = writeln!(text, "metric {pattern} not found");
            }
            // Several series can have one name.
            let names: BTreeSet<_> = deleted.iter().map(Series::name).collect();
            for name in names {
                _ = writeln!(text, "deleted: {}", visible(name));
            }
        }
        text + END
    }
}

/// Writes an object with the values of clients' series in a snapshot. Calls `write` with each piece, until it fails.
pub(super) async fn write_rows<E>(
    snapshot: Option<&Snapshot>,
    kinds: &[Kind],
    mut write: impl AsyncFnMut(&str) -> Result<(), E>,
) -> Result<(), E> {
    let mut text = String::from("{");
    let rows = snapshot.iter().flat_map(|snapshot| &snapshot.rows);
    let mut is_first = true;
    let is_shown =
        |row: &Row<'_>| kinds.contains(&row.series.kind()) && !row.series.name().starts_with(RESERVED_PREFIX);
    for row in rows.filter(is_shown) {
        if !is_first {
            text.push(',');
        }
        is_first = false;
        push_row(&mut text, &row);
        if text.len() >= super::super::exporter::PIECE {
            write(&text).await?;
            text.clear();
        }
    }
    text.push_str("}\n");
    text.push_str(END);
    write(&text).await
}

fn push_row(text: &mut String, row: &Row<'_>) {
    // The series without its type, which the command says.
    let series = format!("{:?}", row.series);
    let name = row.series.name();
    let tags = series[name.len() + 1..].split_once("|#").map_or("", |(_, tags)| tags);
    let key = if tags.is_empty() { name.to_owned() } else { format!("{name}|#{tags}") };
    let key = serde_json::Value::from(key).to_string();
    text.push_str(&json_escaped(&key));
    text.push(':');
    match row.value {
        Value::Counter(value) | Value::Gauge(value) | Value::Set(value) => push_number(text, *value),
        Value::Summary(summary) => {
            let fields = [
                ("count", summary.count),
                ("sum", summary.sum),
                ("min", summary.min),
                ("mean", summary.mean),
                ("max", summary.max),
            ];
            for (index, (field, value)) in fields.into_iter().enumerate() {
                _ = write!(text, "{}\"{field}\":", if index == 0 { '{' } else { ',' });
                push_number(text, value);
            }
            text.push('}');
        }
    }
}
