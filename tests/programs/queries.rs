//! What Prometheus and `VictoriaMetrics`, the real ones, answer of what they scraped.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::float_cmp, reason = "a number that was written and read again is the same")]

mod harness;

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use harness::PATIENCE;
use harness::grafana::{Board, Chosen, any_of};
use harness::meanwhile::End;
use harness::prometheus::wait_for;
use harness::scraped::*;
use harness::server::{NATIVE_HISTOGRAMS, Server};
use harness::tls::Authority;
use serde_json::Value;
use tempfile::TempDir;

#[test]
#[ignore = "needs prometheus; run make test"]
fn prometheus_takes_the_same_values_from_protobuf_as_from_text_whatever_clients_send() {
    let daemons = start_with_all_that_clients_send(&["telemetry.enabled=false"], |_| ());
    let jobs = |place: fn(SocketAddr) -> SocketAddr| {
        daemons.iter().map(|(form, _, address)| (form.as_str(), place(*address))).collect::<Vec<_>>()
    };
    let [text, protobuf] = [
        Server::prometheus(&jobs(only_text)),
        Server::prometheus_with(NATIVE_HISTOGRAMS, &jobs(|address| address)),
    ]
    .map(|prometheus| {
        // Of a page with one wrong line or message, Prometheus takes nothing, and `up` is 0.
        prometheus.wait_for("sum(up)", |all| all == 4.0);
        prometheus.values("{form!='',__name__!~'scrape_duration_seconds|scrape_series_added'}")
    });
    assert!(text.len() > 4000, "{}", text.len());
    assert_eq!(protobuf.len(), text.len());
    for (series, value) in &text {
        // It has no fractions, for the Prometheus that reads it has no field for them.
        let is_rounded = series["__name__"] == "parts_count" || series["__name__"] == "parts_bucket";
        let expected = if is_rounded { value.round() } else { *value };
        assert_eq!(protobuf.get(series), Some(&expected), "{series:?}");
    }
}

#[test]
#[ignore = "needs prometheus; run make test"]
fn prometheus_computes_the_right_numbers_from_what_it_scrapes_in_each_format() {
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
    let daemons = [summary.address, histogram.address];
    let sent = thread::scope(|scope| {
        let stream = scope.spawn(|| sell_on(daemons, &finished));
        let end = End(&finished);
        for (form, prometheus) in servers {
            let of = |query: &str| query.replace("FORM", &format!("form=\"{form}\""));
            // A hundred a second, as far as the scrapes of ten seconds can tell.
            prometheus
                .wait_for(&of("min(count_over_time(orders_total{FORM}[10s]))"), |scrapes| scrapes >= 9.0);
            prometheus.wait_for(&of("min(rate(orders_total{FORM}[10s]))"), |rate| is_about(rate, 100.0, 0.1));
            prometheus
                .wait_for(&of("max(increase(orders_total{FORM}[10s]))"), |more| is_about(more, 1000.0, 0.1));
            prometheus.wait_for(&of("min(stock{FORM})"), |stock| stock == 42.5);
            for (quantile, seconds) in [("0.5", 0.015), ("0.9", 0.04), ("0.999", 0.08)] {
                let query = format!("checkout_seconds{{FORM,quantile=\"{quantile}\"}}");
                prometheus.wait_for(&of(&query), |value| value == seconds);
            }
            // Linear between the bounds: five of ten up to 20 ms, nine up to 50 ms.
            for (quantile, seconds) in [("0.5", 0.02), ("0.7", 0.035), ("1", 0.1)] {
                let rates = "sum by (le) (rate(checkout_seconds_bucket{FORM}[10s]))";
                let query = of(&format!("histogram_quantile({quantile}, {rates})"));
                prometheus.wait_for(&query, |value| is_about(value, seconds, 1e-9));
            }
            prometheus.wait_for(
                &of("max(rate(checkout_seconds_sum{FORM}[10s]) / rate(checkout_seconds_count{FORM}[10s]))"),
                |mean| is_about(mean, 0.0315, 1e-9),
            );
        }
        let created = prometheus.ask("min(orders_created{form=\"openmetrics\"})").unwrap();
        assert!((begin - 2.0..begin + PATIENCE.as_secs_f64()).contains(&created), "{created}, {begin}");
        assert_eq!(prometheus.ask("orders_created{form=\"text\"}"), None);
        assert_eq!(native.ask("orders_created"), None);
        drop(end);
        stream.join().unwrap()
    });
    for (form, prometheus) in servers {
        // Each was scraped as was meant.
        for aggregate in ["min", "max"] {
            let total = format!("{aggregate}(orders_total{{form=\"{form}\"}})");
            prometheus.wait_for(&total, |total| total == sent);
        }
        let scrapes = format!("min(tallyd_scrapes_total{{form=\"{form}\",format=\"{form}\"}})");
        prometheus.wait_for(&scrapes, |scrapes| scrapes >= 10.0);
    }
    for prometheus in [prometheus, native] {
        assert_eq!(prometheus.ask("min(min_over_time(up[5m]))"), Some(1.0));
    }
}

