//! Tests that recording known series allocates nothing, and how much a further receiver allocates. The tests have a
//! binary of their own, because they count with another allocator.

use std::time::Duration;

use tallyd::aggregate::AggregationOptions;
use tallyd::flush::{Aggregator, ReloadableSettings};
use tallyd::mapping::{HistogramOptions, Mapping};
use tallyd::model::{Policies, Policy, Telemetry};

/// Returns datagrams with lines of all kinds. Each series gets dozens of samples, and some get more than tallyd keeps
/// exactly.
fn datagrams() -> Vec<String> {
    let mut lines = Vec::new();
    for n in 0..3000_u32 {
        let id = n % 50;
        lines.push(format!("a.counter.{id}:{n}|c|@0.1|#env:prod,zone:b"));
        lines.push(format!("a.gauge.{id}:+{n}|g"));
        lines.push(format!("a.timing.{}:{}.5|ms", n % 5, n % 977));
        lines.push(format!("a.distribution.{id}:{n}:{n}:{n}|d|#b:1,a:2"));
        lines.push(format!("a.set.{id}:member-{}|s", n % 40));
        lines.push(format!("a.counter.{id}:1|c|T{}", n + 1));
        lines.push(format!("a.counter.{id}:wrong|c"));
        lines.push(format!("dropped.{id}:{n}|c"));
        lines.push(format!("dropped.{id}:{n}|c|T{}", n + 1));
        lines.push(format!("scaled.{id}:{n}|ms"));
        lines.push(format!("scaled.{id}:{n}|g|T{}", n + 1));
    }
    lines.chunks(20).map(|lines| lines.join("\n")).collect()
}

#[test]
fn recording_known_series_allocates_nothing_over_many_intervals() {
    let rules = "mappings: [{match: dropped.*, name: x, action: drop}, {match: scaled.*, name: y, scale: 2}]";
    let mut mapping = Mapping::from_yaml(rules).unwrap();
    let policies = Policies::new(mapping.build_policies(&Policy::default(), &HistogramOptions::default()));
    let settings = ReloadableSettings { mapping, policies, ..ReloadableSettings::default() };
    let mut aggregator = Aggregator::new(AggregationOptions::default(), settings, Telemetry::default());
    let shard = aggregator.add_shard();
    let datagrams = datagrams();
    let mut allocations = Vec::new();
    for _interval in 0..8 {
        let counted = allocation_counter::measure(|| {
            datagrams.iter().for_each(|datagram| shard.lock().record(datagram.as_bytes()));
        });
        allocations.push(counted.count_total);
        drop(aggregator.end_interval(Duration::ZERO));
    }
    // By then, both sets of columns have been in use and have the memory that they need.
    assert_eq!(allocations[4..], [0; 4], "{allocations:?}");
    assert!(allocations[0] > 0, "allocations are not counted");
}

/// A further receiver that gets the same lines shares their bytes, so it only adds table entries and columns.
#[test]
fn a_further_receiver_adds_at_most_40_bytes_per_series_and_the_values() {
    const SERIES: usize = 100_000;
    // The values of a series take at least one chunk of 64 bytes. Segments of chunks and small tables add a little.
    for (rest, values) in [("1|c", 0), ("1|c|#env:prod,service:checkout,region:eu-west-1", 0), ("1|ms", 65)] {
        let lines: Vec<_> = (0..SERIES).map(|id| format!("service.requests.total.{id:07}:{rest}")).collect();
        let datagrams: Vec<_> = lines.chunks(20).map(|lines| lines.join("\n")).collect();
        let settings = ReloadableSettings::default();
        let mut aggregator = Aggregator::new(AggregationOptions::default(), settings, Telemetry::default());
        let shards = [aggregator.add_shard(), aggregator.add_shard()];
        let bytes = shards.map(|shard| {
            let allocated = allocation_counter::measure(|| {
                // After two intervals, both sets of columns have their final size.
                for _interval in 0..2 {
                    datagrams.iter().for_each(|datagram| shard.lock().record(datagram.as_bytes()));
                    drop(aggregator.end_interval(Duration::ZERO));
                }
            });
            allocated.bytes_current as f64 / SERIES as f64
        });
        println!("{rest}: {:.1} bytes, and {:.1} for a further receiver", bytes[0], bytes[1]);
        assert!(bytes[1] <= f64::from(40 + values), "{bytes:?} for {rest}");
    }
}
