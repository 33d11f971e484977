//! Tests the client crate together with tallyd.

use std::collections::BTreeSet;
use std::time::Duration;

use metrics::{counter, gauge, histogram, with_local_recorder};
use tallyd_client::{Config, Exporter, Metrics};
use tallyd_harness::http::{free_address, try_get};
use tallyd_harness::scraped::{scrape, start};
use tallyd_harness::{Name, Page, wait_for};

#[test]
fn client_page_shows_the_same_metrics_as_tallyd_for_the_same_calls() {
    let (daemon, tallyd) = start(&["flush.interval=100ms", "telemetry.enabled=false"]);
    let own = free_address();
    let config = Config::new()
        .exporters([Exporter::Statsd, Exporter::Prometheus])
        .statsd_address(format!("udp://{}", daemon.address()))
        .prometheus_address(own)
        .prefix("shop")
        .tag("env", "test");
    let metrics = Metrics::start(&config).unwrap();
    let collector = metrics.collector("ResumeParser").with_tag("team.name", "a");
    let tags = [("source", "up\"lo|ad,\n"), ("empty", "")];
    collector.increment_counter("resumes", 3, &tags);
    collector.increment_counter("resumes", 4, &tags);
    collector.increment_counter("jobs:[all]_total", 1, &[]);
    collector.record_gauge("queue-length", -2.5, &tags);
    collector.record_timing("parse.time", Duration::from_millis(20), &[("quantile", "x"), ("le", "y")]);
    collector.record_timing("parse.time", 40, &[("quantile", "x"), ("le", "y")]);
    collector.record_histogram("size", 0.25, &[("9", "digit")]);
    collector.record_distribution("spread", 7, &[("__name__", "z")]);
    collector.increment_counter(
        "labels",
        1,
        &[("a.b", "2"), ("a_b", "1"), ("", "v"), ("twice", "1"), ("twice", "2")],
    );
    // Tags in another order name the same series.
    let ordered: [[(&str, &str); 2]; 2] = [[("x", "1"), ("y", "2")], [("y", "2"), ("x", "1")]];
    for (tags, value) in ordered.iter().zip([1, 2]) {
        collector.record_gauge("ordered.gauge", value, tags);
        collector.record_timing("ordered.timing", value, tags);
        collector.record_histogram("ordered.histogram", value, tags);
        collector.increment_counter("ordered.counter", 1, tags);
    }
    collector.record_set("users", "ann", &tags);
    collector.record_set("users", "bob", &tags);
    collector.record_set("users", "ann", &tags);
    metrics.flush();
    // The client shows a set at the end of its interval, which is ten seconds.
    let is_whole = |address| {
        let text = try_get(address, "/metrics")?.text().to_owned();
        text.contains("\nshop_ResumeParser_users{").then_some(text)
    };
    let through_tallyd = wait_for(|| is_whole(tallyd));
    let in_process = wait_for(|| is_whole(own));
    assert_eq!(types(&in_process), types(&through_tallyd));
    let [through_tallyd, in_process] = [through_tallyd, in_process].map(|text| Page::parse(&text));
    let series = |page: &Page| page.0.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(series(&in_process), series(&through_tallyd));
    for (name, value) in &through_tallyd.0 {
        // The two compute percentiles in different ways and over different periods.
        if !name.1.contains_key("quantile") {
            let own = in_process.0[name];
            assert!((own - value).abs() <= value.abs() * 1e-9, "{name:?}: {own} instead of {value}");
        }
    }
    assert_eq!(metrics.lost(), 0);

    // These metrics clash with earlier ones. Neither Prometheus nor promtool accepts a page with both.
    collector.record_gauge("jobs:[all]_total", 1, &[]);
    collector.record_gauge("parse.time_seconds", 1, &[]);
    collector.record_gauge("parse_time_seconds_count", 1, &[]);
    collector.record_gauge("size", 1, &[]);
    collector.record_gauge("queue.length", 1, &tags);
    collector.record_timing("queue-length_seconds", 1, &[]);
    collector.record_histogram("resumes_total", 1, &[]);
    metrics.flush();
    // Both pages show a set only after an interval with samples.
    let series = |address| -> BTreeSet<Name> {
        scrape(address).0.into_keys().filter(|(name, _)| !name.ends_with("_users")).collect()
    };
    let is_complete =
        |page: &BTreeSet<Name>| page.iter().any(|(name, _)| name.ends_with("length_seconds_sum"));
    let [through_tallyd, in_process] =
        [tallyd, own].map(|address| wait_for(|| Some(series(address)).filter(is_complete)));
    // tallyd shows no percentiles for an interval without samples.
    let without_quantiles = |page: BTreeSet<Name>| -> BTreeSet<Name> {
        page.into_iter().filter(|(_, labels)| !labels.contains_key("quantile")).collect()
    };
    assert_eq!(without_quantiles(in_process), without_quantiles(through_tallyd));
    assert_eq!(metrics.lost(), 6);
}

#[test]
fn application_with_the_crate_metrics_has_the_right_totals() {
    let (daemon, tallyd) = start(&["flush.interval=100ms", "telemetry.enabled=false"]);
    let address = format!("udp://{}", daemon.address());
    let metrics =
        Metrics::start(&Config::new().statsd_address(address).prefix("shop").tag("env", "test")).unwrap();
    with_local_recorder(&metrics.recorder(), || {
        for orders in [1, 2] {
            counter!("orders", "region" => "eu").increment(orders);
            gauge!("balance").decrement(1.5);
            // The client sends in between, so that tallyd adds up lines.
            metrics.flush();
        }
        counter!("external").absolute(40);
        counter!("external").absolute(42);
        for milliseconds in [250, 500] {
            histogram!("request_duration_seconds", "path" => "/a|b,c")
                .record(Duration::from_millis(milliseconds));
        }
    });
    metrics.flush();
    let page = wait_for(|| {
        let page = scrape(tallyd);
        let count = page.value("shop_request_duration_seconds_count", &[("env", "test"), ("path", "/a_b_c")]);
        (count == Some(2.0)).then_some(page)
    });
    page.assert_shows(&[
        ("shop_orders_total", &[("env", "test"), ("region", "eu")], 3.0),
        ("shop_external_total", &[("env", "test")], 42.0),
        ("shop_balance", &[("env", "test")], -3.0),
        ("shop_request_duration_seconds_sum", &[("env", "test"), ("path", "/a_b_c")], 0.75),
    ]);
    assert_eq!(metrics.lost(), 0);
}

/// Returns the text of each TYPE line.
fn types(page: &str) -> BTreeSet<&str> {
    page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect()
}
