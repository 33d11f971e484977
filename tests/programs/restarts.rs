//! Tests what Prometheus has after a restart of tallyd with a state file.

use std::collections::BTreeSet;
use std::fs;

use tallyd_harness::scraped::{scrape, wait_for_state, wait_for_value};
use tallyd_harness::{Daemon, HTTP};
use tempfile::TempDir;

use crate::scrapers::Server;

#[test]
#[ignore = "needs prometheus; run make test"]
fn prometheus_counts_every_sample_over_a_stop_and_a_start() {
    let directory = TempDir::new().unwrap();
    let (daemon, prometheus) = start_with_unscraped_samples(&directory);
    let port = daemon.http_address().port();
    // When the signal comes, these samples are in the socket or in the open interval.
    daemon.send("c:4|c\nt:125|ms");
    let finished = daemon.stop();
    assert!(finished.status.success(), "{}", finished.log);
    prometheus.resume();
    run_again(&directory, port, &prometheus);
    // Prometheus scraped before the pause, after the restart and at the end. It has never seen a total of 8.
    for (series, expected) in [
        ("c_total", &[5.0, 12.0, 14.0][..]),
        ("t_seconds_count", &[1.0, 3.0, 4.0]),
        ("t_seconds_sum", &[0.25, 0.875, 1.0]),
        ("g", &[100.0, 110.0]),
    ] {
        assert_eq!(values(&prometheus, series), expected, "{series}");
    }
    assert_totals_continue(&prometheus);
}

#[test]
#[ignore = "needs prometheus; run make test"]
fn prometheus_counts_nothing_twice_after_a_kill() {
    let directory = TempDir::new().unwrap();
    let [state, older] = ["state", "older"].map(|name| directory.path().join(name));
    let daemon = start(&directory, 0);
    let address = daemon.http_address();
    let prometheus = Server::prometheus(&[("openmetrics", address)]);
    daemon.send("c:1000|c\ng:100|g");
    wait_for_value(address, "c_total", 1000.0);
    wait_for_state(address);
    fs::copy(&state, &older).unwrap();
    daemon.send("c:50|c");
    prometheus.wait_for("c_total", |total| total == 1050.0);
    daemon.signal("KILL");
    assert!(!daemon.wait().status.success());
    // The latest write may be as old as `state.interval`.
    fs::rename(&older, &state).unwrap();
    run_again(&directory, address.port(), &prometheus);
    let counted = values(&prometheus, "c_total");
    // If the total went on from 1000, Prometheus would take this for 1000 new samples.
    assert!(counted.ends_with(&[1050.0, 2.0]), "{counted:?}");
    assert_eq!(prometheus.ask("resets(c_total[1h])"), Some(1.0));
    assert_eq!(prometheus.ask("changes(c_created[1h])"), Some(1.0));
    assert_eq!(values(&prometheus, "g"), [100.0]);
}

/// Starts tallyd with a state file in a directory. Port 0 is a free port.
fn start(directory: &TempDir, port: u16) -> Daemon {
    Daemon::start(&[
        HTTP[0],
        // On an IP address of its own, no other test takes the port while tallyd is down.
        "exporters.prometheus.address=127.0.0.2",
        &format!("exporters.prometheus.port={port}"),
        &format!("state.path={}", directory.path().join("state").display()),
        "state.interval=1s",
        "flush.interval=100ms",
    ])
}

/// Starts tallyd and Prometheus. Pauses Prometheus once it has a total of 5, and waits until the page has a total of 8.
///
/// The lines of a datagram are in the same interval, so a page shows all of them or none.
fn start_with_unscraped_samples(directory: &TempDir) -> (Daemon, Server) {
    let daemon = start(directory, 0);
    let address = daemon.http_address();
    let prometheus = Server::prometheus(&[("openmetrics", address)]);
    daemon.send("c:5|c\ng:100|g\nt:250|ms");
    prometheus.wait_for("c_total", |total| total == 5.0);
    prometheus.pause();
    // The endpoint answers in order. After this answer, it has no request of Prometheus left.
    scrape(address);
    daemon.send("c:3|c\ng:+10|g\nt:500|ms");
    wait_for_value(address, "c_total", 8.0);
    (daemon, prometheus)
}

/// Runs tallyd again once Prometheus has noticed that it is down. Prometheus scrapes it before and after further samples.
fn run_again(directory: &TempDir, port: u16, prometheus: &Server) {
    prometheus.wait_for("up", |up| up == 0.0);
    let daemon = start(directory, port);
    prometheus.wait_for("up", |up| up == 1.0);
    daemon.send("c:2|c\nt:125|ms\nlast:1|g");
    prometheus.wait_for("last", |last| last == 1.0);
}

/// Returns the values of a series in the order of the scrapes. A value that several scrapes in a row saw is there once.
fn values(prometheus: &Server, series: &str) -> Vec<f64> {
    let mut values: Vec<_> = prometheus.samples(series).iter().map(|sample| sample.value).collect();
    values.dedup();
    values
}

/// Asserts that Prometheus cannot see the restart in the totals: none went back, `increase()` is exact, and all began
/// when they had begun.
fn assert_totals_continue(prometheus: &Server) {
    // To Prometheus, a total that went back has begun again at 0. tallyd's own totals also continue.
    let totals = prometheus.values("last_over_time({__name__=~'.+_(total|count|sum)'}[1h])");
    let names: BTreeSet<_> = totals.keys().map(|labels| labels["__name__"].as_str()).collect();
    assert!(names.contains("tallyd_lines_total"), "{names:?}");
    for name in names {
        assert_eq!(prometheus.ask(&format!("max(resets({name}[1h]))")), Some(0.0), "{name}");
    }
    for series in ["c_total", "t_seconds_count", "t_seconds_sum"] {
        let samples = prometheus.samples(series);
        let [first, .., last] = &samples[..] else { panic!("{series}: {samples:?}") };
        // `increase()` extrapolates from the first and the last sample in its range to the ends of the range. So this
        // range begins with the first sample and ends with the last one. It is a millisecond longer, because
        // Prometheus 3 excludes the beginning. The samples are seconds apart, so this adds less than 0.1 %.
        let range = last.milliseconds - first.milliseconds + 1;
        let end = last.milliseconds as f64 / 1e3;
        let increase = prometheus.ask(&format!("increase({series}[{range}ms] @ {end:.3})")).unwrap();
        let exact = last.value - first.value;
        assert!((exact..exact * 1.001).contains(&increase), "{series}: {increase} instead of {exact}");
    }
    for (created, total) in [("c_created", "c_total"), ("t_seconds_created", "t_seconds_count")] {
        assert_eq!(prometheus.ask(&format!("changes({created}[1h])")), Some(0.0), "{created}");
        // Every page with the total has the time, also after the restart.
        let missing = format!("count_over_time({total}[1h]) - count_over_time({created}[1h])");
        assert_eq!(prometheus.ask(&missing), Some(0.0), "{created}");
    }
}
