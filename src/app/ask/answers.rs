//! The answers of the API, as far as the commands show them. Other fields of an answer are ignored, because a newer
//! tallyd may add some.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::text::visible::visible;

/// The answer of `status`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Status {
    pub(super) version: String,
    pub(super) uptime_seconds: f64,
    pub(super) exporters: Vec<ExporterStatus>,
    /// The latest interval. It is missing before the first one ends.
    pub(super) interval: Option<Interval>,
}

/// All that `tallyd top` shows.
#[derive(Debug, Clone)]
pub(super) struct Answers {
    pub(super) status: Status,
    pub(super) talkers: Talkers,
    pub(super) rejected: Rejected,
}

/// How an exporter is doing.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct ExporterStatus {
    pub(super) name: String,
    /// The time since the latest delivery.
    pub(super) age_seconds: Option<f64>,
    pub(super) waiting_samples: f64,
    /// The number of failed deliveries since the latest successful one.
    pub(super) failures: f64,
    pub(super) error: Option<String>,
}

/// An interval: the data of the event `interval`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Interval {
    /// The end of the interval, in RFC 3339.
    pub(super) time: String,
    /// The length.
    pub(super) seconds: f64,
    pub(super) series: f64,
    pub(super) lines: f64,
    pub(super) samples: f64,
    pub(super) losses: Vec<Loss>,
    /// False if the kernel does not say how many datagrams it dropped.
    pub(super) drops_known: bool,
    pub(super) flush_seconds: Option<f64>,
    pub(super) memory: Option<Memory>,
}

/// What an interval lost, of one kind.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Loss {
    pub(super) kind: String,
    /// The reason, the listener or the exporter.
    pub(super) by: String,
    pub(super) count: f64,
}

/// Memory in bytes.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Memory {
    pub(super) used: f64,
    pub(super) max: f64,
}

/// The data of the event `interval`, if the stream has a pattern. The first event has no results, because it repeats the
/// latest interval.
#[derive(Debug, Clone, Deserialize)]
#[serde(bound = "T: Deserialize<'de>")]
pub(super) struct IntervalResults<T> {
    pub(super) time: String,
    pub(super) seconds: f64,
    #[serde(default)]
    pub(super) matched: u64,
    #[serde(default)]
    pub(super) results: Vec<T>,
}

/// The data of the event `lost`.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct LostEvents {
    pub(super) events: u64,
}

/// The answer of `talkers`.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Talkers {
    /// The length of the interval.
    pub(super) seconds: f64,
    pub(super) names: Vec<NameSamples>,
    pub(super) series: Vec<NameCount>,
    pub(super) new: Vec<NameCount>,
    pub(super) rejected: Vec<NameCount>,
    pub(super) senders: Vec<SenderLines>,
}

/// The samples of a name.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct NameSamples {
    pub(super) name: String,
    pub(super) samples: f64,
    /// The margin of error. Zero means that the number is exact.
    pub(super) error: f64,
}

/// A number for a name.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct NameCount {
    pub(super) name: String,
    pub(super) count: f64,
}

/// The lines of a sender.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct SenderLines {
    pub(super) sender: Option<Sender>,
    pub(super) listener: String,
    pub(super) lines: f64,
    /// The margin of error. Zero means that the number is exact.
    pub(super) error: f64,
}

/// The sender of lines, as far as the kernel tells.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Sender {
    address: Option<String>,
    pid: Option<i64>,
    uid: Option<i64>,
    container: Option<String>,
}

impl Sender {
    /// Returns the sender for people, for example `10.0.0.7` or `pid 812, uid 1000`.
    pub(super) fn shown(sender: Option<&Self>) -> String {
        match sender {
            Some(Self { address: Some(address), .. }) => visible(address).into_owned(),
            Some(Self { pid: Some(pid), uid: Some(uid), container: Some(container), .. }) => {
                // People know containers by the beginning of their ids.
                let begin: String = visible(container).chars().take(12).collect();
                format!("pid {pid}, uid {uid}, container {begin}")
            }
            Some(Self { pid: Some(pid), uid: Some(uid), .. }) => format!("pid {pid}, uid {uid}"),
            _ => "unknown".to_owned(),
        }
    }
}

/// The answer of `rejected`.
#[derive(Debug, Clone, Default, Deserialize)]
pub(super) struct Rejected {
    pub(super) lines: Vec<RejectedLine>,
    pub(super) quarantined: Vec<Quarantined>,
}

