//! What tallyd makes of a row: its datagrams on their real way, from two receivers through cuts to snapshots.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tallyd::aggregate::{AggregationOptions, IngestCounts, Shard, SharedState};
use tallyd::flush::{IdleReporting, Rotator};
use tallyd::model::{
    Kind, Overview, Percentile, Policies, Policy, PolicyId, Row as Result, Snapshot, Statistics, Summary,
    Value,
};

use crate::row::{Class, Row, Subject};

const EXPIRE_AFTER: Duration = Duration::from_mins(5);
/// Receivers that datagrams arrive at in turn.
const RECEIVERS: usize = 2;

/// A snapshot for each interval of a row.
pub(crate) struct Replay {
    pub(crate) snapshots: Vec<Snapshot>,
    counts: Vec<IngestCounts>,
    /// Whether the peer turns milliseconds into seconds.
    in_seconds: bool,
    /// Whether the peer writes dots in names as underscores.
    without_dots: bool,
}

impl Replay {
    /// With the percentiles and the bounds of buckets that are asked for, in any order. Bounds are in the peer's unit.
    pub(crate) fn of(row: &Row, percentiles: &[f64], bounds: &[f64]) -> Self {
        let in_seconds = row.peer == "statsd_exporter" || row.config["convert_to"] == "seconds";
        let parameters = AggregationOptions {
            // Registers of the peer's estimator are members that tallyd counts exactly.
            exact_members: row.config["set_precision"].as_u64().map_or(1000, |precision| 1 << precision),
            ..AggregationOptions::default()
        };
        let of_timings = bounds.iter().map(|bound| seconds(*bound, in_seconds));
        let statistics = Statistics {
            percentiles: ascending(percentiles).into_iter().filter_map(Percentile::new).collect(),
            bounds: ascending(&bounds.iter().copied().chain(of_timings).collect::<Vec<_>>()),
            ..Statistics::default()
        };
        let expire_after = [EXPIRE_AFTER; Kind::ALL.len()];
        let policy = Policy { statistics, expire_after, ..Policy::default() };
        let shared = SharedState::new(parameters);
        let shards: Vec<_> =
            (0..RECEIVERS).map(|_| Arc::new(Mutex::new(Shard::new(Arc::clone(&shared))))).collect();
        let mut cutter = Rotator::new(shared, shards.clone(), Policies::new(vec![policy]), idle(row));
        let (mut snapshots, mut counts) = (Vec::new(), Vec::new());
        for (datagrams, number) in row.intervals.iter().zip(1..) {
            for (datagram, shard) in datagrams.iter().zip(shards.iter().cycle()) {
                shard.lock().record(datagram.as_bytes());
            }
            let cut = cutter.cut(row.length * number);
            counts.push(cut.tally().clone());
            snapshots.push(Snapshot {
                time: SystemTime::UNIX_EPOCH + row.length * number,
                interval: row.length,
                policies: cutter.policies(),
                events: Vec::new(),
                rows: cut.rows().clone(),
                overview: Overview::default(),
            });
        }
        Self { snapshots, counts, in_seconds, without_dots: row.peer == "telegraf" }
    }

    /// Of all timings, histograms and distributions.
    pub(crate) fn counts(&self) -> Vec<f64> {
        let rows = self.snapshots.iter().flat_map(|snapshot| &snapshot.rows);
        let count = |row: Result<'_>| match row.value {
            Value::Summary(summary) => Some(summary.count),
            _ => None,
        };
        rows.filter_map(count).collect()
    }

    pub(crate) fn tally(&self, interval: usize) -> &IngestCounts {
        &self.counts[interval]
    }

    /// The result of the one series of that name, tags and class.
    pub(crate) fn find(&self, interval: usize, subject: &Subject) -> Option<Result<'_>> {
        let Subject::Series { name, tags, class } = subject else { return None };
        let mut found = self.snapshots[interval].rows.iter().filter(|row| {
            let own = row.series.name();
            let is_named = own == name || self.without_dots && own.replace('.', "_") == *name;
            let tags = tags.iter().map(|(key, value)| (&**key, &**value));
            // gostatsd's `gsd_histogram` is a tag to tallyd, and no part of the name to gostatsd.
            let own_tags = row.series.tags().filter(|(key, _)| *key != "gsd_histogram");
            is_named && own_tags.eq(tags) && class_of(row.value) == *class
        });
        let row = found.next()?;
        assert!(found.next().is_none(), "two series are {name}");
        Some(row)
    }

    /// What was asked of all series.
    fn statistics(&self) -> &Statistics {
        &self.snapshots[0].policies.get(PolicyId::default()).statistics
    }

    /// A percentile that was asked for.
    pub(crate) fn percentile(&self, summary: &Summary, percent: f64) -> f64 {
        let asked = &self.statistics().percentiles;
        let place = asked.iter().position(|percentile| percentile.percent() == percent);
        summary.percentiles[place.expect("a percentile that was asked for")]
    }

    /// The weight of the values up to a bound, which was asked for or is infinite.
    pub(crate) fn weight_up_to(&self, kind: Kind, summary: &Summary, bound: f64) -> f64 {
        if bound == f64::INFINITY {
            return summary.count;
        }
        let bound = if kind == Kind::Timing { seconds(bound, self.in_seconds) } else { bound };
        let place = self.statistics().bounds.iter().position(|asked| *asked == bound);
        summary.buckets[place.expect("a bound that was asked for")]
    }

    /// What one of the peer's units is in tallyd's.
    pub(crate) fn unit(&self, kind: Kind) -> f64 {
        if kind == Kind::Timing { milliseconds(self.in_seconds) } else { 1.0 }
    }
}

/// A bound of timings, as tallyd is asked for it.
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

/// The settings under which tallyd reports of idle series what the peer does.
fn idle(row: &Row) -> IdleReporting {
    let config = &row.config;
    let deletes = config["deleteIdleStats"] == true || config["delete_counters"] == true;
    // The agent sends zeros for counters and does not repeat gauges. The rows in which it does not are of its parts.
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
