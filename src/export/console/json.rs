//! Writes one JSON object per line. Its fields are an interface, which `docs/output.md` describes.

use std::fmt::Write;
use std::iter;

use crate::model::{Event, Named, Percentile, Policy, Row, Snapshot, Value};
use crate::text::number::push_float;
use crate::text::visible::json_escaped;

/// Writes the lines of one snapshot.
pub(super) struct JsonLines<'a> {
    snapshot: &'a Snapshot,
    /// The start of each line, up to the name.
    head: String,
    /// The keys of the percentiles, by policy. Each key includes its comma and its colon.
    percentile_keys: Vec<Vec<String>>,
}

impl<'a> JsonLines<'a> {
    pub(super) fn new(snapshot: &'a Snapshot) -> Self {
        let time = snapshot.time_text();
        let mut head = format!("{{\"time\":\"{time}\",\"interval_s\":");
        // This is never zero, because readers divide by it.
        push_float(&mut head, (snapshot.interval.as_secs_f64() * 1e3).round().max(1.0) / 1e3);
        let key = |percentile: &Percentile| format!(",\"p{}\":", percentile.percent());
        let keys = |policy: &Policy| policy.statistics.percentiles.iter().map(key).collect();
        Self { head, percentile_keys: snapshot.policies.iter().map(keys).collect(), snapshot }
    }

    /// Appends the line of a row, unless it is one of tallyd's own metrics with the value 0.
    pub(super) fn push(&self, text: &mut String, row: Row<'_>) {
        if row.is_own_zero() {
            return;
        }
        let Row { series, value, policy } = row;
        text.push_str(&self.head);
        text.push_str(",\"name\":");
        push_string(text, series.name());
        text.push_str(",\"type\":\"");
        text.push_str(series.kind().name());
        text.push('"');
        push_tags(text, series.tags());
        match value {
            Value::Counter(value) => {
                push_field(text, ",\"value\":", *value);
                push_field(text, ",\"rate\":", self.snapshot.rate(*value));
            }
            Value::Gauge(value) | Value::Set(value) => push_field(text, ",\"value\":", *value),
            Value::Summary(summary) => {
                push_field(text, ",\"count\":", summary.count);
                push_field(text, ",\"sum\":", summary.sum);
                push_field(text, ",\"min\":", summary.min);
                push_field(text, ",\"max\":", summary.max);
                push_field(text, ",\"mean\":", summary.mean);
                push_field(text, ",\"stddev\":", summary.stddev);
                for (key, value) in self.percentile_keys[policy.index()].iter().zip(&summary.percentiles) {
                    push_field(text, key, *value);
                }
            }
        }
        text.push_str("}\n");
    }

    /// Appends the line of an event.
    pub(super) fn push_event(&self, text: &mut String, event: &Event) {
        text.push_str(&self.head);
        text.push_str(",\"type\":\"event\",\"title\":");
        push_string(text, &event.title);
        text.push_str(",\"text\":");
        push_string(text, &event.text);
        text.push_str(",\"timestamp\":");
        match event.timestamp {
            Some(seconds) => _ = write!(text, "{seconds}"),
            None => text.push_str("null"),
        }
        push_optional(text, "host", event.hostname.as_deref());
        push_optional(text, "priority", Some(event.priority.name()));
        push_optional(text, "alert_type", Some(event.alert_type.name()));
        push_optional(text, "aggregation_key", event.aggregation_key.as_deref());
        push_optional(text, "source_type", event.source_type.as_deref());
        let tags = event.tags.iter().map(|(key, value)| (key.as_str(), value.as_str()));
        push_tags(text, tags);
        text.push_str("}\n");
    }
}

fn push_optional(text: &mut String, key: &str, value: Option<&str>) {
    // Writing to a string cannot fail.
    _ = write!(text, ",\"{key}\":");
    match value {
        Some(value) => push_string(text, value),
        None => text.push_str("null"),
    }
}

/// Appends sorted tags as `"key":"value"`. Several tags with the same key become `"key":["value","value"]`.
fn push_tags<'a>(text: &mut String, tags: impl Iterator<Item = (&'a str, &'a str)>) {
    text.push_str(",\"tags\":{");
    let mut tags = tags.peekable();
    while let Some((key, value)) = tags.next() {
        push_string(text, key);
        text.push(':');
        let mut more = || tags.next_if(|(next, _)| *next == key).map(|(_, value)| value);
        if let Some(second) = more() {
            text.push('[');
            push_string(text, value);
            for value in iter::once(second).chain(iter::from_fn(more)) {
                text.push(',');
                push_string(text, value);
            }
            text.push(']');
        } else {
            push_string(text, value);
        }
        if tags.peek().is_some() {
            text.push(',');
        }
    }
    text.push('}');
}

fn push_field(text: &mut String, key: &str, value: f64) {
    text.push_str(key);
    push_float(text, value);
}

