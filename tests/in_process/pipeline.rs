//! A pipeline without a network: lines go into shards, and results come out of intervals.
//!
//! Tests, benches and the fuzzer share this file. It is the only one that puts shards and their flush together.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tallyd::aggregate::{AggregationOptions, Shard};
use tallyd::flush::{Aggregator, IntervalResults, ReloadableSettings};
use tallyd::mapping::{HistogramOptions, Mapping};
use tallyd::model::{Policies, Policy, Telemetry};

/// Some receivers, and the flush that ends their intervals.
#[derive(Debug)]
pub(crate) struct Pipeline {
    /// One shard per receiver.
    pub(crate) shards: Vec<Arc<Mutex<Shard>>>,
    pub(crate) aggregator: Aggregator,
}

impl Pipeline {
    pub(crate) fn new(receivers: usize, options: AggregationOptions, settings: ReloadableSettings) -> Self {
        let mut aggregator = Aggregator::new(options, settings, Telemetry::default());
        Self { shards: (0..receivers).map(|_| aggregator.add_shard()).collect(), aggregator }
    }

    /// Records a datagram in the shard of a receiver. Numbers beyond the last receiver start again from the first.
    pub(crate) fn record(&self, receiver: usize, datagram: impl AsRef<[u8]>) {
        self.shards[receiver % self.shards.len()].lock().record(datagram.as_ref());
    }

    pub(crate) fn reload(&mut self, settings: ReloadableSettings) {
        self.aggregator.reload(settings);
    }

    /// Ends the interval at time zero, so that no series expires.
    pub(crate) fn end_interval(&mut self) -> IntervalResults {
        self.end_interval_at(Duration::ZERO)
    }

    /// Ends the interval at a given time of the monotonic clock.
    pub(crate) fn end_interval_at(&mut self, now: Duration) -> IntervalResults {
        self.aggregator.end_interval(now)
    }
}

/// Returns settings with these mapping rules in YAML. `fallback` and `histograms` apply if the rules say nothing. All
/// other settings have their defaults.
pub(crate) fn settings(rules: &str, fallback: &Policy, histograms: &HistogramOptions) -> ReloadableSettings {
    let mut mapping = Mapping::from_yaml(rules).unwrap();
    let policies = Policies::new(mapping.build_policies(fallback, histograms));
    ReloadableSettings { mapping, policies, ..ReloadableSettings::default() }
}
