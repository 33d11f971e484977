//! Tests the answers of Prometheus and `VictoriaMetrics`, which scrape the endpoint.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tallyd_harness::meanwhile::SetOnDrop;
use tallyd_harness::scraped::start;
use tallyd_harness::{TIMEOUT, wait_for};
use tempfile::TempDir;

use crate::scrapers::{NATIVE_HISTOGRAMS, Server};
use crate::streams::start_with_all_that_clients_send;

#[test]
#[ignore = "needs prometheus; run make test"]
fn prometheus_reads_the_same_values_from_protobuf_and_text() {
    let daemons = start_with_all_that_clients_send(&["telemetry.enabled=false"], |_| ());
    let jobs = |address_of: fn(SocketAddr) -> SocketAddr| {
        daemons.iter().map(|(format, _, address)| (format.as_str(), address_of(*address))).collect::<Vec<_>>()
    };
    let [text, protobuf] = [
        Server::prometheus(&jobs(only_text)),
        Server::prometheus_with(NATIVE_HISTOGRAMS, &jobs(|address| address)),
    ]
    .map(|prometheus| {
        // Prometheus refuses a whole page for one invalid line or message, and sets `up` to 0.
        prometheus.wait_for("sum(up)", |all| all == 4.0);
        prometheus.values("{scrape_format!='',__name__!~'scrape_duration_seconds|scrape_series_added'}")
    });
    assert!(text.len() > 4000, "{}", text.len());
    assert_eq!(protobuf.len(), text.len());
    for (series, value) in &text {
        // Counts in protobuf are whole numbers, because this version of Prometheus has no field for fractions.
        let is_rounded = series["__name__"] == "parts_count" || series["__name__"] == "parts_bucket";
        let expected = if is_rounded { value.round() } else { *value };
        assert_eq!(protobuf.get(series), Some(&expected), "{series:?}");
    }
}

#[test]
#[ignore = "needs prometheus; run make test"]
fn prometheus_computes_the_right_numbers_from_each_format() {
    const BUCKETS: &str = "exporters.prometheus.buckets=[0.01, 0.02, 0.05, 0.1]";
    let (summary, summary_address) = start(&["flush.interval=500ms"]);
    let (histogram, histogram_address) =
        start(&["flush.interval=500ms", "exporters.prometheus.timings=histogram", BUCKETS]);
    let begin = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    let prometheus = Server::prometheus(&[
        ("openmetrics", summary_address),
        ("openmetrics", histogram_address),
        ("text", only_text(summary_address)),
        ("text", only_text(histogram_address)),
    ]);
    let native = Server::prometheus_with(
        NATIVE_HISTOGRAMS,
        &[("protobuf", summary_address), ("protobuf", histogram_address)],
    );
    let servers = [("openmetrics", &prometheus), ("text", &prometheus), ("protobuf", &native)];
    let finished = AtomicBool::new(false);
    let daemons = [summary.address(), histogram.address()];
    let sent = thread::scope(|scope| {
        let stream = scope.spawn(|| sell_until(daemons, &finished));
        let end = SetOnDrop(&finished);
        for (format, prometheus) in servers {
            let of = |query: &str| query.replace("FORMAT", &format!("scrape_format=\"{format}\""));
            // The shop sells 100 orders per second. Over ten seconds of scrapes, Prometheus is within 10 % of that.
            prometheus
                .wait_for(&of("min(count_over_time(orders_total{FORMAT}[10s]))"), |scrapes| scrapes >= 9.0);
            prometheus
                .wait_for(&of("min(rate(orders_total{FORMAT}[10s]))"), |rate| is_about(rate, 100.0, 0.1));
            prometheus.wait_for(&of("max(increase(orders_total{FORMAT}[10s]))"), |more| {
                is_about(more, 1000.0, 0.1)
            });
            prometheus.wait_for(&of("min(stock{FORMAT})"), |stock| stock == 42.5);
            for (quantile, seconds) in [("0.5", 0.015), ("0.9", 0.04), ("0.999", 0.08)] {
                let query = format!("checkout_seconds{{FORMAT,quantile=\"{quantile}\"}}");
                prometheus.wait_for(&of(&query), |value| value == seconds);
            }
            // Prometheus interpolates between the bounds. Of ten values, five are up to 20 ms and nine up to 50 ms.
            for (quantile, seconds) in [("0.5", 0.02), ("0.7", 0.035), ("1", 0.1)] {
                let rates = "sum by (le) (rate(checkout_seconds_bucket{FORMAT}[10s]))";
                let query = of(&format!("histogram_quantile({quantile}, {rates})"));
                prometheus.wait_for(&query, |value| is_about(value, seconds, 1e-9));
            }
            prometheus.wait_for(
                &of("max(rate(checkout_seconds_sum{FORMAT}[10s]) / rate(checkout_seconds_count{FORMAT}[10s]))"),
                |mean| is_about(mean, 0.0315, 1e-9),
            );
        }
        let created = prometheus.ask("min(orders_created{scrape_format=\"openmetrics\"})").unwrap();
        assert!((begin - 2.0..begin + TIMEOUT.as_secs_f64()).contains(&created), "{created}, {begin}");
        assert_eq!(prometheus.ask("orders_created{scrape_format=\"text\"}"), None);
        assert_eq!(native.ask("orders_created"), None);
        drop(end);
        stream.join().unwrap()
    });
    for (format, prometheus) in servers {
        // Prometheus scraped each endpoint in the intended format.
        for aggregate in ["min", "max"] {
            let total = format!("{aggregate}(orders_total{{scrape_format=\"{format}\"}})");
            prometheus.wait_for(&total, |total| total == sent);
        }
        let scrapes = format!("min(tallyd_scrapes_total{{scrape_format=\"{format}\",format=\"{format}\"}})");
        prometheus.wait_for(&scrapes, |scrapes| scrapes >= 10.0);
    }
    for prometheus in [prometheus, native] {
        assert_eq!(prometheus.ask("min(min_over_time(up[5m]))"), Some(1.0));
    }
}