/// Appends a string as `serde_json` writes it, but escapes all hidden characters. Most strings need no escape, and
/// copying them avoids an allocation.
fn push_string(text: &mut String, string: &str) {
    // Without an early exit, the compiler can compare many bytes at a time.
    let is_plain = |byte: u8| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\';
    if string.bytes().fold(true, |plain, byte| plain & is_plain(byte)) {
        text.push('"');
        text.push_str(string);
        text.push('"');
    } else {
        // This cannot fail, because every string has a JSON form.
        text.push_str(&json_escaped(&serde_json::to_string(string).unwrap_or_default()));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, SystemTime};

    use proptest::prelude::*;

    use super::*;
    use crate::model::{AlertType, Kind, Priority, Rows, Series, Statistics, Summary};

    fn snapshot(rows: Rows) -> Snapshot {
        let percentiles = [50.0, 99.9].into_iter().filter_map(Percentile::new).collect();
        Snapshot {
            time: SystemTime::UNIX_EPOCH + Duration::from_secs(1_795_348_810),
            policies: Arc::new(Statistics { percentiles, ..Statistics::default() }.into()),
            ..rows.into()
        }
    }

    fn render_one(series: Series, value: Value) -> String {
        let snapshot = snapshot(Rows::from_iter([(series, value)]));
        let mut text = String::new();
        let lines = JsonLines::new(&snapshot);
        snapshot.rows.iter().for_each(|row| lines.push(&mut text, row));
        text
    }

    #[test]
    fn each_type_has_its_documented_fields() {
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
        let head = r#"{"time":"2026-11-22T12:00:10Z","interval_s":10.0,"#;
        let cases = [
            (
                Series::new(Kind::Timing, "api.latency", &[("env", "prod")]),
                Value::Summary(Box::new(summary)),
                r#""name":"api.latency","type":"timing","tags":{"env":"prod"},"count":3.0,"sum":6.0,"min":1.0,"max":3.0,"mean":2.0,"stddev":0.816,"p50":2.0,"p99.9":3.0}"#,
            ),
            (
                Series::new(Kind::Counter, "hits", &[]),
                Value::Counter(25.0),
                r#""name":"hits","type":"counter","tags":{},"value":25.0,"rate":2.5}"#,
            ),
            (
                Series::new(Kind::Gauge, "queue", &[("a", "1"), ("a", "2"), ("b", "")]),
                Value::Gauge(-1.5),
                r#""name":"queue","type":"gauge","tags":{"a":["1","2"],"b":""},"value":-1.5}"#,
            ),
            (
                Series::new(Kind::Set, "a\"b", &[("k", "tab\t\u{1}")]),
                Value::Set(7.0),
                r#""name":"a\"b","type":"set","tags":{"k":"tab\t\u0001"},"value":7.0}"#,
            ),
        ];
        for (series, value, expected) in cases {
            assert_eq!(render_one(series, value), format!("{head}{expected}\n"));
        }
    }

    #[test]
    fn own_metrics_that_are_zero_have_no_line() {
        let own = |value| render_one(Series::new(Kind::Counter, "tallyd.lines", &[]), Value::Counter(value));
        assert_eq!((own(0.0).as_str(), own(1.0).lines().count()), ("", 1));
        let client = render_one(Series::new(Kind::Gauge, "queue", &[]), Value::Gauge(0.0));
        assert!(client.ends_with("\"value\":0.0}\n"), "{client}");
    }

    #[test]
    fn hidden_characters_are_escaped_and_read_back() {
        let tag = "a\u{1b}[31m\u{9b}2J\u{202e}\u{7f}é🦀";
        let line = render_one(Series::new(Kind::Gauge, "queue", &[("k", tag)]), Value::Gauge(1.0));
        assert!(line.contains(r#"{"k":"a\u001b[31m\u009b2J\u202e\u007fé🦀"}"#), "{line}");
        let read: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(read["tags"]["k"], tag);
    }

    #[test]
    fn time_has_milliseconds_if_there_are_some() {
        let time = SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_348_810_250);
        let snapshot = Snapshot { time, ..snapshot(Rows::default()) };
        assert!(JsonLines::new(&snapshot).head.starts_with("{\"time\":\"2026-11-22T12:00:10.250Z\""));
    }

    #[test]
    fn shortest_interval_is_not_written_as_zero() {
        let snapshot = Snapshot { interval: Duration::from_nanos(1), ..snapshot(Rows::default()) };
        assert!(JsonLines::new(&snapshot).head.ends_with("\"interval_s\":0.001"));
    }

    #[test]
    fn event_has_all_documented_fields() {
        let text = |text: &str| Some(text.to_owned());
        let event = Event {
            timestamp: Some(12),
            title: "deploy \"x\"".to_owned(),
            text: "one\ntwo".to_owned(),
            alert_type: AlertType::Warning,
            priority: Priority::Low,
            hostname: text("web-1"),
            aggregation_key: None,
            source_type: text("jenkins"),
            tags: vec![("canary".to_owned(), String::new()), ("env".to_owned(), "prod".to_owned())],
        };
        let mut line = String::new();
        JsonLines::new(&snapshot(Rows::default())).push_event(&mut line, &event);
        assert_eq!(
            line,
            concat!(
                r#"{"time":"2026-11-22T12:00:10Z","interval_s":10.0,"type":"event","title":"deploy \"x\"","text":"one\ntwo","#,
                r#""timestamp":12,"host":"web-1","priority":"low","alert_type":"warning","aggregation_key":null,"#,
                r#""source_type":"jenkins","tags":{"canary":"","env":"prod"}}"#,
                "\n"
            )
        );
    }

    proptest! {
        #[test]
        fn strings_and_tags_are_written_as_serde_json_escapes_them(
            tags in prop::collection::vec(("[a-c\"\n]{0,2}", any::<String>()), 0..8),
        ) {
            let mut tags = tags;
            tags.sort();
            let mut text = String::new();
            push_tags(&mut text, tags.iter().map(|(key, value)| (key.as_str(), value.as_str())));
            let members: Vec<_> = tags
                .chunk_by(|a, b| a.0 == b.0)
                .map(|same_key| {
                    let key = json_escaped(&serde_json::to_string(&same_key[0].0).unwrap()).into_owned();
                    let values: Vec<_> = same_key.iter().map(|(_, value)| value).collect();
                    let value = match values[..] {
                        [value] => serde_json::to_string(value),
                        _ => serde_json::to_string(&values),
                    };
                    format!("{key}:{}", json_escaped(&value.unwrap()))
                })
                .collect();
            prop_assert_eq!(text, format!(",\"tags\":{{{}}}", members.join(",")));
        }
    }
}
