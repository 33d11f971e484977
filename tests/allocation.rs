//! Tests that recording known series allocates nothing. The test has a binary of its own, because it counts with
//! another allocator.

#[allow(dead_code, reason = "other tests use the rest")]
#[path = "in_process/pipeline.rs"]
mod pipeline;

use pipeline::{Pipeline, settings};
use tallyd::aggregate::AggregationOptions;
use tallyd::mapping::HistogramOptions;
use tallyd::model::Policy;

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
    let settings = settings(rules, &Policy::default(), &HistogramOptions::default());
    let mut pipeline = Pipeline::new(1, AggregationOptions::default(), settings);
    let datagrams = datagrams();
    let mut allocations = Vec::new();
    for _interval in 0..8 {
        let counted = allocation_counter::measure(|| {
            datagrams.iter().for_each(|datagram| pipeline.record(0, datagram));
        });
        allocations.push(counted.count_total);
        drop(pipeline.end_interval());
    }
    // By then, both sets of columns have been in use and have the memory that they need.
    assert_eq!(allocations[4..], [0; 4], "{allocations:?}");
    assert!(allocations[0] > 0, "allocations are not counted");
}