#[test]
#[ignore = "needs prometheus and victoria-metrics; run make test"]
fn victoria_metrics_reads_the_same_values_as_prometheus() {
    let daemons = start_with_all_that_clients_send(&["telemetry.enabled=false"], |_| ());
    let jobs: Vec<_> = daemons.iter().map(|(format, _, address)| (format.as_str(), *address)).collect();
    let texts: Vec<_> =
        daemons.iter().map(|(format, _, address)| (format.as_str(), only_text(*address))).collect();
    let [prometheus, victoria] = [Server::prometheus(&texts), Server::victoria_metrics(&jobs)];
    let [expected, got] = [prometheus, victoria].map(|server| {
        server.wait_for("sum(up)", |all| all == 4.0);
        server.values("{scrape_format!='',__name__!~'scrape_.*|up'}")
    });
    assert!(expected.len() > 4000, "{}", expected.len());
    assert_eq!(got.len(), expected.len());
    for (series, value) in &expected {
        // VictoriaMetrics keeps twelve digits.
        let got = got.get(series).unwrap_or_else(|| panic!("{series:?} is missing"));
        assert!((got - value).abs() <= value.abs() * 1e-12, "{series:?}: {got} instead of {value}");
    }
}

#[test]
#[ignore = "needs victoria-metrics; run make test"]
fn victoria_metrics_computes_the_right_numbers() {
    const BUCKETS: &str = "exporters.prometheus.buckets=[0.01, 0.02, 0.05, 0.1]";
    let (summary, summary_address) = start(&["flush.interval=500ms"]);
    let (histogram, histogram_address) =
        start(&["flush.interval=500ms", "exporters.prometheus.timings=histogram", BUCKETS]);
    let victoria = Server::victoria_metrics(&[("text", summary_address), ("text", histogram_address)]);
    let daemons = [summary.address(), histogram.address()];
    let finished = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let stream = scope.spawn(|| sell_until(daemons, &finished));
        let end = SetOnDrop(&finished);
        victoria.wait_for("min(count_over_time(orders_total[10s]))", |scrapes| scrapes >= 9.0);
        victoria.wait_for("min(rate(orders_total[10s]))", |rate| is_about(rate, 100.0, 0.1));
        victoria.wait_for("min(stock)", |stock| stock == 42.5);
        victoria.wait_for("checkout_seconds{quantile=\"0.9\"}", |value| value == 0.04);
        // The server interpolates between the bounds. Of ten values, five are up to 20 ms and nine up to 50 ms.
        for (quantile, seconds) in [("0.5", 0.02), ("0.7", 0.035), ("1", 0.1)] {
            let rates = "sum by (le) (rate(checkout_seconds_bucket[10s]))";
            let query = format!("histogram_quantile({quantile}, {rates})");
            victoria.wait_for(&query, |value| is_about(value, seconds, 1e-9));
        }
        drop(end);
        stream.join().unwrap()
    });
    for aggregate in ["min", "max"] {
        victoria.wait_for(&format!("{aggregate}(orders_total)"), |total| total == sent);
    }
}

