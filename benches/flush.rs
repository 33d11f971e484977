//! Measures the flush, and the rendering of snapshots.

#[allow(dead_code, reason = "other benches use the rest")]
mod pipeline;
mod traffic;

use std::io::Write;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use parking_lot::Mutex;
use pipeline::{counters, timings, with_percentiles};
use strum::VariantArray;
use tallyd::aggregate::Shard;
use tallyd::export::prometheus::{self, Naming, Totals};
use tallyd::export::{Console, ConsoleFormat, Exporter};
use tallyd::model::Named;

fn flush(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flush");
    group.sample_size(10);
    let cases: [(&str, usize, &dyn Fn(&Mutex<Shard>)); 4] = [
        ("counters/100k", 100_000, &|shard| counters(shard, 100_000)),
        ("timings/10k_of_100", 10_000, &|shard| timings(shard, 10_000, 100)),
        ("timings/1k_of_400", 1000, &|shard| timings(shard, 1000, 400)),
        ("timings/1k_of_1000", 1000, &|shard| timings(shard, 1000, 1000)),
    ];
    for (name, series, fill) in cases {
        let mut pipeline = with_percentiles(1);
        let shard = Arc::clone(&pipeline.shards[0]);
        group.throughput(Throughput::Elements(series as u64));
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || fill(&shard),
                |()| assert_eq!(pipeline.end_interval().rows.len(), series),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

/// Measures the rendering of a snapshot in each format. Values have one to four digits. Some values of timings have
/// fractions.
fn render(criterion: &mut Criterion) {
    const SERIES: usize = 100_000;
    let mut group = criterion.benchmark_group("render");
    group.sample_size(10).throughput(Throughput::Elements(SERIES as u64));
    let cases: [(&str, &dyn Fn(usize) -> String); 4] = [
        ("counters", &|id| format!("app.requests.endpoint.{id:07}:{}|c", id % 5000)),
        ("counters_4_tags", &|id| format!("app.requests:{}|c|#{}", id % 5000, four_tags(id))),
        ("timings", &|id| format!("app.latency.{id:05}:{}.25:12:7.5:318|ms", id % 5000)),
        ("timings_4_tags", &|id| format!("app.latency:{}.25:12:7.5:318|ms|#{}", id % 5000, four_tags(id))),
    ];
    for (name, line) in cases {
        let mut pipeline = with_percentiles(1);
        (0..SERIES).for_each(|id| pipeline.shards[0].lock().record(line(id).as_bytes()));
        let snapshot = pipeline::snapshot(&mut pipeline);
        for (exporter, format) in
            [("console_text", ConsoleFormat::Text), ("console_json", ConsoleFormat::Json)]
        {
            let mut console = Console::new(format, "/dev/null".into());
            group.bench_function(format!("{exporter}/{name}"), |bencher| {
                bencher.iter(|| console.export(&snapshot).unwrap());
            });
        }
        let mut totals = Totals::new(Naming::Prometheus);
        let mut page = std::io::sink();
        for &format in prometheus::Format::VARIANTS {
            group.bench_function(format!("prometheus_{}/{name}", format.name()), |bencher| {
                bencher.iter(|| {
                    totals.add(&snapshot);
                    format.render(&totals, |piece| page.write_all(piece))
                });
            });
        }
        // The first snapshot assigns a place in the totals to each series.
        group.bench_function(format!("prometheus_first/{name}"), |bencher| {
            bencher.iter_with_large_drop(|| {
                let mut totals = Totals::new(Naming::Prometheus);
                totals.add(&snapshot);
                totals
            });
        });
    }
    group.finish();
}

fn four_tags(id: usize) -> String {
    format!("env:prod,region:eu-west-1,endpoint:{id:05},status:{}", 200 + id % 4)
}

criterion_group!(benches, flush, render);
criterion_main!(benches);