#[test]
#[ignore = "needs prometheus and victoria-metrics; run make test"]
fn victoria_metrics_takes_the_same_values_as_prometheus_whatever_clients_send() {
    let daemons = start_with_all_that_clients_send(&["telemetry.enabled=false"], |_| ());
    let jobs: Vec<_> = daemons.iter().map(|(form, _, address)| (form.as_str(), *address)).collect();
    let texts: Vec<_> =
        daemons.iter().map(|(form, _, address)| (form.as_str(), only_text(*address))).collect();
    let [prometheus, victoria] = [Server::prometheus(&texts), Server::victoria_metrics(&jobs)];
    let [expected, got] = [prometheus, victoria].map(|server| {
        server.wait_for("sum(up)", |all| all == 4.0);
        server.values("{form!='',__name__!~'scrape_.*|up'}")
    });
    assert!(expected.len() > 4000, "{}", expected.len());
    assert_eq!(got.len(), expected.len());
    for (series, value) in &expected {
        // It keeps twelve digits.
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
    let finished = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let stream = scope.spawn(|| sell_on([summary.address, histogram.address], &finished));
        let end = End(&finished);
        victoria.wait_for("min(count_over_time(orders_total[10s]))", |scrapes| scrapes >= 9.0);
        victoria.wait_for("min(rate(orders_total[10s]))", |rate| is_about(rate, 100.0, 0.1));
        victoria.wait_for("min(stock)", |stock| stock == 42.5);
        victoria.wait_for("checkout_seconds{quantile=\"0.9\"}", |value| value == 0.04);
        // Linear between the bounds: five of ten up to 20 ms, nine up to 50 ms.
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
fn series_that_expire_are_stale_at_once_and_those_that_come_back_begin_anew() {
    let folder = TempDir::new().unwrap();
    let rules = folder.path().join("mapping.yml");
    fs::write(&rules, "mappings:\n- {match: brief.*, name: brief, labels: {of: $1}, ttl: 4s}\n").unwrap();
    let (daemon, address) = start(&[
        "flush.interval=500ms",
        "aggregation.expire_after.gauge=4s",
        "aggregation.expire_after.timing=4s",
        "aggregation.expire_after.counter=1h",
        &format!("mapping.mapping_file={}", rules.display()),
    ]);
    let prometheus = Server::prometheus(&[("openmetrics", address)]);
    // From then on it comes every second, and in time for each of them.
    prometheus.wait_for("sum(up)", |all| all == 1.0);
    daemon.send("brief.visit:5|c\nlong.visit:5|c\nlevel:7|g\nwait:30|ms");
    let all = ["brief_total", "long_visit_total", "level", "wait_seconds_count"];
    for (series, value) in all.into_iter().zip([5.0, 5.0, 7.0, 1.0]) {
        prometheus.wait_for(series, |got| got == value);
    }
    let created = prometheus.ask("brief_created").unwrap();
    // An answer without a value, and not the last one for five minutes more, which Prometheus gives where a target is silent.
    for series in ["brief_total", "level", "wait_seconds_count", "wait_seconds{quantile=\"0.5\"}"] {
        prometheus.wait_for_none(series);
    }
    // Each has the life of its type, or that of its rule.
    assert_eq!(prometheus.ask("long_visit_total"), Some(5.0));
    daemon.send("brief.visit:3|c\nlong.visit:3|c\nlevel:+1|g");
    prometheus.wait_for("brief_total", |total| total == 3.0);
    prometheus.wait_for("long_visit_total", |total| total == 8.0);
    prometheus.wait_for("level", |level| level == 1.0);
    let created_again = prometheus.ask("brief_created").unwrap();
    assert!(created_again >= created + 4.0, "{created_again} after {created}");
    // It fell from 5 to 3, so Prometheus knows that it began anew.
    assert_eq!(prometheus.ask("resets(brief_total[5m])"), Some(1.0));
}

#[test]
#[ignore = "needs prometheus; run make test"]
fn percentiles_of_an_interval_without_samples_are_stale_and_counts_stay() {
    let (daemon, address) = start(&["flush.interval=500ms"]);
    let prometheus = Server::prometheus(&[("openmetrics", address)]);
    // Sent until it was scraped: an interval is shorter than what lies between two scrapes.
    wait_for(|| {
        daemon.send("wait:30|ms");
        prometheus.ask("wait_seconds{quantile=\"0.5\"}")
    });
    prometheus.wait_for_none("wait_seconds{quantile=\"0.5\"}");
    assert!(prometheus.ask("wait_seconds_count") > Some(0.0));
}

#[test]
#[ignore = "needs prometheus; run make test"]
fn percentiles_over_machines_are_those_of_all_values_within_the_error_of_native_histograms() {
    const VALUES: usize = 20_000;
    // The largest that does not exceed 1.1: 2^(1/8).
    let factor = 2_f64.powf(0.125);
    let native = ["flush.interval=200ms", "exporters.prometheus.timings=native"];
    let daemons = [start(&native), start(&native)];
    let jobs = daemons.each_ref().map(|(_, address)| ("native", *address));
    let prometheus = Server::prometheus_with(NATIVE_HISTOGRAMS, &jobs);
    // A long tail, in milliseconds: the quantile function of a log-logistic distribution, in no order.
    let value = |number: usize| {
        let share = ((number * 7919) % VALUES) as f64 / VALUES as f64 + 0.5 / VALUES as f64;
        (20.0 * (share / (1.0 - share)).powf(0.6) * 1e4).round() / 1e4
    };
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let mut values: Vec<_> = (0..VALUES).map(value).collect();
    for (datagram, (daemon, _)) in values.chunks(100).zip(daemons.iter().cycle()) {
        let packed: Vec<_> = datagram.iter().map(f64::to_string).collect();
        socket.send_to(format!("api.latency:{}|ms", packed.join(":")).as_bytes(), daemon.address).unwrap();
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
    // Each was scraped in the format that has them.
    let scrapes = "min(tallyd_scrapes_total{format=\"protobuf\"})";
    prometheus.wait_for(scrapes, |scrapes| scrapes >= 1.0);
}

fn dashboard() -> Value {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/dashboards/tallyd.json");
    serde_json::from_str(&fs::read_to_string(file).unwrap()).unwrap()
}

#[test]
#[ignore = "needs prometheus; run make test"]
fn every_panel_of_the_dashboard_shows_something() {
    let folder = TempDir::new().unwrap();
    Authority::new("tests").issue("localhost").write(folder.path(), "server");
    let web = folder.path().join("web.yml");
    fs::write(&web, "tls_server_config: {cert_file: server.crt, key_file: server.key}\n").unwrap();
    // With streams and certificates there is all that tallyd may tell of itself.
    let own = ["flush.interval=500ms", "listeners.tcp.enabled=true", "listeners.tcp.bind=127.0.0.1:0"];
    let (summary, summary_address) = start(&own);
    let web = format!("exporters.prometheus.web_config_file={}", web.display());
    let histogram = ["exporters.prometheus.timings=histogram", &web];
    let (histogram, histogram_address) = start(&[&own[..], &histogram].concat());
    let board = Board::start(dashboard(), &[("http", summary_address), ("https", histogram_address)]);
    let send = |outcomes: &[&str]| {
        let calls = outcomes.iter().map(|outcome| format!("\napi.latency:5:90|ms|#outcome:{outcome}"));
        let calls: String = calls.collect();
        for daemon in [&summary, &histogram] {
            // What is called like node_exporter's own is not offered, and a call without outcome is no error.
            daemon.send(format!("orders:1|c\nnode.disk:1|c\nnode.disk:1|ms\napi.latency:30|ms{calls}"));
        }
    };

    let both = wait_for(|| {
        send(&["ok"]);
        Some(board.offers("instance", &Chosen::new())).filter(|instances| instances.len() == 2)
    });
    let [all, of_summaries, of_histograms] =
        [both, vec![summary_address.to_string()], vec![histogram_address.to_string()]].map(|instances| {
            let mut chosen = Chosen::from([("instance", any_of(&instances))]);
            for (variable, value) in [("timing", "api_latency_seconds"), ("counter", "orders_total")] {
                // Prometheus has many of its own, and offers none of them.
                wait_for(|| {
                    send(&["ok"]);
                    (board.offers(variable, &chosen) == [value]).then_some(())
                });
                chosen.insert(variable, value.to_owned());
            }
            chosen
        });

    for panel in board.panels() {
        let title = panel["title"].as_str().unwrap();
        let targets = panel["targets"].as_array().unwrap();
        // Each query of it, in one form at least, with all that its legend says.
        for target in targets {
            let legend = target["legendFormat"].as_str().unwrap();
            let labels: Vec<_> =
                legend.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap()).collect();
            let shown = wait_for(|| {
                send(&["ok"]);
                Some(board.shows(target, &all)).filter(|shown| !shown.is_empty())
            });
            for (series, _) in &shown {
                assert!(labels.iter().all(|label| series[label].is_string()), "{title}: {series}");
            }
        }
        for form in [&of_summaries, &of_histograms] {
            if title == "Certificate" && form == &of_summaries {
                continue;
            }
            wait_for(|| {
                send(&["ok"]);
                targets.iter().any(|target| !board.shows(target, form).is_empty()).then_some(())
            });
        }
    }

    let values = |outcomes: &[&str], title: &str, number: usize, chosen: &Chosen| -> Vec<f64> {
        let panel = board.panels().find(|panel| panel["title"] == title).unwrap();
        wait_for(|| {
            send(outcomes);
            let shown = board.shows(&panel["targets"][number], chosen);
            Some(shown.into_iter().map(|(_, value)| value).collect::<Vec<_>>())
                .filter(|values| !values.is_empty())
        })
    };
    // Of a summary, the highest value; of a histogram, one between the bounds of the bucket in which that is.
    let percentiles = values(&["ok"], "$timing: percentiles", 0, &of_summaries);
    assert_eq!(percentiles.into_iter().fold(0.0, f64::max), 0.09);
    for chosen in [&all, &of_histograms] {
        let [highest] = values(&["ok"], "$timing: percentiles", 4, chosen)[..] else { panic!() };
        assert!(highest > 0.05 && highest <= 0.1, "{highest}");
    }
    let share = |outcomes: &[&str], outcome: usize, chosen: &Chosen| {
        let [share] = values(outcomes, "$timing: errors", outcome, chosen)[..] else { panic!() };
        share
    };
    let [error, panic, dropped] = [0, 1, 2];
    // As long as there are none, their share is 0, and not unknown.
    for chosen in [&all, &of_summaries, &of_histograms] {
        assert_eq!([error, panic, dropped].map(|outcome| share(&["ok"], outcome, chosen)), [0.0; 3]);
    }
    let wait_for_share = |outcomes: &[&str], outcome| {
        wait_for(|| Some(share(outcomes, outcome, &all)).filter(|share| *share > 0.0 && *share < 0.5));
    };
    // A future that was cancelled is no error.
    wait_for_share(&["ok", "dropped"], dropped);
    assert_eq!([error, panic].map(|outcome| share(&["ok"], outcome, &all)), [0.0; 2]);
    wait_for_share(&["ok", "error", "panic"], error);
    wait_for_share(&["ok", "error", "panic"], panic);
}

#[test]
fn every_panel_of_the_dashboard_has_a_place_and_says_what_it_shows() {
    const WIDTH: usize = 24;
    let dashboard = dashboard();
    let mut taken: BTreeMap<(usize, usize), &Value> = BTreeMap::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = &panel["title"];
        let [x, y, width, height] =
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap() as usize);
        assert!(x + width <= WIDTH, "{title}");
        for place in (y..y + height).flat_map(|y| (x..x + width).map(move |x| (y, x))) {
            let other = taken.insert(place, title);
            assert_eq!(other, None, "{title}, too");
        }
        if panel["type"] == "row" {
            continue;
        }
        let description = panel["description"].as_str().unwrap();
        assert!(description.contains("If ") || description.contains("Near "), "what to do? {title}");
        if panel["type"] == "timeseries" {
            let legend = &panel["options"]["legend"];
            assert_eq!(legend["showLegend"], true, "{title}");
            assert_eq!(legend["calcs"], Value::Array(Vec::new()), "{title}");
        }
    }
    // From the first place to the last, none is free.
    let (&(last, _), _) = taken.last_key_value().unwrap();
    assert_eq!(taken.len(), (last + 1) * WIDTH);
}

fn is_about(value: f64, expected: f64, error: f64) -> bool {
    (value - expected).abs() <= expected * error
}

/// Sells ten orders and times ten checkouts every tenth of a second, by the clock; how many orders there were.
fn sell_on(daemons: [SocketAddr; 2], finished: &AtomicBool) -> f64 {
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

/// An address at which the page of another one can be had, but as text alone, whatever is asked for. Prometheus asks for
/// OpenMetrics, and can be told otherwise only since 2.49.
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
            // Once tallyd has ended there is nothing to answer.
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