#[test]
#[ignore = "needs prometheus; run make test"]
fn expired_series_are_stale_at_once_and_restart_when_they_return() {
    let directory = TempDir::new().unwrap();
    let rules = directory.path().join("mapping.yml");
    fs::write(&rules, "mappings:\n- {match: brief.*, name: brief, labels: {of: $1}, ttl: 4s}\n").unwrap();
    let (daemon, address) = start(&[
        "flush.interval=500ms",
        "aggregation.expire_after.gauge=4s",
        "aggregation.expire_after.timing=4s",
        "aggregation.expire_after.counter=1h",
        &format!("mapping.mapping_file={}", rules.display()),
    ]);
    let prometheus = Server::prometheus(&[("openmetrics", address)]);
    // From then on, Prometheus scrapes every second, and so sees each value.
    prometheus.wait_for("sum(up)", |all| all == 1.0);
    daemon.send("brief.visit:5|c\nlong.visit:5|c\nlevel:7|g\nwait:30|ms");
    let all = ["brief_total", "long_visit_total", "level", "wait_seconds_count"];
    for (series, value) in all.into_iter().zip([5.0, 5.0, 7.0, 1.0]) {
        prometheus.wait_for(series, |got| got == value);
    }
    let created = prometheus.ask("brief_created").unwrap();
    // Prometheus returns no value. For a target that does not answer, it would return the last value for five more
    // minutes.
    for series in ["brief_total", "level", "wait_seconds_count", "wait_seconds{quantile=\"0.5\"}"] {
        prometheus.wait_for_none(series);
    }
    // A series expires as its rule says, or else as the setting for its type says.
    assert_eq!(prometheus.ask("long_visit_total"), Some(5.0));
    daemon.send("brief.visit:3|c\nlong.visit:3|c\nlevel:+1|g");
    prometheus.wait_for("brief_total", |total| total == 3.0);
    prometheus.wait_for("long_visit_total", |total| total == 8.0);
    prometheus.wait_for("level", |level| level == 1.0);
    let created_again = prometheus.ask("brief_created").unwrap();
    assert!(created_again >= created + 4.0, "{created_again} after {created}");
    // The counter fell from 5 to 3, so Prometheus knows that it restarted.
    assert_eq!(prometheus.ask("resets(brief_total[5m])"), Some(1.0));
}

/// Each increment comes after all other series have expired. A counter that expired, too, would be at 1 each time.
#[test]
#[ignore = "needs prometheus; run make test"]
fn increase_of_a_rare_counter_is_right() {
    let directory = TempDir::new().unwrap();
    let rules = directory.path().join("mapping.yml");
    fs::write(
        &rules,
        "mappings:\n- {match: other.*, name: other, ttl: 1s}\n- {match: ruled, name: ruled, ttl: 0}\n",
    )
    .unwrap();
    let rules = format!("mapping.mapping_file={}", rules.display());
    let (daemon, address) = start(&["flush.interval=500ms", &rules]);
    let (short_lived, ruled_address) =
        start(&["flush.interval=500ms", "aggregation.expire_after.counter=1s", &rules]);
    let prometheus = Server::prometheus(&[("openmetrics", address), ("openmetrics", ruled_address)]);
    prometheus.wait_for("sum(up)", |all| all == 2.0);
    for count in 1..=6 {
        daemon.send("rare:1|c\nother.visit:1|c");
        short_lived.send("ruled:1|c");
        for counter in ["rare_total", "ruled_total"] {
            prometheus.wait_for(counter, |total| total == f64::from(count));
        }
        prometheus.wait_for_none("other_total");
    }
    for counter in ["rare_total", "ruled_total"] {
        assert_eq!(prometheus.ask(&format!("resets({counter}[10m])")), Some(0.0));
        // Prometheus extrapolates the increase from the first sample on, at most to 0.
        let increase = prometheus.ask(&format!("increase({counter}[10m])")).unwrap();
        assert!((5.0..=6.0).contains(&increase), "{counter}: {increase}");
    }
}

