//! Tests that servers store what tallyd pushes by remote write: Prometheus and `VictoriaMetrics`.

use std::fs;
use std::net::SocketAddr;

use tallyd_harness::process::{stdout, tallyd};
use tallyd_harness::{Daemon, wait_until};
use tempfile::TempDir;

use crate::scrapers::Server;

/// Starts a tallyd that pushes to a server every 100 ms. `host` tells its series from those of other tallyds.
fn start(server: SocketAddr, host: &str, more: &[&str]) -> Daemon {
    let endpoint = format!(
        "exporters.remote_write=[{{name=\"server\", url=\"http://{server}/api/v1/write\", labels={{instance=\"{host}\"}}}}]"
    );
    Daemon::start(
        &[&[&*endpoint, "flush.interval=100ms", "exporters.prometheus.percentile_window=1m"], more].concat(),
    )
}

fn assert_stores_all_kinds(server: &Server, native: bool) {
    let timings =
        if native { "exporters.prometheus.timings=native" } else { "exporters.prometheus.timings=histogram" };
    let daemons = ["a", "b"].map(|host| start(server.address(), host, &[timings]));
    for round in 0..5 {
        for daemon in &daemons {
            // One of the hosts is ten times as slow as the other.
            let scale = if daemon.address() == daemons[0].address() { 1 } else { 10 };
            let timings: Vec<_> = (1..=20).map(|value| (value * scale).to_string()).collect();
            daemon.send(format!("c:2|c|#k:v\ng:{round}|g\ns:{round}|s\nt:{}|ms", timings.join(":")));
        }
        server.wait_for("sum(c_total)", |total| total == f64::from(4 * (round + 1)));
    }
    server.wait_for("sum(g)", |sum| sum == 8.0);
    server.wait_for("count(c_total{k=\"v\"})", |count| count == 2.0);
    // The first increase is not lost, because a series begins with 0.
    let increase = server.ask("sum(max_over_time(c_total[1h]) - min_over_time(c_total[1h]))");
    assert_eq!(increase, Some(20.0));
    if native {
        server.wait_for("histogram_count(sum(t_seconds))", |count| count == 200.0);
        // Half of the values are at most 20 ms on the one host, and 10 % on the other.
        let median = server.ask("histogram_quantile(0.5, sum(t_seconds))").unwrap();
        assert!((0.018..0.022).contains(&median), "{median}");
        let sum = server.ask("histogram_sum(sum(t_seconds))").unwrap();
        assert!((sum - 11.55).abs() < 1e-9, "{sum}");
    } else {
        server.wait_for("sum(t_seconds_count)", |count| count == 200.0);
        let median = server.ask("histogram_quantile(0.5, sum by (le) (t_seconds_bucket))").unwrap();
        assert!((0.01..0.025).contains(&median), "{median}");
    }
    for daemon in daemons {
        let finished = daemon.stop();
        assert!(finished.status.success(), "{}", finished.log);
        for lost in ["tallyd.points_refused", "tallyd.points_dropped"] {
            assert_eq!(finished.sum(lost, "value"), 0.0, "{}", finished.log);
        }
    }
}

#[test]
#[ignore = "needs prometheus; run make test"]
fn prometheus_stores_what_two_tallyds_push() {
    for native in [true, false] {
        assert_stores_all_kinds(&Server::prometheus_that_receives(), native);
    }
}

#[test]
#[ignore = "needs victoria-metrics; run make test"]
fn victoria_metrics_stores_what_two_tallyds_push() {
    assert_stores_all_kinds(&Server::victoria_metrics(&[]), false);
}

#[test]
#[ignore = "needs prometheus; run make test"]
fn nothing_is_lost_while_the_server_is_down_and_tallyd_restarts() {
    let directory = TempDir::new().unwrap();
    let queue = format!("delivery.path={}", directory.path().join("queue").display());
    let state = format!("state.path={}", directory.path().join("state").display());
    // The queue in memory is small, so most of it is on disk.
    let options = [&*queue, &*state, "delivery.max_memory=64KiB"];
    let server = Server::prometheus_that_receives();
    let address = server.address();
    let mut daemon = start(address, "a", &options);
    let send = |daemon: &mut Daemon, times| {
        for _ in 0..times {
            daemon.send("c:1|c");
            daemon.wait_for_next(|row| row["name"] == "c");
        }
    };
    send(&mut daemon, 3);
    server.wait_for("c_total", |total| total == 3.0);
    let data = server.stop();
    send(&mut daemon, 10);
    let finished = daemon.stop();
    assert!(finished.status.success(), "{}", finished.log);
    assert!(finished.log.contains("the server did not take a request"), "{}", finished.log);
    let mut daemon = start(address, "a", &options);
    send(&mut daemon, 10);
    let server = Server::prometheus_again(address, data);
    server.wait_for("c_total", |total| total == 23.0);
    // Each of the increases has the time at which it happened.
    let mut totals: Vec<_> = server.samples("c_total").iter().map(|sample| sample.value).collect();
    totals.dedup();
    assert_eq!(totals, (0..=23).map(f64::from).collect::<Vec<_>>());
    let files = directory.path().join("queue/remote_write-server");
    wait_until(|| fs::read_dir(&files).unwrap().count() == 1);
}

#[test]
#[ignore = "needs prometheus and victoria-metrics; run make test"]
fn check_says_what_a_server_really_stores() {
    let probe = |server: &Server, native: bool| {
        let endpoint = format!(
            "exporters.remote_write=[{{name=\"s\", url=\"http://{}/api/v1/write\", native_histograms={native}}}]",
            server.address()
        );
        let output = tallyd(&["check", "--probe", "--set", &endpoint]);
        (output.status.code(), stdout(&output).to_owned())
    };
    let line = |words: &str| format!("remote_write/s: {words}\n");
    let whole = (Some(0), line("it stores samples and native histograms"));
    assert_eq!(probe(&Server::prometheus_that_receives(), true), whole);
    let victoria = Server::victoria_metrics(&[]);
    let dropped = "it stores samples, but drops native histograms; set native_histograms = false";
    assert_eq!(probe(&victoria, true), (Some(1), line(dropped)));
    assert_eq!(probe(&victoria, false), (Some(0), line("it stores samples, but no native histograms")));
    // This Prometheus does not accept remote write.
    let (code, text) = probe(&Server::prometheus(&[]), true);
    assert_eq!(code, Some(1));
    assert!(text.starts_with("remote_write/s: it refuses points: status 404"), "{text}");
}
