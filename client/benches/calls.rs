//! Measures the CPU time of a call in nanoseconds. It is the time of the whole process, which includes the client's
//! background threads.
//!
//! The datagrams go to a socket that is never read. So the figures include the kernel's work to send them.

use std::hint::black_box;
use std::net::UdpSocket;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use cadence::prelude::*;
use cadence::{BufferedUdpMetricSink, StatsdClient};
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{criterion_group, criterion_main};
use rustix::time::{ClockId, clock_gettime};
#[cfg(feature = "prometheus")]
use tallyd_client::Exporter;
use tallyd_client::{Config, Metrics, MetricsCollector, timed};

type Criterion = criterion::Criterion<CpuTime>;

/// Measures the CPU time of the process. Other programs on the machine change it less than the time on the clock.
struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    }

    fn end(&self, start: Duration) -> Duration {
        self.start().saturating_sub(start)
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, time: &Duration) -> f64 {
        WallTime.to_f64(time)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}

fn sending(config: Config) -> (Arc<Metrics>, UdpSocket) {
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = socket.local_addr().expect("the socket is bound");
    let config =
        config.statsd_address(format!("udp://{address}")).statsd_flush_interval(Duration::from_secs(1));
    (Metrics::start(&config).expect("the configuration is valid"), socket)
}

/// Measures calls of an application that does not configure metrics.
fn disabled(criterion: &mut Criterion) {
    static METRICS: MetricsCollector = MetricsCollector::new("Library");

    #[timed]
    fn plain(value: u64) -> u64 {
        black_box(value) + 1
    }

    criterion.bench_function("disabled/counter", |bencher| {
        bencher.iter(|| METRICS.increment_counter(black_box("calls"), 1, &[("source", "upload")]));
    });
    criterion.bench_function("disabled/timed", |bencher| bencher.iter(|| plain(black_box(1))));
}

fn enabled(criterion: &mut Criterion) {
    let (metrics, _socket) = sending(Config::new());
    let collector = metrics.collector("Parser");
    criterion.bench_function("statsd/counter", |bencher| {
        bencher.iter(|| collector.increment_counter(black_box("resumes"), 1, &[]));
    });
    criterion.bench_function("statsd/counter_two_tags", |bencher| {
        bencher.iter(|| {
            collector.increment_counter(black_box("resumes"), 1, &[("source", "upload"), ("env", "prod")]);
        });
    });
    criterion.bench_function("statsd/timing", |bencher| {
        bencher.iter(|| collector.record_timing(black_box("time"), black_box(12.345), &[]));
    });
    let sampled = collector.clone().with_sample_rate(0.01);
    criterion.bench_function("statsd/counter_sampled", |bencher| {
        bencher.iter(|| sampled.increment_counter(black_box("resumes"), 1, &[]));
    });
    criterion.bench_function("statsd/timer", |bencher| {
        bencher.iter(|| collector.start_timer(black_box("time"), &[]));
    });
}

/// Measures cadence, another widely used client, with datagrams of the same length.
fn cadence(criterion: &mut Criterion) {
    let server = UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = server.local_addr().expect("the socket is bound");
    let sink = BufferedUdpMetricSink::with_capacity(address, socket, 8192).expect("the address is valid");
    let client = StatsdClient::from_sink("Parser", sink);
    criterion.bench_function("cadence/counter", |bencher| {
        bencher.iter(|| _ = client.count(black_box("resumes"), 1));
    });
    criterion.bench_function("cadence/counter_two_tags", |bencher| {
        bencher.iter(|| {
            client
                .count_with_tags(black_box("resumes"), 1)
                .with_tag("source", "upload")
                .with_tag("env", "prod")
                .send();
        });
    });
    criterion.bench_function("cadence/timing", |bencher| {
        bencher.iter(|| _ = client.time(black_box("time"), black_box(12)));
    });
}

/// Measures calls on several threads at once.
fn threads(criterion: &mut Criterion) {
    let (metrics, _socket) = sending(Config::new());
    let collector = metrics.collector("Parser");
    bench_threads(criterion, "statsd/counter_threads", || {
        collector.increment_counter(black_box("resumes"), 1, &[]);
    });
}

fn bench_threads(criterion: &mut Criterion, name: &str, call: impl Fn() + Sync) {
    for threads in [1, 2, 4, 8] {
        criterion.bench_function(&format!("{name}/{threads}"), |bencher| {
            bencher.iter_custom(|calls| {
                let start = CpuTime.start();
                thread::scope(|scope| {
                    for _ in 0..threads {
                        scope.spawn(|| (0..calls).for_each(|_| call()));
                    }
                });
                CpuTime.end(start) / threads
            });
        });
    }
}

