//! Tests the endpoint with Prometheus' own tools.

use std::fs;
use std::io::Write;
use std::net::SocketAddr;
use std::process::Stdio;

use tallyd_harness::http::{get, request};
use tallyd_harness::process::{promtool, spawn};
use tallyd_harness::scraped::{start, wait_for_value};
use tempfile::TempDir;

use crate::scrapers::Server;
use crate::shop;
use crate::streams::{SHOP, start_with_all_that_clients_send};

#[test]
#[ignore = "needs promtool; run make test"]
fn promtool_has_no_remarks_on_the_page() {
    for timings in ["summary", "histogram"] {
        let (daemon, address) =
            start(&["flush.interval=100ms", &format!("exporters.prometheus.timings={timings}")]);
        SHOP.iter().for_each(|datagram| daemon.send(datagram));
        wait_for_value(address, "latency_count", 1.0);
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("page");
        fs::write(&file, get(address, "/metrics").body).unwrap();
        let (code, remarks) = promtool(&file);
        assert_eq!(code, Some(0), "{timings}: {remarks}");
    }
}

#[test]
#[ignore = "needs prometheus, and Python with its client from PyPI; run make test"]
fn no_client_can_make_the_openmetrics_page_invalid() {
    let daemons = start_with_all_that_clients_send(&[], assert_is_openmetrics);
    let jobs: Vec<_> = daemons.iter().map(|(_, _, address)| ("hostile", *address)).collect();
    let prometheus = Server::prometheus(&jobs);
    // Prometheus refuses a whole page for one invalid line, and sets `up` to 0.
    prometheus.wait_for("count(scrape_samples_post_metric_relabeling > 900)", |all| all == 4.0);
    assert_eq!(prometheus.ask("min(up)"), Some(1.0));
}

/// Asserts that the parser of Prometheus' Python client accepts the page.
fn assert_is_openmetrics(address: SocketAddr) {
    let page = request(address, "GET", "/metrics", &["Accept: application/openmetrics-text; version=1.0.0"]);
    let mut python = shop::python("check_openmetrics.py");
    python.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut checker = spawn(&mut python);
    checker.stdin.take().unwrap().write_all(&page.body).unwrap();
    let output = checker.wait_with_output().unwrap();
    let remarks = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{remarks}\n{}", page.text());
}
