//! All results of one interval, immutable, in sorted order: what exporters render.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::aggregate::{Percentile, Statistics, Summary, Tally, finite};
use crate::protocol::{self, AlertType, Priority, Tags};
use crate::series::{CONTAINER_ID, Series};

/// The results of one interval.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// The end of the interval.
    pub time: SystemTime,
    /// How long the interval really was; never zero.
    pub interval: Duration,
    /// What was asked of distributions: the meaning of the numbers in each [`Summary`].
    pub statistics: Arc<Statistics>,
    /// One row a series, in the order of the series.
    pub rows: Vec<Row>,
    /// What happened, in the order of their own times, and those without time first.
    pub events: Vec<Event>,
    /// How the interval went.
    pub overview: Overview,
}

/// One series' result.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Whose.
    pub series: Series,
    /// What its samples came to.
    pub value: Value,
}

/// What the samples of a series came to in an interval.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// The weighted sum.
    Counter(f64),
    /// The value at the end of the interval.
    Gauge(f64),
    /// The number of distinct members.
    Set(f64),
    /// Statistics of a timing, histogram or distribution.
    Summary(Box<Summary>),
}

/// Something that happened in an interval, told in words.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Event {
    /// When it happened, in seconds since 1970, if it was said.
    pub timestamp: Option<u64>,
    /// Not empty.
    pub title: String,
    /// More in words.
    pub text: String,
    /// How bad it is.
    pub alert_type: AlertType,
    /// How urgent it is.
    pub priority: Priority,
    /// Where it happened.
    pub hostname: Option<String>,
    /// What events to group it with.
    pub aggregation_key: Option<String>,
    /// What kind of program tells it.
    pub source_type: Option<String>,
    /// Keys and values, sorted; a value is empty where a tag has none.
    pub tags: Vec<(String, String)>,
}

impl Event {
    /// What a line says. The container's id, where it was sent, is a tag if `container_id_tag` says so.
    #[must_use]
    pub fn new(event: &protocol::Event<'_>, container_id_tag: bool) -> Self {
        let mut tags = sorted(event.tags);
        if container_id_tag && !event.origin.container_id.is_empty() {
            let own = lossy(CONTAINER_ID);
            // As with series: what was sent under this key is another tag.
            tags.iter_mut()
                .filter(|(key, _)| *key == own)
                .for_each(|(key, _)| key.insert_str(0, "exported_"));
            tags.push((own, lossy(event.origin.container_id)));
            tags.sort();
        }
        Self {
            timestamp: event.timestamp,
            title: event.title.to_string(),
            text: event.text.to_string(),
            alert_type: event.alert_type,
            priority: event.priority,
            hostname: event.hostname.map(lossy),
            aggregation_key: event.aggregation_key.map(lossy),
            source_type: event.source_type.map(lossy),
            tags,
        }
    }
}

/// Tags as they are shown: sorted, and with U+FFFD for what is not UTF-8.
pub(crate) fn sorted(tags: Tags<'_>) -> Vec<(String, String)> {
    let mut tags: Vec<_> = tags.iter().map(|(key, value)| (lossy(key), lossy(value))).collect();
    tags.sort();
    tags
}

/// Text, with U+FFFD for what is not UTF-8.
pub(crate) fn lossy(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// How an interval went, for people who watch.
#[derive(Debug, Clone, Default)]
pub struct Overview {
    /// Series that are alive.
    pub series: u64,
    /// What became of datagrams, lines and samples.
    pub tally: Tally,
    /// Datagrams that the kernel dropped.
    pub datagrams_dropped: u64,
}

impl Snapshot {
    /// A counter's increase per second.
    #[must_use]
    pub fn rate(&self, increase: f64) -> f64 {
        finite(increase / self.interval.as_secs_f64())
    }

    /// The percentiles in each [`Summary`].
    #[must_use]
    pub fn percentiles(&self) -> &[Percentile] {
        &self.statistics.percentiles
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_overflows_is_a_number_all_the_same() {
        let snapshot = Snapshot {
            time: SystemTime::UNIX_EPOCH,
            interval: Duration::from_millis(100),
            statistics: Arc::default(),
            rows: Vec::new(),
            events: Vec::new(),
            overview: Overview::default(),
        };
        assert_eq!(snapshot.rate(1e308), f64::MAX);
        assert_eq!(snapshot.rate(5.0), 50.0);
    }
}