/// Measures the recorder, through the macros of the facade and through handles that the application keeps.
#[cfg(feature = "metrics")]
fn recorder(criterion: &mut Criterion) {
    use metrics::{counter, gauge, histogram, with_local_recorder};

    let (metrics, _socket) = sending(Config::new());
    let recorder = metrics.recorder();
    with_local_recorder(&recorder, || {
        criterion.bench_function("recorder/counter", |bencher| {
            bencher.iter(|| counter!("resumes").increment(black_box(1)));
        });
        criterion.bench_function("recorder/counter_two_labels", |bencher| {
            bencher
                .iter(|| counter!("resumes", "source" => "upload", "env" => "prod").increment(black_box(1)));
        });
        criterion.bench_function("recorder/gauge", |bencher| {
            bencher.iter(|| gauge!("queue").set(black_box(12.345)));
        });
        criterion.bench_function("recorder/histogram", |bencher| {
            bencher.iter(|| histogram!("time").record(black_box(12.345)));
        });
        let counter = counter!("kept");
        criterion.bench_function("recorder/kept_counter", |bencher| {
            bencher.iter(|| counter.increment(black_box(1)));
        });
        let gauge = gauge!("kept");
        criterion.bench_function("recorder/kept_gauge", |bencher| {
            bencher.iter(|| gauge.set(black_box(12.345)));
        });
        criterion.bench_function("recorder/kept_gauge_increment", |bencher| {
            bencher.iter(|| gauge.increment(black_box(1.0)));
        });
        let histogram = histogram!("kept");
        criterion.bench_function("recorder/kept_histogram", |bencher| {
            bencher.iter(|| histogram.record(black_box(12.345)));
        });
        bench_threads(criterion, "recorder/kept_counter_threads", || counter.increment(black_box(1)));
    });
    // A local recorder belongs to one thread, so each call installs it anew. That costs a few nanoseconds.
    bench_threads(criterion, "recorder/counter_threads", || {
        with_local_recorder(&recorder, || counter!("resumes").increment(black_box(1)));
    });
}

#[cfg(not(feature = "metrics"))]
fn recorder(_criterion: &mut Criterion) {}

/// Measures the `prometheus` exporter.
#[cfg(feature = "prometheus")]
fn page(criterion: &mut Criterion) {
    let config = Config::new().exporters([Exporter::Prometheus]).prometheus_start_http_server(false);
    let metrics = Metrics::start(&config).expect("the configuration is valid");
    let collector = metrics.collector("Parser");
    criterion.bench_function("prometheus/counter", |bencher| {
        bencher.iter(|| collector.increment_counter(black_box("resumes"), 1, &[]));
    });
    criterion.bench_function("prometheus/counter_two_tags", |bencher| {
        bencher.iter(|| {
            collector.increment_counter(black_box("resumes"), 1, &[("source", "upload"), ("env", "prod")]);
        });
    });
    criterion.bench_function("prometheus/timing", |bencher| {
        bencher.iter(|| collector.record_timing(black_box("time"), black_box(12.345), &[]));
    });
}

#[cfg(not(feature = "prometheus"))]
fn page(_criterion: &mut Criterion) {}

/// Measures `#[timed]`. It uses the exporters of the application, which cannot be stopped. So this group runs last.
fn attribute(criterion: &mut Criterion) {
    #[timed(component = "Parser")]
    fn plain(value: u64) -> u64 {
        black_box(value) + 1
    }
    #[timed(component = "Parser", outcome)]
    fn with_outcome(value: u64) -> Result<u64, ()> {
        if black_box(value) == 0 { Err(()) } else { Ok(value) }
    }
    struct Parser;
    impl Parser {
        #[timed]
        fn method(&self, value: u64) -> u64 {
            black_box(value) + 1
        }
        #[timed(sample_rate = 0.01)]
        fn sampled(&self, value: u64) -> u64 {
            black_box(value) + 1
        }
    }
    let socket = UdpSocket::bind("127.0.0.1:0").expect("loopback has a free port");
    let address = socket.local_addr().expect("the socket is bound");
    tallyd_client::configure(&Config::new().statsd_address(format!("udp://{address}")))
        .expect("the configuration is valid");
    criterion.bench_function("timed/function", |bencher| bencher.iter(|| plain(black_box(1))));
    criterion.bench_function("timed/function_outcome", |bencher| bencher.iter(|| with_outcome(black_box(1))));
    criterion.bench_function("timed/method", |bencher| bencher.iter(|| Parser.method(black_box(1))));
    criterion.bench_function("timed/method_sampled", |bencher| bencher.iter(|| Parser.sampled(black_box(1))));
}

criterion_group! {
    name = benches;
    config = criterion::Criterion::default().with_measurement(CpuTime);
    targets = disabled, enabled, cadence, threads, recorder, page, attribute
}
criterion_main!(benches);
