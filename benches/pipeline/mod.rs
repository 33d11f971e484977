//! A pipeline without a network, as the benches `flush`, `record` and `instructions` need it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tallyd::aggregate::{AggregationOptions, Shard};
use tallyd::flush::{Aggregator, ReloadableSettings};
use tallyd::model::{Percentile, Snapshot, Statistics, Telemetry};

use crate::random::Random;

/// The stages between the receivers and the exporters.
#[derive(Debug)]
pub(crate) struct Pipeline {
    /// One shard per receiver.
    pub(crate) shards: Vec<Arc<Mutex<Shard>>>,
    pub(crate) aggregator: Aggregator,
}

impl Pipeline {
    pub(crate) fn new(receivers: usize) -> Self {
        let settings = ReloadableSettings { policies: statistics().into(), ..ReloadableSettings::default() };
        let mut aggregator = Aggregator::new(AggregationOptions::default(), settings, Telemetry::default());
        Self { shards: (0..receivers).map(|_| aggregator.add_shard()).collect(), aggregator }
    }

    /// Ends the interval.
    pub(crate) fn snapshot(&mut self) -> Snapshot {
        let results = self.aggregator.end_interval(Duration::ZERO);
        results.into_snapshot(SystemTime::UNIX_EPOCH, Duration::from_secs(10))
    }
}

fn statistics() -> Statistics {
    let percentiles = [50.0, 90.0, 95.0, 99.0, 99.9].into_iter().filter_map(Percentile::new).collect();
    Statistics { percentiles, ..Statistics::default() }
}

/// Each series once.
pub(crate) fn counters(shard: &Mutex<Shard>, series: usize) {
    for id in 0..series {
        shard.lock().record(format!("app.requests.endpoint.{id:07}:1|c").as_bytes());
    }
}

/// Each series `values` times, in turn, and in another order each time.
pub(crate) fn timings(shard: &Mutex<Shard>, series: usize, values: usize) {
    let mut random = Random(1);
    let mut order: Vec<_> = (0..series).collect();
    for value in 0..values {
        random.shuffle(&mut order);
        for id in &order {
            shard.lock().record(format!("app.latency.{id:05}:{}|ms", (id + value) * 7919 % 1000).as_bytes());
        }
    }
}