#[test]
#[ignore = "needs prometheus; run make test"]
fn percentiles_without_samples_are_stale_and_counts_stay() {
    let (daemon, address) = start(&["flush.interval=500ms"]);
    let prometheus = Server::prometheus(&[("openmetrics", address)]);
    // The test sends the sample until a scrape has seen it, because an interval is shorter than the time between two
    // scrapes.
    wait_for(|| {
        daemon.send("wait:30|ms");
        prometheus.ask("wait_seconds{quantile=\"0.5\"}")
    });
    prometheus.wait_for_none("wait_seconds{quantile=\"0.5\"}");
    assert!(prometheus.ask("wait_seconds_count") > Some(0.0));
}

#[test]
#[ignore = "needs prometheus; run make test"]
fn native_histograms_give_percentiles_across_machines() {
    const VALUES: usize = 20_000;
    // Each bucket is wider than the one before by 2^(1/8), the largest possible factor up to 1.1.
    let factor = 2_f64.powf(0.125);
    let native = ["flush.interval=200ms", "exporters.prometheus.timings=native"];
    let daemons = [start(&native), start(&native)];
    let jobs = daemons.each_ref().map(|(_, address)| ("native", *address));
    let prometheus = Server::prometheus_with(NATIVE_HISTOGRAMS, &jobs);
    // Returns milliseconds with a long tail: the quantiles of a log-logistic distribution, shuffled.
    let value = |number: usize| {
        let share = ((number * 7919) % VALUES) as f64 / VALUES as f64 + 0.5 / VALUES as f64;
        (20.0 * (share / (1.0 - share)).powf(0.6) * 1e4).round() / 1e4
    };
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut values: Vec<_> = (0..VALUES).map(value).collect();
    for (datagram, (daemon, _)) in values.chunks(100).zip(daemons.iter().cycle()) {
        let packed: Vec<_> = datagram.iter().map(f64::to_string).collect();
        socket.send_to(format!("api.latency:{}|ms", packed.join(":")).as_bytes(), daemon.address()).unwrap();
    }
    values.sort_by(f64::total_cmp);
    prometheus.wait_for("histogram_count(sum(api_latency_seconds))", |count| count == VALUES as f64);
    for (quantile, rank) in [("0.5", 10_000), ("0.9", 18_000), ("0.99", 19_800), ("0.999", 19_980)] {
        let exact = values[rank - 1] / 1e3;
        let query = format!("histogram_quantile({quantile}, sum(api_latency_seconds))");
        let got = prometheus.ask(&query).unwrap();
        assert!((exact / factor..=exact * factor).contains(&got), "{quantile}: {got}, exactly {exact}");
    }
    let sum = prometheus.ask("histogram_sum(sum(api_latency_seconds))").unwrap();
    let exact = values.iter().sum::<f64>() / 1e3;
    assert!((sum - exact).abs() <= exact * 1e-9, "{sum}, exactly {exact}");
    // Prometheus scraped both endpoints in protobuf.
    let scrapes = "min(tallyd_scrapes_total{format=\"protobuf\"})";
    prometheus.wait_for(scrapes, |scrapes| scrapes >= 1.0);
}

fn is_about(value: f64, expected: f64, error: f64) -> bool {
    (value - expected).abs() <= expected * error
}

/// Sends ten orders and ten checkouts to each daemon every tenth of a second, until `finished` is set. Returns the
/// number of orders that each daemon got.
fn sell_until(daemons: [SocketAddr; 2], finished: &AtomicBool) -> f64 {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let begin = Instant::now();
    let mut ticks = 0_u32;
    while !finished.load(Ordering::SeqCst) {
        for daemon in daemons {
            let datagram = b"orders:10|c\nstock:42.5|g\ncheckout:15:15:15:15:15:40:40:40:40:80|ms";
            socket.send_to(datagram, daemon).unwrap();
        }
        ticks += 1;
        thread::sleep((begin + Duration::from_millis(100) * ticks).saturating_duration_since(Instant::now()));
    }
    f64::from(10 * ticks)
}

/// Starts a proxy that serves the page of another address as text only, and returns its address. Prometheus requests
/// OpenMetrics, and has a setting for that only since version 2.49.
fn only_text(address: SocketAddr) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let own = listener.local_addr().unwrap();
    thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                connection.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            // tallyd may have ended.
            let Ok(mut tallyd) = TcpStream::connect(address) else { continue };
            tallyd
                .write_all(
                    b"GET /metrics HTTP/1.1\r\nHost: test\r\nAccept: text/plain\r\nConnection: close\r\n\r\n",
                )
                .unwrap();
            _ = std::io::copy(&mut tallyd, &mut connection);
        }
    });
    own
}
