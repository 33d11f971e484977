//! From the cut of the shards to the rendered snapshot.

use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use parking_lot::Mutex;
use tallyd::aggregate::{Parameters, Percentile, Shard, Shared, Statistics};
use tallyd::export::prometheus::{Naming, Settings, Timings, Totals, render};
use tallyd::export::{Console, Exporter, Format};
use tallyd::flush::{Cutter, Idle};
use tallyd::snapshot::{Overview, Snapshot};

const HOUR: Duration = Duration::from_hours(1);

fn pipeline() -> (Arc<Mutex<Shard>>, Cutter) {
    let parameters = Parameters::default();
    let idle = Idle { zero_counters: false, zero_sets: false, last_gauges: true, expire_after: [HOUR; 6] };
    let shared = Shared::new(parameters);
    let shard = Arc::new(Mutex::new(Shard::new(Arc::clone(&shared))));
    let cutter = Cutter::new(shared, vec![Arc::clone(&shard)], statistics(), idle);
    (shard, cutter)
}

fn statistics() -> Statistics {
    let percentiles = [50.0, 90.0, 95.0, 99.0, 99.9].into_iter().filter_map(Percentile::new).collect();
    Statistics { percentiles, exact_values: 512, ..Statistics::default() }
}

/// Each line once.
fn counters(shard: &Mutex<Shard>, series: usize) {
    for id in 0..series {
        shard.lock().record(format!("app.requests.endpoint.{id:07}:1|c").as_bytes());
    }
}

fn timings(shard: &Mutex<Shard>, series: usize, values: usize) {
    for id in 0..series {
        for value in 0..values {
            shard.lock().record(format!("app.latency.{id:05}:{}|ms", value * 7919 % 1000).as_bytes());
        }
    }
}

fn cut(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("flush");
    group.sample_size(10);
    let cases: [(&str, usize, &dyn Fn(&Mutex<Shard>)); 3] = [
        ("counters/100k", 100_000, &|shard| counters(shard, 100_000)),
        ("timings/10k_of_100", 10_000, &|shard| timings(shard, 10_000, 100)),
        ("timings/1k_of_1000", 1000, &|shard| timings(shard, 1000, 1000)),
    ];
    for (name, series, fill) in cases {
        let (shard, mut cutter) = pipeline();
        group.throughput(Throughput::Elements(series as u64));
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || fill(&shard),
                |()| assert_eq!(cutter.cut(Duration::ZERO).rows().len(), series),
                BatchSize::PerIteration,
            );
        });
    }
    group.finish();
}

fn rendering(criterion: &mut Criterion) {
    const SERIES: usize = 100_000;
    let (shard, mut cutter) = pipeline();
    counters(&shard, SERIES);
    let snapshot = Snapshot {
        time: SystemTime::UNIX_EPOCH,
        interval: Duration::from_secs(10),
        statistics: Arc::new(statistics()),
        rows: cutter.cut(Duration::ZERO).rows().clone(),
        events: Vec::new(),
        overview: Overview::default(),
    };
    let mut group = criterion.benchmark_group("render");
    group.sample_size(10).throughput(Throughput::Elements(SERIES as u64));
    for (name, format) in [("console_text", Format::Text), ("console_json", Format::Json)] {
        let mut console = Console::new(format, "/dev/null".into());
        group.bench_function(name, |bencher| bencher.iter(|| console.export(&snapshot).unwrap()));
    }
    let settings =
        Settings { naming: Naming::Prometheus, timings: Timings::Summary, expire_after: [HOUR; 6] };
    let mut totals = Totals::new(settings);
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