/// A line that was not recorded.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct RejectedLine {
    pub(super) time: String,
    pub(super) reason: String,
    /// The line, or a part of it.
    pub(super) line: String,
    /// The length of the whole line in bytes.
    pub(super) length: u64,
    /// The offset of the first shown byte.
    pub(super) begin: u64,
    /// The column of the offending byte in the whole line, counted from 1.
    pub(super) column: Option<u64>,
    /// The number of characters of `line` before the offending one.
    pub(super) caret: Option<u64>,
    pub(super) listener: String,
    pub(super) sender: Option<Sender>,
}

/// A series that is kept off the Prometheus page.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Quarantined {
    pub(super) series: String,
    pub(super) reason: String,
}

/// The answer of `series`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct FoundSeries {
    /// The number of series that match. The answer may have fewer.
    pub(super) matched: u64,
    pub(super) series: Vec<Measured>,
}

/// A series with its values: totals in the answer of `series`, those of an interval in live results.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Measured {
    pub(super) name: String,
    #[serde(rename = "type")]
    pub(super) series_type: String,
    tags: BTreeMap<String, TagValues>,
    pub(super) total: Option<f64>,
    pub(super) value: Option<f64>,
    /// The value per second, in live results of counters.
    pub(super) rate: Option<f64>,
    pub(super) count: Option<f64>,
    pub(super) sum: Option<f64>,
    pub(super) mean: Option<f64>,
    pub(super) max: Option<f64>,
    #[serde(default)]
    percentiles: BTreeMap<String, Option<f64>>,
}

/// The values of a tag.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum TagValues {
    One(String),
    Several(Vec<String>),
}

impl Measured {
    /// Returns the series as the console shows it, for example `page.views{zone:b,canary}`.
    pub(super) fn shown(&self) -> String {
        let mut tags = Vec::new();
        for (key, values) in &self.tags {
            let values = match values {
                TagValues::One(value) => std::slice::from_ref(value),
                TagValues::Several(values) => values,
            };
            tags.extend(values.iter().map(|value| match value.as_str() {
                "" => key.clone(),
                value => format!("{key}:{value}"),
            }));
        }
        let name =
            if tags.is_empty() { self.name.clone() } else { format!("{}{{{}}}", self.name, tags.join(",")) };
        visible(&name).into_owned()
    }

    /// Returns the percentiles in ascending order, each with its name, such as `p99`.
    pub(super) fn percentiles(&self) -> Vec<(String, f64)> {
        let known =
            self.percentiles.iter().filter_map(|(name, value)| Some((visible(name).into_owned(), (*value)?)));
        let mut percentiles: Vec<_> = known.collect();
        let percent = |name: &str| name.trim_start_matches('p').parse().unwrap_or(f64::MAX);
        percentiles.sort_by(|(a, _), (b, _)| percent(a).total_cmp(&percent(b)));
        percentiles
    }
}

/// The answer of `tags`.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct MetricTags {
    pub(super) name: String,
    /// The number of series of the metric.
    pub(super) series: f64,
    pub(super) tags: Vec<TagCount>,
}

/// A tag of a metric.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct TagCount {
    pub(super) key: String,
    pub(super) values: f64,
    pub(super) series: f64,
}

/// The answer of `delete`.
#[derive(Debug, Clone, Copy, Deserialize)]
pub(super) struct Deleted {
    pub(super) deleted: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_are_shown_with_their_tags_and_without_control_characters() {
        let cases = [
            (r#"{"name": "a", "type": "gauge", "tags": {}, "new field": [1]}"#, "a"),
            (r#"{"name": "a", "type": "set", "tags": {"k": ["1", "2"], "z": ""}}"#, "a{k:1,k:2,z}"),
            (
                r#"{"name": "\u001b[31m", "type": "gauge", "tags": {"\u202e": "\u0007"}}"#,
                "\\u{1b}[31m{\\u{202e}:\\u{7}}",
            ),
        ];
        for (json, expected) in cases {
            assert_eq!(serde_json::from_str::<Measured>(json).unwrap().shown(), expected);
        }
    }

    #[test]
    fn percentiles_are_in_the_order_of_their_numbers() {
        let json = r#"{"name": "a", "type": "timing", "tags": {}, "percentiles": {"p99.9": 3.0, "p100": 4.0, "p50": 1.0, "p9": null}}"#;
        let percentiles = serde_json::from_str::<Measured>(json).unwrap().percentiles();
        assert_eq!(
            percentiles,
            [("p50", 1.0), ("p99.9", 3.0), ("p100", 4.0)].map(|(name, value)| (name.to_owned(), value))
        );
    }
}
