//! Measures the recording of lines of known series into a shard, with all checks and counters.

mod inputs;
#[allow(dead_code, reason = "other benches use the rest")]
mod pipeline;
mod traffic;

use std::hint::black_box;
use std::time::Instant;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use hdrhistogram::Histogram;
use tallyd::aggregate;

fn record(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    for input in &inputs::ALL {
        let datagrams = input.datagrams();
        group.throughput(Throughput::Elements(input.lines as u64));
        let mut pipeline = pipeline::with_percentiles(1);
        // Each pass has its own interval, because values accumulate within an interval. The flush is not measured.
        let mut pass = || {
            let mut shard = pipeline.shards[0].lock();
            let begin = Instant::now();
            inputs::record(&mut shard, &datagrams);
            let elapsed = begin.elapsed();
            drop(shard);
            drop(pipeline.end_interval());
            elapsed
        };
        // The first passes fill the line cache and the buffers, so that later passes resemble a daemon that has run for
        // a while.
        (0..2).for_each(|_| _ = pass());
        group.bench_function(input.name, |bencher| {
            bencher.iter_custom(|passes| (0..passes).map(|_| pass()).sum());
        });
    }
    group.finish();
}

/// Compares tallyd's histogram, which holds f64 values, with hdrhistogram, which holds integers. Each run adds a
/// thousand values. Values for hdrhistogram are scaled to microseconds. hdrhistogram has neither fractional weights nor
/// negative values.
fn histogram(criterion: &mut Criterion) {
    let values: Vec<f64> = (0..1000_u32).map(|n| f64::from(n * 7919 % 1000) * 1.7 + 0.3).collect();
    let mut group = criterion.benchmark_group("histogram");
    group.throughput(Throughput::Elements(values.len() as u64));
    group.bench_function("tallyd", |bencher| {
        let empty = || aggregate::Histogram::new(2);
        let fill = |mut histogram: aggregate::Histogram| {
            values.iter().for_each(|&value| _ = histogram.add(black_box(value), 1.0));
            histogram
        };
        bencher.iter_batched(empty, fill, BatchSize::SmallInput);
    });
    group.bench_function("hdrhistogram", |bencher| {
        let empty = || Histogram::<u64>::new(2).unwrap();
        let fill = |mut histogram: Histogram<u64>| {
            values.iter().for_each(|&value| histogram.record((black_box(value) * 1e3) as u64).unwrap());
            histogram
        };
        bencher.iter_batched(empty, fill, BatchSize::SmallInput);
    });
    group.finish();
}

criterion_group!(benches, record, histogram);
criterion_main!(benches);
