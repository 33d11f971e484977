//! The shards of receivers and their flush, without sockets.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tallyd::aggregate::{AggregationOptions, Shard};
use tallyd::flush::{Aggregator, IntervalResults, ReloadableSettings};
use tallyd::model::{Percentile, Snapshot, Statistics, Telemetry};

use crate::traffic::shuffled_passes;

/// The number of intervals after which both sets of columns have been used and have grown to their final size.
const WARM_UP_INTERVALS: usize = 2;

/// The stages between the receivers and the exporters.
#[derive(Debug)]
pub(crate) struct Pipeline {
    /// One shard per receiver.
    pub(crate) shards: Vec<Arc<Mutex<Shard>>>,
    aggregator: Aggregator,
}

impl Pipeline {
    /// Returns a pipeline that computes five percentiles.
    pub(crate) fn new(receivers: usize) -> Self {
        let settings = ReloadableSettings { policies: statistics().into(), ..ReloadableSettings::default() };
        Self::with_settings(receivers, settings)
    }

    pub(crate) fn with_settings(receivers: usize, settings: ReloadableSettings) -> Self {
        let mut aggregator = Aggregator::new(AggregationOptions::default(), settings, Telemetry::default());
        let shards = (0..receivers).map(|_| aggregator.add_shard()).collect();
        Self { shards, aggregator }
    }

    /// Returns a pipeline whose shards know all series that `fill` sends.
    pub(crate) fn warmed_up(receivers: usize, fill: impl Fn(&Mutex<Shard>)) -> Self {
        let mut pipeline = Self::new(receivers);
        for _interval in 0..WARM_UP_INTERVALS {
            pipeline.shards.iter().for_each(|shard| fill(shard));
            drop(pipeline.end_interval());
        }
        pipeline
    }

    /// Ends the interval. No series expires, because the clock does not advance.
    pub(crate) fn end_interval(&mut self) -> IntervalResults {
        self.end_interval_at(Duration::ZERO)
    }

    /// Ends the interval at a given time of the monotonic clock.
    pub(crate) fn end_interval_at(&mut self, now: Duration) -> IntervalResults {
        self.aggregator.end_interval(now)
    }

    /// Ends the interval, and returns the snapshot that exporters would get.
    pub(crate) fn snapshot(&mut self) -> Snapshot {
        self.end_interval().into_snapshot(SystemTime::UNIX_EPOCH, Duration::from_secs(10))
    }
}

fn statistics() -> Statistics {
    let percentiles = [50.0, 90.0, 95.0, 99.0, 99.9].into_iter().filter_map(Percentile::new).collect();
    Statistics { percentiles, ..Statistics::default() }
}

/// Records one sample of each counter series.
pub(crate) fn counters(shard: &Mutex<Shard>, series: usize) {
    for id in 0..series {
        shard.lock().record(format!("app.requests.endpoint.{id:07}:1|c").as_bytes());
    }
}

/// Records the given number of values of each timing series. Each pass has one value per series, in its own random
/// order.
pub(crate) fn timings(shard: &Mutex<Shard>, series: usize, values: usize) {
    for (n, id) in shuffled_passes(series, values).enumerate() {
        let value = (id + n / series) * 7919 % 1000;
        shard.lock().record(format!("app.latency.{id:05}:{value}|ms").as_bytes());
    }
}
