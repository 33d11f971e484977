//! Measures the parser. A receiver parses only lines whose pattern is not in its line cache.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use tallyd::protocol::{self, Dialects, Line};

fn parse(criterion: &mut Criterion) {
    let cases = [
        ("counter", "app.requests.total:1|c"),
        ("sampled", "app.requests.total:1|c|@0.1"),
        ("fraction", "app.request.latency:12.375|ms"),
        ("four_tags", "app.requests.total:1|c|#env:prod,service:checkout,region:eu-west-1,version:1.42"),
        ("origin", "app.requests.total:1|c|#env:prod|c:3a88c225dbeb98f20bbb40cbd39ef90b|e:it-false|card:low"),
        (
            "tags_and_container",
            "app.requests.total:1|c|#env:prod,service:checkout,region:eu-west-1,version:1.42|c:3a88c225dbeb98f20bbb40cbd39ef90b",
        ),
        (
            "tags_and_time",
            "app.requests.total:1|c|#env:prod,service:checkout,region:eu-west-1,version:1.42|T1656581400",
        ),
        ("packed", "app.request.latency:1:2:3:4:5:6:7:8|d"),
        ("legacy_syntax", "app.requests.total:1|c:2|c:3|c"),
        ("influxdb", "app.requests.total,env=prod,service=checkout,region=eu-west-1,version=1.42:1|c"),
        ("librato", "app.requests.total#env=prod,service=checkout,region=eu-west-1,version=1.42:1|c"),
        ("signalfx", "app.requests.total[env=prod,service=checkout,region=eu-west-1,version=1.42]:1|c"),
        ("graphite", "app.requests.total;env=prod;service=checkout;region=eu-west-1;version=1.42:1|c"),
        ("event", "_e{13,14}:deploy begins|version 1.42.0|t:info|#env:prod,service:checkout"),
        ("service_check", "_sc|app.database|0|#env:prod,service:checkout|m:it answers"),
        ("bad_value", "app.requests.total:NaN|c"),
        ("no_type", "app.requests.total:1"),
        ("garbage", "\u{1}\u{2}\u{3} not a line at all, but bytes that arrive all the same"),
    ];
    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::Elements(1));
    for (name, line) in cases {
        let is_wrong = ["bad_value", "no_type", "garbage"].contains(&name);
        assert_eq!(protocol::parse(line.as_bytes(), Dialects::ALL).is_err(), is_wrong, "{name}");
        group.bench_function(name, |bencher| {
            bencher.iter(|| match protocol::parse(black_box(line.as_bytes()), Dialects::ALL) {
                Ok(Line::Metric(metric)) => Ok(metric.samples().count()),
                Ok(Line::Event(_) | Line::ServiceCheck(_)) => Ok(1),
                Err(error) => Err(error),
            });
        });
    }
    group.finish();
}

criterion_group!(benches, parse);
criterion_main!(benches);
