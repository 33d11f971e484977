//! Records the datagrams of a row in a pipeline with two receivers.

use std::time::{Duration, SystemTime};

use tallyd::aggregate::{AggregationOptions, IngestCounts};
use tallyd::flush::{IdleReporting, ReloadableSettings};
use tallyd::model::{
    Kind, Percentile, Policies, Policy, PolicyId, Row as Result, Snapshot, Statistics, Summary, Value,
};

use super::row::{Class, Row, Subject};
use crate::pipeline::Pipeline;

const EXPIRE_AFTER: Duration = Duration::from_mins(5);
/// The number of receivers, which get datagrams in turn.
const RECEIVERS: usize = 2;

/// A snapshot for each interval of a row.
pub(super) struct Replay {
    pub(super) snapshots: Vec<Snapshot>,
    counts: Vec<IngestCounts>,
    /// True if the peer converts milliseconds to seconds.
    in_seconds: bool,
    /// True if the peer replaces dots in names with underscores.
    without_dots: bool,
}

impl Replay {
    /// Replays a row with these percentiles and bounds of buckets, in any order. Bounds are in the peer's unit.
    pub(super) fn of(row: &Row, percentiles: &[f64], bounds: &[f64]) -> Self {
        let in_seconds = row.peer == "statsd_exporter" || row.config["convert_to"] == "seconds";
        let options = AggregationOptions {
            // tallyd counts members exactly up to this limit, which is the number of registers of the peer's estimator.
            exact_members: row.config["set_precision"].as_u64().map_or(1000, |precision| 1 << precision),
            ..AggregationOptions::default()
        };
        let of_timings = bounds.iter().map(|bound| seconds(*bound, in_seconds));
        let statistics = Statistics {
            percentiles: ascending(percentiles).into_iter().filter_map(Percentile::new).collect(),
            bounds: ascending(&bounds.iter().copied().chain(of_timings).collect::<Vec<_>>()),
            ..Statistics::default()
        };
        let expire_after = [EXPIRE_AFTER; 6];
        let policies = Policies::new(vec![Policy { statistics, expire_after, ..Policy::default() }]);
        let settings = ReloadableSettings { policies, idle: idle(row), ..ReloadableSettings::default() };
        let mut pipeline = Pipeline::new(RECEIVERS, options, settings);
        let (mut snapshots, mut counts) = (Vec::new(), Vec::new());
        for (datagrams, number) in row.intervals.iter().zip(1..) {
            for (datagram, receiver) in datagrams.iter().zip(0..) {
                pipeline.record(receiver, datagram);
            }
            let now = row.length * number;
            let results = pipeline.end_interval_at(now);
            counts.push(results.counts.clone());
            snapshots.push(results.into_snapshot(SystemTime::UNIX_EPOCH + now, row.length));
        }
        Self { snapshots, counts, in_seconds, without_dots: row.peer == "telegraf" }
    }

    /// Returns the count of each timing, histogram and distribution.
    pub(super) fn summary_counts(&self) -> Vec<f64> {
        let rows = self.snapshots.iter().flat_map(|snapshot| &snapshot.rows);
        let count = |row: Result<'_>| match row.value {
            Value::Summary(summary) => Some(summary.count),
            _ => None,
        };
        rows.filter_map(count).collect()
    }

    pub(super) fn counts(&self, interval: usize) -> &IngestCounts {
        &self.counts[interval]
    }

    /// Returns the result of the only series with this name, these tags and this class.
    pub(super) fn find(&self, interval: usize, subject: &Subject) -> Option<Result<'_>> {
        let Subject::Series { name, tags, class } = subject else { return None };
        let mut found = self.snapshots[interval].rows.iter().filter(|row| {
            let own = row.series.name();
            let is_named = own == name || self.without_dots && own.replace('.', "_") == *name;
            let tags = tags.iter().map(|(key, value)| (&**key, &**value));
            // gostatsd reads the tag `gsd_histogram` as a setting.
            let own_tags = row.series.tags().filter(|(key, _)| *key != "gsd_histogram");
            is_named && own_tags.eq(tags) && class_of(row.value) == *class
        });
        let row = found.next()?;
        assert!(found.next().is_none(), "two series are {name}");
        Some(row)
    }

    /// Returns the statistics of all series.
    fn statistics(&self) -> &Statistics {
        &self.snapshots[0].policies.get(PolicyId::default()).statistics
    }

    /// Returns a percentile. The row must have been replayed with it.
    pub(super) fn percentile(&self, summary: &Summary, percent: f64) -> f64 {
        let asked = &self.statistics().percentiles;
        let place = asked.iter().position(|percentile| percentile.percent() == percent);
        summary.percentiles[place.expect("the row was replayed with this percentile")]
    }

    /// Returns the weight of the values up to a bound. The row must have been replayed with this bound, unless the
    /// bound is infinite.
    pub(super) fn weight_up_to(&self, kind: Kind, summary: &Summary, bound: f64) -> f64 {
        if bound == f64::INFINITY {
            return summary.count;
        }
        let bound = if kind == Kind::Timing { seconds(bound, self.in_seconds) } else { bound };
        let place = self.statistics().bounds.iter().position(|asked| *asked == bound);
        summary.buckets[place.expect("the row was replayed with this bound")]
    }

    /// Returns how many units of tallyd one unit of the peer has.
    pub(super) fn unit(&self, kind: Kind) -> f64 {
        if kind == Kind::Timing { milliseconds(self.in_seconds) } else { 1.0 }
    }
}

/// Converts a bound of timings to seconds.
fn seconds(bound: f64, in_seconds: bool) -> f64 {
    if in_seconds { bound } else { bound / 1000.0 }
}

fn milliseconds(in_seconds: bool) -> f64 {
    if in_seconds { 1000.0 } else { 1.0 }
}

fn class_of(value: &Value) -> Class {
    match value {
        Value::Counter(_) => Class::Counter,
        Value::Gauge(_) => Class::Gauge,
        Value::Set(_) => Class::Set,
        Value::Summary(_) => Class::Values,
    }
}

/// Returns the settings that make tallyd report idle series like the peer.
fn idle(row: &Row) -> IdleReporting {
    let config = &row.config;
    let deletes = config["deleteIdleStats"] == true || config["delete_counters"] == true;
    // In timed rows, the Datadog agent sends zeros for idle counters and does not repeat gauges. Other rows test parts
    // of it.
    let by_time = row.peer == "datadog-agent" && row.is_timed;
    let zeros = ["statsd", "gostatsd"].contains(&&*row.peer) && !deletes || by_time;
    IdleReporting { zero_counters: zeros, zero_sets: zeros, last_gauges: !deletes && !by_time }
}

fn ascending(numbers: &[f64]) -> Vec<f64> {
    let mut numbers = numbers.to_vec();
    numbers.sort_by(f64::total_cmp);
    numbers.dedup();
    numbers
}
