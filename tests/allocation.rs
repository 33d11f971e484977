//! In a process of its own, because it replaces the allocator by one that counts.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tallyd::aggregate::{AggregationOptions, Shard, SharedState};
use tallyd::flush::{IdleReporting, Rotator};
use tallyd::mapping::Mapping;
use tallyd::model::Policies;

/// Lines of all kinds, of which each series has some dozens in an interval, and some more than stay exact.
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
fn receiving_known_series_allocates_nothing_over_many_intervals() {
    let parameters = AggregationOptions { max_series: 1000, ..AggregationOptions::default() };
    let rules = "mappings: [{match: dropped.*, name: x, action: drop}, {match: scaled.*, name: y, scale: 2}]";
    let shared = SharedState::mapped(parameters, Mapping::from_yaml(rules).unwrap());
    let shard = Arc::new(Mutex::new(Shard::new(Arc::clone(&shared))));
    let mut cutter =
        Rotator::new(shared, vec![Arc::clone(&shard)], Policies::default(), IdleReporting::default());
    let datagrams = datagrams();
    let mut allocations = Vec::new();
    for _interval in 0..8 {
        let counted = allocation_counter::measure(|| {
            datagrams.iter().for_each(|datagram| shard.lock().record(datagram.as_bytes()));
        });
        allocations.push(counted.count_total);
        drop(cutter.cut(Duration::ZERO));
    }
    // Both sets of columns have been in use, and what they needed is there.
    assert_eq!(allocations[4..], [0; 4], "{allocations:?}");
    assert!(allocations[0] > 0, "allocations are not counted");
}
