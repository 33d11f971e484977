//! Shards and what cuts them, as the benches `flush` and `instructions` need them.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tallyd::aggregate::{AggregationOptions, Shard, SharedState};
use tallyd::flush::{IdleReporting, Rotator};
use tallyd::model::{Overview, Percentile, Snapshot, Statistics};

use crate::random::Random;

/// What lies between the receivers and the exporters.
#[derive(Debug)]
pub(crate) struct Pipeline {
    /// One a receiver.
    pub(crate) shards: Vec<Arc<Mutex<Shard>>>,
    pub(crate) cutter: Rotator,
}

impl Pipeline {
    pub(crate) fn new(receivers: usize) -> Self {
        let shared = SharedState::new(AggregationOptions::default());
        let shard = |_| Arc::new(Mutex::new(Shard::new(Arc::clone(&shared))));
        let shards: Vec<_> = (0..receivers).map(shard).collect();
        let cutter = Rotator::new(shared, shards.clone(), statistics().into(), IdleReporting::default());
        Self { shards, cutter }
    }

    /// Ends the interval.
    pub(crate) fn snapshot(&mut self) -> Snapshot {
        Snapshot {
            time: SystemTime::UNIX_EPOCH,
            interval: Duration::from_secs(10),
            policies: self.cutter.policies(),
            rows: self.cutter.cut(Duration::ZERO).rows().clone(),
            events: Vec::new(),
            overview: Overview::default(),
        }
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
