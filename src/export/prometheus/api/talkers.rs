//! Says who and what sends most.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use cardinality_estimator::CardinalityEstimator;
use serde::Serialize;

use super::super::totals::Totals;
use super::query::Query;
use super::sender::SenderFields;
use crate::model::{Estimate, Snapshot, Talkers, TopNames, time_text};
use crate::text::visible::shortened;

/// The most keys of tags in an answer.
const MOST_KEYS: usize = 100;

/// The longest name in an answer, in bytes. It is the default of `aggregation.max_name`.
const LONGEST_NAME: usize = 1024;

/// The talkers of the latest interval. The answer is only made when somebody asks, because few intervals have a question.
#[derive(Debug)]
pub(super) struct LatestTalkers {
    end: SystemTime,
    length: Duration,
    talkers: Arc<Talkers>,
    /// The containers are looked up at once, because processes end.
    senders: Vec<SenderFields>,
}

/// The answer to `/api/v1/talkers`. The largest numbers come first.
#[derive(Debug, Serialize)]
pub(super) struct Answer<'a> {
    /// The end of the interval.
    time: String,
    /// The length of the interval in seconds.
    seconds: f64,
    sampled: Sampled,
    /// By samples.
    names: Vec<ByEstimate>,
    /// By live series.
    series: Vec<ByCount>,
    /// By new series.
    new: Vec<ByCount>,
    /// By rejected lines.
    rejected: Vec<ByCount>,
    senders: Vec<BySender<'a>>,
}

/// The lines from which the estimates come.
#[derive(Debug, Serialize)]
struct Sampled {
    /// All lines of the interval.
    lines: u64,
    /// The number of those in the sample.
    kept: u64,
}

#[derive(Debug, Serialize)]
struct ByEstimate {
    name: String,
    samples: f64,
    error: f64,
}

#[derive(Debug, Serialize)]
struct ByCount {
    name: String,
    count: u64,
}

#[derive(Debug, Serialize)]
struct BySender<'a> {
    sender: &'a SenderFields,
    listener: &'static str,
    lines: f64,
    error: f64,
}

impl LatestTalkers {
    /// Takes over the talkers of an interval.
    pub(super) fn new(snapshot: &Snapshot) -> Self {
        let senders = snapshot.talkers.senders.iter().map(|(origin, _)| origin.sender.into());
        Self {
            end: snapshot.time,
            length: snapshot.interval,
            talkers: Arc::clone(&snapshot.talkers),
            senders: senders.collect(),
        }
    }

    pub(super) fn to_answer(&self) -> Answer<'_> {
        let Talkers { lines, sampled, samples, series, added, rejected, senders } = &*self.talkers;
        let by_count = |names: &TopNames| {
            names.iter().map(|(name, count)| ByCount { name: whole_or_shortened(name), count }).collect()
        };
        let by_estimate = |(name, Estimate { number, error }): &(String, _)| ByEstimate {
            name: whole_or_shortened(name),
            samples: *number,
            error: *error,
        };
        let senders = senders.iter().zip(&self.senders);
        let senders = senders.map(|((origin, Estimate { number, error }), sender)| BySender {
            sender,
            listener: origin.listener,
            lines: *number,
            error: *error,
        });
        Answer {
            time: time_text(self.end),
            seconds: self.length.as_secs_f64(),
            sampled: Sampled { lines: *lines, kept: *sampled },
            names: samples.iter().map(by_estimate).collect(),
            series: by_count(series),
            new: by_count(added),
            rejected: by_count(rejected),
            senders: senders.collect(),
        }
    }
}

fn whole_or_shortened(name: &str) -> String {
    if name.len() <= LONGEST_NAME { name.to_owned() } else { shortened(name) }
}

/// The answer to `/api/v1/tags`.
#[derive(Debug, Serialize)]
pub(super) struct Tags {
    name: String,
    /// The number of series with this name.
    series: usize,
    /// The key with the most values comes first.
    #[serde(rename = "tags")]
    keys: Vec<Tag>,
}

#[derive(Debug, Serialize)]
struct Tag {
    key: String,
    /// The number of different values. With more than a few, it is an estimate.
    values: usize,
    /// The number of series that have the key.
    series: usize,
}

impl Tags {
    /// Counts the values of the tags of a name. Returns `None` if no series has the name.
    ///
    /// # Errors
    ///
    /// Fails if a parameter is unknown or missing.
    pub(super) fn answer(mut query: Query, totals: &Totals) -> Result<Option<Self>, String> {
        let name = query.take("name").ok_or("the parameter name is missing")?;
        query.end()?;
        let mut series = 0;
        let mut keys: BTreeMap<&str, (CardinalityEstimator<str>, usize)> = BTreeMap::new();
        for named in totals.placements.named(&name) {
            series += 1;
            let mut previous = None;
            for (key, value) in named.tags() {
                if previous != Some(key) && keys.len() > MOST_KEYS && !keys.contains_key(key) {
                    continue;
                }
                let (values, having) = keys.entry(key).or_default();
                values.insert(value);
                // A key can have several values in one series.
                *having += usize::from(previous != Some(key));
                previous = Some(key);
            }
        }
        let mut tags: Vec<_> = keys
            .into_iter()
            .map(|(key, (values, series))| Tag { key: key.to_owned(), values: values.estimate(), series })
            .collect();
        tags.sort_by_key(|tag| std::cmp::Reverse(tag.values));
        tags.truncate(MOST_KEYS);
        Ok((series > 0).then_some(Self { name, series, keys: tags }))
    }
}
