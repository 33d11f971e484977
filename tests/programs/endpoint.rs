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
fn no_client_can_make_the_pages_for_other_readers_invalid() {
    let settings = ["exporters.prometheus.utf8_names=true"];
    let daemons = start_with_all_that_clients_send(&settings, |address| {
        assert_is_readable(address, "openmetrics", "application/openmetrics-text; version=1.0.0");
        let utf8_names = "application/openmetrics-text; version=1.0.0; escaping=allow-utf-8";
        assert_is_readable(address, "openmetrics", utf8_names);
        assert_is_readable(address, "text", "text/plain; version=1.0.0; escaping=allow-utf-8");
    });
    let jobs: Vec<_> = daemons.iter().map(|(_, _, address)| ("hostile", *address)).collect();
    let prometheus = Server::prometheus(&jobs);
    // Prometheus refuses a whole page for one invalid line, and sets `up` to 0.
    prometheus.wait_for("count(scrape_samples_post_metric_relabeling > 900)", |all| all == 4.0);
    assert_eq!(prometheus.ask("min(up)"), Some(1.0));
}

/// Asserts that a parser of Prometheus' Python client accepts the page, and reads each of its lines.
fn assert_is_readable(address: SocketAddr, parser: &str, accept: &str) {
    let page = request(address, "GET", "/metrics", &[&format!("Accept: {accept}")]);
    let mut python = shop::python("check_page.py");
    python.arg(parser).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut checker = spawn(&mut python);
    checker.stdin.take().unwrap().write_all(&page.body).unwrap();
    let output = checker.wait_with_output().unwrap();
    let remarks = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{remarks}\n{}", page.text());
}
