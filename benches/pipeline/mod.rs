//! Pipelines for benches, and the samples that they record.

#[allow(dead_code, reason = "tests use the rest")]
#[path = "../../tests/in_process/pipeline.rs"]
mod shared;

pub(crate) use shared::Pipeline;

use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tallyd::aggregate::{AggregationOptions, Shard};
use tallyd::flush::ReloadableSettings;
use tallyd::model::{Percentile, Snapshot, Statistics};

use crate::traffic::shuffled_passes;

/// The number of intervals after which both sets of columns have been used and have grown to their final size.
const WARM_UP_INTERVALS: usize = 2;

/// Returns a pipeline that computes five percentiles.
pub(crate) fn with_percentiles(receivers: usize) -> Pipeline {
    let percentiles = [50.0, 90.0, 95.0, 99.0, 99.9].into_iter().filter_map(Percentile::new).collect();
    let policies = Statistics { percentiles, ..Statistics::default() }.into();
    with_settings(receivers, ReloadableSettings { policies, ..ReloadableSettings::default() })
}

pub(crate) fn with_settings(receivers: usize, settings: ReloadableSettings) -> Pipeline {
    Pipeline::new(receivers, AggregationOptions::default(), settings)
}

/// Returns a pipeline whose shards know all series that `fill` sends.
pub(crate) fn warmed_up(receivers: usize, fill: impl Fn(&Mutex<Shard>)) -> Pipeline {
    let mut pipeline = with_percentiles(receivers);
    for _interval in 0..WARM_UP_INTERVALS {
        pipeline.shards.iter().for_each(|shard| fill(shard));
        drop(pipeline.end_interval());
    }
    pipeline
}

/// Ends an interval of ten seconds, and returns the snapshot that exporters would get.
pub(crate) fn snapshot(pipeline: &mut Pipeline) -> Snapshot {
    pipeline.end_interval().into_snapshot(SystemTime::UNIX_EPOCH, Duration::from_secs(10))
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
