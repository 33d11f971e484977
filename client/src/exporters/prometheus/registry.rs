//! The series of the page. The registry admits only series that Prometheus accepts together on one page.

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex};

use metrics::{Counter, Gauge, Histogram, Key, Level, Metadata, Recorder};
use metrics_exporter_prometheus::PrometheusRecorder;

use super::names;
use crate::poison::ignore_poison;
use crate::sample::{Sample, Value};

/// The number of entries in [`Registry::series`] at which the registry adds no more series. It is a limit of entries,
/// because they take the memory. The page removes no series while the application runs, so it needs a limit.
const MAX_ENTRIES: usize = 100_000;
/// The recorder requires this value but does not use it.
const METADATA: Metadata<'static> = Metadata::new("tallyd_client", Level::INFO, None);

/// The series of all samples that come too late for the limit.
const FULL: Series = Series::Refused("the Prometheus page has too many series");
const OTHER_TYPE: &str = "a metric of another type has this name in Prometheus";

/// The names of the metrics that Prometheus itself records for each target and each alert.
const RESERVED: [&str; 10] = [
    "ALERTS",
    "ALERTS_FOR_STATE",
    "scrape_body_size_bytes",
    "scrape_duration_seconds",
    "scrape_sample_limit",
    "scrape_samples_post_metric_relabeling",
    "scrape_samples_scraped",
    "scrape_series_added",
    "scrape_timeout_seconds",
    "up",
];

/// All series that the application has recorded so far.
pub(super) struct Registry {
    recorder: PrometheusRecorder,
    /// The series by metric, type and tags, including those that are refused. A series has an entry for its tags in
    /// sorted order, and one for each other order that has occurred.
    series: HashMap<String, Arc<Series>>,
    families: Families,
    /// The sets. Their gauges change only at the end of an interval.
    sets: Vec<(Key, Arc<Members>)>,
}

impl Registry {
    pub(super) fn new(recorder: PrometheusRecorder) -> Self {
        Self { recorder, series: HashMap::new(), families: Families::default(), sets: Vec::new() }
    }

    /// Returns the series of a sample if it is known. If the registry is full, returns [`FULL`] for an
    /// unknown series, because remembering it would defeat the limit.
    pub(super) fn find(&self, identity: &str) -> Option<&Series> {
        let known = self.series.get(identity).map(|series| &**series);
        known.or_else(|| (self.series.len() >= MAX_ENTRIES).then_some(&FULL))
    }

    /// Adds the series of a sample, or adds another order of its tags to a known series.
    pub(super) fn add(&mut self, identity: &str, metric: &str, sample: &Sample<'_>) -> Arc<Series> {
        let tags = names::sorted_tags(sample);
        let mut sorted = [metric, "|", sample.value.wire_type()].concat();
        for (index, (key, value)) in tags.iter().enumerate() {
            sorted.extend([if index == 0 { "|" } else { "," }, key, ":", value]);
        }
        let known = self.series.get(&sorted).map(Arc::clone);
        let series = known.unwrap_or_else(|| {
            Arc::new(self.register(metric, sample.value, tags).unwrap_or_else(Series::Refused))
        });
        for identity in [identity.to_owned(), sorted] {
            self.series.entry(identity).or_insert_with(|| Arc::clone(&series));
        }
        series
    }

    /// Registers a series for the page. Fails with the reason if the page cannot show it.
    fn register(
        &mut self,
        metric: &str,
        value: Value<'_>,
        tags: Vec<(String, String)>,
    ) -> Result<Series, &'static str> {
        let family = names::family(metric, value);
        let key = Key::from_parts(family.clone(), names::labels(tags, value));
        self.families.admit(&family, &key, value)?;
        Ok(match value {
            Value::Counter(_) => Series::Counter(self.recorder.register_counter(&key, &METADATA)),
            Value::Gauge(_) => Series::Gauge(self.recorder.register_gauge(&key, &METADATA)),
            Value::Timing(_) => Series::Timing(self.recorder.register_histogram(&key, &METADATA)),
            Value::Histogram(_) | Value::Distribution(_) => {
                Series::Summary(self.recorder.register_histogram(&key, &METADATA))
            }
            Value::Set(_) => {
                let members = Arc::default();
                self.sets.push((key, Arc::clone(&members)));
                Series::Set(members)
            }
        })
    }

    /// Writes the number of members of each set to the page, and empties the sets for the next interval.
    pub(super) fn end_interval(&self) {
        for (key, members) in &self.sets {
            let mut members = ignore_poison(members.lock());
            self.recorder.register_gauge(key, &METADATA).set(members.len() as f64);
            members.clear();
        }
    }
}

/// The destination of the values of one series.
pub(super) enum Series {
    Counter(Counter),
    Gauge(Gauge),
    /// A summary in seconds. The recorded values are in milliseconds.
    Timing(Histogram),
    Summary(Histogram),
    Set(Arc<Members>),
    /// The page cannot show the series, for this reason.
    Refused(&'static str),
}

impl Series {
    /// Records a value. Fails with the reason if the page cannot show the series.
    pub(super) fn record(&self, value: Value<'_>, hasher: &RandomState) -> Result<(), &'static str> {
        match (self, value) {
            (Self::Counter(counter), Value::Counter(value)) => counter.increment(value),
            (Self::Gauge(gauge), Value::Gauge(value)) => gauge.set(value),
            (Self::Timing(summary), Value::Timing(value)) => summary.record(value / 1e3),
            (Self::Summary(summary), Value::Histogram(value) | Value::Distribution(value)) => {
                summary.record(value);
            }
            (Self::Set(members), Value::Set(member)) => {
                ignore_poison(members.lock()).insert(hasher.hash_one(member));
            }
            (Self::Refused(reason), _) => return Err(reason),
            // This does not happen, because each type has its own series.
            _ => return Err(OTHER_TYPE),
        }
        Ok(())
    }
}

/// The hashes of the members of a set in the current interval.
type Members = Mutex<HashSet<u64>>;

/// The families on the page. Each family has one type, and no series occurs twice. Prometheus rejects a page that
/// breaks these rules.
#[derive(Default)]
struct Families {
    /// The family that owns each name on the page.
    owners: HashMap<String, Family>,
    series: HashSet<Key>,
}

#[derive(Clone, PartialEq, Eq)]
struct Family {
    name: String,
    type_name: &'static str,
}

impl Families {
    /// Admits a series to a family. Fails with the reason if the page cannot show it.
    fn admit(&mut self, name: &str, key: &Key, value: Value<'_>) -> Result<(), &'static str> {
        if name.starts_with("tallyd_") || RESERVED.contains(&name) {
            return Err("tallyd or Prometheus reserves this name");
        }
        // Two series can share a name and labels only if they are counters, because only counters can be added up.
        if !matches!(value, Value::Counter(_)) && self.series.contains(key) {
            return Err("another series has the same name and the same labels in Prometheus");
        }
        let family = Family { name: name.to_owned(), type_name: value.type_name() };
        let suffixes: &[&str] = match value {
            Value::Timing(_) | Value::Histogram(_) | Value::Distribution(_) => &["", "_sum", "_count"],
            Value::Counter(_) | Value::Gauge(_) | Value::Set(_) => &[""],
        };
        let names: Vec<_> = suffixes.iter().map(|suffix| format!("{name}{suffix}")).collect();
        if names.iter().any(|name| self.owners.get(name).is_some_and(|owner| *owner != family)) {
            return Err(OTHER_TYPE);
        }
        self.owners.extend(names.into_iter().map(|name| (name, family.clone())));
        self.series.insert(key.clone());
        Ok(())
    }
}
