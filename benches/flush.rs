//! Measures the flush, the rendering of snapshots, and the encoding of the state that outlives the process.

#[allow(dead_code, reason = "other benches use the rest")]
mod pipeline;
mod traffic;

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use parking_lot::Mutex;
use pipeline::{counters, timings, with_percentiles};
use strum::VariantArray;
use tallyd::aggregate::{AggregationOptions, Shard};
use tallyd::export::prometheus::{
    self, Naming, RemoteWriteContent, SavedTotals, Totals, Version, encode_remote_write,
};
use tallyd::export::{Console, ConsoleFormat, Exporter};
use tallyd::flush::{Aggregator, ReloadableSettings, SavedSeries};
use tallyd::model::{Named, Telemetry};

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
        let snapshot = Arc::new(pipeline::snapshot(&mut pipeline));
        for (exporter, format) in
            [("console_text", ConsoleFormat::Text), ("console_json", ConsoleFormat::Json)]
        {
            let mut console = Console::new(format, "/dev/null".into());
            group.bench_function(format!("{exporter}/{name}"), |bencher| {
                bencher.iter(|| console.export(&snapshot).unwrap());
            });
        }
        let mut totals = Totals::new(Naming::Prometheus).with_utf8_names(true);
        let mut page = std::io::sink();
        for &format in prometheus::Format::VARIANTS {
            group.bench_function(format!("prometheus_{}/{name}", format.name()), |bencher| {
                bencher.iter(|| {
                    totals.add(&snapshot);
                    format.render(&totals, |piece| page.write_all(piece))
                });
            });
        }
        for version in [Version::V1, Version::V2] {
            let content = RemoteWriteContent::all(version);
            let mut bytes = 0;
            group.bench_function(format!("remote_write_{version:?}/{name}").to_lowercase(), |bencher| {
                bencher.iter(|| {
                    totals.add(&snapshot);
                    bytes = 0;
                    encode_remote_write(&totals, &content, snapshot.time, |body| bytes += body.len());
                });
            });
            println!("render/remote_write_{version:?}/{name} takes {bytes} bytes compressed");
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

/// Measures how long a million counters and their totals take to encode at a write of the state, and to decode and
/// restore at a start. The time of the disk comes on top.
fn state(criterion: &mut Criterion) {
    const SERIES: usize = 1_000_000;
    let mut group = criterion.benchmark_group("state");
    group.sample_size(10).throughput(Throughput::Elements(SERIES as u64));
    let now = Duration::from_hours(1);
    let aggregator = || {
        let settings = ReloadableSettings { telemetry: false, ..ReloadableSettings::default() };
        Aggregator::new(AggregationOptions::default(), settings, Telemetry::default())
    };
    let mut earlier = aggregator();
    let shard = earlier.add_shard();
    counters(&shard, SERIES);
    let mut totals = Totals::new(Naming::Prometheus);
    let results = earlier.end_interval(now);
    totals.add(&results.into_snapshot(SystemTime::UNIX_EPOCH + now, Duration::from_secs(10)));
    let encode = || (earlier.live_series(now).encode(), totals.encode());
    let (series, members) = encode();
    println!("state/counters/1M takes {} bytes", series.len() + members.len());
    group.bench_function("encode/counters/1M", |bencher| bencher.iter_with_large_drop(encode));
    group.bench_function("restore/counters/1M", |bencher| {
        bencher.iter_with_large_drop(|| {
            let mut later = aggregator();
            let saved = SavedSeries::decode(&series).unwrap();
            assert_eq!(later.restore(&saved, Duration::ZERO, now).alive, SERIES);
            let mut totals = Totals::new(Naming::Prometheus);
            let saved = SavedTotals::decode(&members).unwrap();
            assert!(totals.restore(saved, Duration::ZERO, later.series()));
            (later, totals)
        });
    });
    group.finish();
}

fn four_tags(id: usize) -> String {
    format!("env:prod,region:eu-west-1,endpoint:{id:05},status:{}", 200 + id % 4)
}

criterion_group!(benches, flush, render, state);
criterion_main!(benches);
