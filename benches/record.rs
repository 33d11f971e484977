//! Lines into a shard, with every check and counter in place: what a line costs once its series is known.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use hdrhistogram::Histogram;
use tallyd::aggregate::{self, Parameters, Shard, Shared};

const LINES_A_DATAGRAM: usize = 20;

fn parameters() -> Parameters {
    Parameters::default()
}

/// Datagrams of 20 lines over `series` names in a scattered order, at least 20,000 lines.
fn datagrams(series: usize, line: impl Fn(usize, usize) -> String) -> Vec<String> {
    let lines: Vec<_> = (0..series.max(20_000)).map(|n| line(n * 7919 % series, n)).collect();
    lines.chunks(LINES_A_DATAGRAM).map(|lines| lines.join("\n")).collect()
}

fn record(criterion: &mut Criterion) {
    let tags = "env:prod,service:checkout,region:eu-west-1,version:1.42";
    let cases = [
        ("counter/1k", datagrams(1000, |id, _| format!("app.requests.endpoint.{id:06}:1|c"))),
        ("sampled/1k", datagrams(1000, |id, _| format!("app.requests.endpoint.{id:06}:1|c|@0.1"))),
        (
            "timing/1k",
            datagrams(1000, |id, n| format!("app.latency.endpoint.{id:06}:{}.{}|ms", n % 977, n % 10)),
        ),
        ("gauge/1k", datagrams(1000, |id, n| format!("app.queue.depth.{id:06}:{}|g", n % 977))),
        ("set/1k", datagrams(1000, |id, n| format!("app.users.seen.{id:06}:user-{}|s", n % 977))),
        ("four_tags/1k", datagrams(1000, |id, _| format!("app.requests.endpoint.{id:06}:1|c|#{tags}"))),
        ("counter/200k", datagrams(200_000, |id, _| format!("app.requests.endpoint.{id:06}:1|c"))),
        ("timing/200k", datagrams(200_000, |id, n| format!("app.latency.endpoint.{id:06}:{}|ms", n % 977))),
        ("timestamp/1k", datagrams(1000, |id, n| format!("app.requests.endpoint.{id:06}:1|c|T{}", n + 1))),
        ("bad_value/1k", datagrams(1000, |id, _| format!("app.requests.endpoint.{id:06}:NaN|c"))),
    ];
    let mut group = criterion.benchmark_group("record");
    for (name, datagrams) in cases {
        let lines = datagrams.iter().map(|datagram| datagram.lines().count()).sum::<usize>();
        group.throughput(Throughput::Elements(lines as u64));
        let mut shard = Shard::new(Shared::new(parameters()));
        // Learns the forms and fills the buffers, as in a daemon that runs.
        datagrams.iter().for_each(|datagram| shard.record(datagram.as_bytes()));
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                for datagram in &datagrams {
                    shard.record(black_box(datagram.as_bytes()));
                }
            });
        });
    }
    group.finish();
}

/// A thousand values into one histogram: tallyd's own over f64, and the well-known one over integers, for which values
/// are scaled to microseconds, and which holds neither fractions of weights nor negative values.
fn histogram(criterion: &mut Criterion) {
    let values: Vec<f64> = (0..1000_u32).map(|n| f64::from(n * 7919 % 1000) * 1.7 + 0.3).collect();
    let mut group = criterion.benchmark_group("histogram");
    group.throughput(Throughput::Elements(values.len() as u64));
    group.bench_function("own", |bencher| {
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
