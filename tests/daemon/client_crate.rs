//! The client crate and the daemon, together.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Duration;

use harness::http::{Answer, try_ask};
use harness::prometheus::{Name, Page, wait_for};
use harness::scraped::{scrape, start};
use harness::server::free_address;
use tallyd_client::{Config, Exporter, Metrics};

#[test]
fn a_call_is_the_same_metric_through_tallyd_and_on_the_applications_own_page() {
    let (daemon, tallyd) = start(&["flush.interval=100ms", "telemetry.enabled=false"]);
    let own = free_address();
    let config = Config::new()
        .exporters([Exporter::Statsd, Exporter::Prometheus])
        .statsd_address(format!("udp://{}", daemon.address))
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
    // One series, in whatever order its tags come.
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
    // A set is shown at the end of its interval, which is ten seconds here.
    let is_whole = |address| {
        let answer = try_ask(address, "GET", "/metrics", &[]).ok().filter(|answer| !answer.is_empty())?;
        let text = Answer::parse(&answer).text().to_owned();
        text.contains("\nshop_ResumeParser_users{").then_some(text)
    };
    let through_tallyd = wait_for(|| is_whole(tallyd));
    let in_process = wait_for(|| is_whole(own));
    assert_eq!(types(&in_process), types(&through_tallyd));
    let [through_tallyd, in_process] = [through_tallyd, in_process].map(|text| Page::parse(&text));
    let series = |page: &Page| page.0.keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(series(&in_process), series(&through_tallyd));
    for (name, value) in &through_tallyd.0 {
        // Percentiles are computed in other ways, and over another time.
        if !name.1.contains_key("quantile") {
            let own = in_process.0[name];
            assert!((own - value).abs() <= value.abs() * 1e-9, "{name:?}: {own} instead of {value}");
        }
    }
    assert_eq!(metrics.lost(), 0);

    // What cannot stand on one page with it: neither Prometheus nor promtool takes a page with both.
    collector.record_gauge("jobs:[all]_total", 1, &[]);
    collector.record_gauge("parse.time_seconds", 1, &[]);
    collector.record_gauge("parse_time_seconds_count", 1, &[]);
    collector.record_gauge("size", 1, &[]);
    collector.record_gauge("queue.length", 1, &tags);
    collector.record_timing("queue-length_seconds", 1, &[]);
    collector.record_histogram("resumes_total", 1, &[]);
    metrics.flush();
    // Sets are shown only after an interval in which there were some.
    let series = |address| -> BTreeSet<Name> {
        scrape(address).0.into_keys().filter(|(name, _)| !name.ends_with("_users")).collect()
    };
    let is_there = |page: &BTreeSet<Name>| page.iter().any(|(name, _)| name.ends_with("length_seconds_sum"));
    let [through_tallyd, in_process] =
        [tallyd, own].map(|address| wait_for(|| Some(series(address)).filter(is_there)));
    // Percentiles of an interval without samples are not shown by tallyd.
    let without_quantiles = |page: BTreeSet<Name>| -> BTreeSet<Name> {
        page.into_iter().filter(|(_, labels)| !labels.contains_key("quantile")).collect()
    };
    assert_eq!(without_quantiles(in_process), without_quantiles(through_tallyd));
    assert_eq!(metrics.lost(), 6);
}

#[test]
#[ignore = "needs prometheus and promtool; run make test"]
fn the_demo_ends_with_percentiles_that_prometheus_has_of_the_example_application() {
    let [statsd, page, prometheus] = [(); 3].map(|()| free_address().to_string());
    let output = Command::new(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/demo.sh"))
        .arg("6")
        .envs([("STATSD", statsd), ("PAGE", page), ("PROMETHEUS", prometheus)])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}\n{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("0 samples were lost"), "{said}");
    let value = |series: &str| -> f64 {
        let line = said.lines().find_map(|line| line.trim().strip_prefix(series)?.strip_prefix(" => "));
        line.unwrap_or_else(|| panic!("no {series} in {said}")).trim().parse().unwrap()
    };
    // The model thinks 5 to 20 ms, or one time in twenty up to 200.
    assert!((0.005..0.03).contains(&value("{quantile=\"0.5\"}")), "{said}");
    assert!((0.01..1.0).contains(&value("{quantile=\"0.99\"}")), "{said}");
    let all = said.lines().find_map(|line| line.split_once(" résumés were processed")).unwrap().0;
    let by_source = ["{source=\"mail\"}", "{source=\"upload\"}"].map(value);
    assert_eq!(by_source.iter().sum::<f64>(), all.parse::<f64>().unwrap(), "{said}");
}

/// What TYPE lines say.
fn types(page: &str) -> BTreeSet<&str> {
    page.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect()
}
