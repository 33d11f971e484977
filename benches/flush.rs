//! From the cut of the shards to the rendered snapshot.

mod pipeline;

use std::io::Write;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use parking_lot::Mutex;
use pipeline::{Pipeline, counters, timings};
use tallyd::aggregate::Shard;
use tallyd::export::prometheus::{Totals, render};
use tallyd::export::{Console, Exporter, Format};

fn cut(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flush");
    group.sample_size(10);
    let cases: [(&str, usize, &dyn Fn(&Mutex<Shard>)); 3] = [
        ("counters/100k", 100_000, &|shard| counters(shard, 100_000)),
        ("timings/10k_of_100", 10_000, &|shard| timings(shard, 10_000, 100)),
        ("timings/1k_of_1000", 1000, &|shard| timings(shard, 1000, 1000)),
    ];
    for (name, series, fill) in cases {
        let Pipeline { shards, mut cutter } = Pipeline::new(1);
        group.throughput(Throughput::Elements(series as u64));
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || fill(&shards[0]),
                |()| assert_eq!(cutter.cut(Duration::ZERO).rows().len(), series),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn rendering(criterion: &mut Criterion) {
    const SERIES: usize = 100_000;
    let mut pipeline = Pipeline::new(1);
    counters(&pipeline.shards[0], SERIES);
    let snapshot = pipeline.snapshot();
    let mut group = criterion.benchmark_group("render");
    group.sample_size(10).throughput(Throughput::Elements(SERIES as u64));
    for (name, format) in [("console_text", Format::Text), ("console_json", Format::Json)] {
        let mut console = Console::new(format, "/dev/null".into());
        group.bench_function(name, |bencher| bencher.iter(|| console.export(&snapshot).unwrap()));
    }
    let mut totals = Totals::new(pipeline::prometheus());
    let mut page = std::io::sink();
    group.bench_function("prometheus_text", |bencher| {
        bencher.iter(|| {
            totals.add(&snapshot);
            render(&totals, |piece| page.write_all(piece.as_bytes()))
        });
    });
    group.finish();
}

criterion_group!(benches, cut, rendering);
criterion_main!(benches);
