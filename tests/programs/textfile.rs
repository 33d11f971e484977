//! Tests the text file with node_exporter, promtool and Prometheus.

use std::fs::{self, File};
use std::io::{self, Read, Seek};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::Value;
use tallyd_harness::http::{connect, get_unchunked};
use tallyd_harness::process::{ROOT, Running, promtool, spawn};
use tallyd_harness::{Daemon, Page, strict, wait_for};
use tempfile::TempDir;

use crate::scrapers::{Server, start_on_free_port};
use crate::streams::{HOSTILE, NAMELESS, PAGES, SHOP, combinations, page_settings};

#[test]
#[ignore = "needs prometheus-node-exporter; run make test"]
fn node_exporter_shows_every_value_as_summaries() {
    let page = shown_by_node_exporter(&["exporters.prometheus.timings=summary"]);
    page.assert_shows(&[
        ("orders_total", &[("region", "eu")], 5.0),
        ("orders_total", &[("region", "us")], 17.0),
        ("items_sold_total", &[], 2.5),
        ("stock_level", &[], 25.0),
        ("temperature", &[], -7.25),
        ("customers", &[], 2.0),
        ("checkout_seconds", &[("region", "eu"), ("quantile", "0.5")], 0.03),
        ("checkout_seconds", &[("region", "eu"), ("quantile", "0.999")], 0.4),
        ("checkout_seconds_sum", &[("region", "eu")], 0.45),
        ("checkout_seconds_count", &[("region", "eu")], 3.0),
        ("checkout_seconds_sum", &[("region", "us")], 4.5),
        ("checkout_seconds_count", &[("region", "us")], 3.0),
        ("basket_size", &[("quantile", "0.5")], 2.0),
        ("basket_size_sum", &[], 10.0),
        ("latency_sum", &[("url", r#"http://h:80/"a\b""#)], 0.25),
        ("latency_count", &[], 1.0),
    ]);
}

#[test]
#[ignore = "needs prometheus-node-exporter; run make test"]
fn node_exporter_shows_every_value_as_histograms() {
    let page = shown_by_node_exporter(&[
        "exporters.prometheus.timings=histogram",
        "exporters.prometheus.buckets=[0.02, 0.25, 2]",
    ]);
    page.assert_shows(&[
        ("orders_total", &[("region", "us")], 17.0),
        ("checkout_seconds_bucket", &[("region", "eu"), ("le", "0.02")], 1.0),
        ("checkout_seconds_bucket", &[("region", "eu"), ("le", "0.25")], 2.0),
        ("checkout_seconds_bucket", &[("region", "eu"), ("le", "2")], 3.0),
        ("checkout_seconds_bucket", &[("region", "eu"), ("le", "+Inf")], 3.0),
        ("checkout_seconds_bucket", &[("region", "us"), ("le", "0.25")], 0.0),
        ("checkout_seconds_bucket", &[("region", "us"), ("le", "2")], 3.0),
        ("checkout_seconds_sum", &[("region", "us")], 4.5),
        ("basket_size_bucket", &[("le", "2")], 2.0),
        ("basket_size_bucket", &[("le", "+Inf")], 4.0),
        ("basket_size_count", &[], 4.0),
        ("latency_bucket", &[("url", r#"http://h:80/"a\b""#), ("le", "0.25")], 1.0),
    ]);
}

/// Returns the page that node_exporter shows for the shop, and asserts that it has everything in the file.
fn shown_by_node_exporter(settings: &[&str]) -> Page {
    let directory = TextfileDirectory::new();
    let daemon = directory.start(settings);
    SHOP.iter().for_each(|datagram| daemon.send(datagram));
    assert!(daemon.stop().status.success());
    let exporter = NodeExporter::start(directory.path());
    let page = exporter.scrape();
    page.assert_contains(&directory.page());
    page
}

#[test]
#[ignore = "needs prometheus-node-exporter; run make test"]
fn node_exporter_shows_totals_since_the_start() {
    let directory = TextfileDirectory::new();
    let mut daemon = directory.start(&["flush.interval=100ms"]);
    let exporter = NodeExporter::start(directory.path());
    let orders = |value| move |row: &Value| row["name"] == "orders" && row["value"] == value;
    let total = |page: &Page| page.value("orders_total", &[]);
    let calls = |page: &Page| page.value("checkout_seconds_count", &[]);

    daemon.send("orders:5|c\ncheckout:10|ms");
    daemon.wait_for(orders(5.0));
    daemon.send("orders:8|c\ncheckout:20|ms");
    daemon.wait_for(orders(8.0));
    let page = wait_for(|| Some(exporter.scrape()).filter(|page| total(page) == Some(13.0)));
    assert_eq!(calls(&page), Some(2.0));
    // Percentiles are those of the latest interval, so an interval without samples has none.
    wait_for(|| {
        Some(exporter.scrape())
            .filter(|page| page.value("checkout_seconds", &[("quantile", "0.5")]).is_none())
    });
    assert_eq!(calls(&exporter.scrape()), Some(2.0));
}

#[test]
#[ignore = "needs prometheus-node-exporter; run make test"]
fn no_client_can_replace_metrics_of_node_exporter_itself() {
    let directory = TextfileDirectory::new();
    let daemon = directory.start(&[]);
    daemon.send("node_load1:12345|g\ngo_goroutines:12345|g\nup:12345|g\nprocess_open_fds:12345|g\nnodes:5|g");
    let rows = daemon.stop().rows;
    assert!(rows.iter().any(|row| row["name"] == "node_load1"), "other outputs show it");
    let exporter = NodeExporter::start(directory.path());
    let page = exporter.scrape();
    assert_eq!(page.value("nodes", &[]), Some(5.0));
    for own in ["node_load1", "go_goroutines", "process_open_fds"] {
        assert!(page.value(own, &[]).is_some_and(|value| value != 12345.0), "{own}");
    }
    assert_eq!(page.value("up", &[]), None, "Prometheus has a series `up` of its own");
}

#[test]
#[ignore = "needs promtool; run make test"]
fn promtool_has_no_remarks_on_sensible_names() {
    for timings in ["summary", "histogram"] {
        let directory = TextfileDirectory::new();
        let daemon = directory.start(&[&format!("exporters.prometheus.timings={timings}")]);
        SHOP.iter().for_each(|datagram| daemon.send(datagram));
        daemon.stop();
        let (code, remarks) = promtool(&directory.file());
        assert_eq!(code, Some(0), "{timings}: {remarks}");
    }
}

#[test]
#[ignore = "needs promtool and prometheus-node-exporter; run make test"]
fn no_client_can_make_the_text_file_invalid() {
    for page in PAGES {
        let directory = TextfileDirectory::new();
        let [naming, timings] = page_settings(page);
        let mut daemon = directory.start(&["flush.interval=100ms", &naming, &timings]);
        for (part, marker) in HOSTILE.iter().zip(["first_part", "second_part"]) {
            part.iter().for_each(|datagram| daemon.send(datagram));
            wait_for(|| directory.read().filter(|page| page.value(marker, &[]).is_some()));
            assert_valid(&directory);
        }
        // Counters that get the same name are one counter: `twin.a`, `twin-a` and `twin_a`, and in one naming style
        // also `twin--a`.
        let (twins, total) = if page.0 == "prometheus" { ("twin_a_total", 7.0) } else { ("twin_a", 11.0) };
        assert_eq!(directory.page().value(twins, &[]), Some(total));
        // tallyd counts the series that it leaves out of the page.
        for reason in
            ["type_conflict", "name_taken", "duplicate_series", "negative_increase", "reserved_name"]
        {
            daemon.wait_for(|row| {
                row["name"] == "tallyd.series_quarantined"
                    && row["tags"]["reason"] == reason
                    && row["tags"]["exporter"] == "textfile"
                    && row["value"].as_f64() > Some(0.0)
            });
        }
    }
}

#[test]
#[ignore = "needs promtool and prometheus-node-exporter; run make test"]
fn no_combination_of_names_types_and_tags_makes_the_page_invalid() {
    let lines = combinations();
    for page in PAGES {
        let directory = TextfileDirectory::new();
        let daemon = directory.start(&page_settings(page).each_ref().map(String::as_str));
        lines.chunks(40).for_each(|chunk| daemon.send(chunk.join(&b'\n')));
        let finished = daemon.stop();
        // tallyd rejects only the lines with an empty name.
        assert_eq!(finished.sum("tallyd.lines", "value"), lines.len() as f64);
        assert_eq!(finished.sum("tallyd.lines_rejected", "value"), NAMELESS as f64);
        assert_valid(&directory);
    }
}

/// Asserts that promtool can read the page, and that node_exporter shows all of it without an error.
fn assert_valid(directory: &TextfileDirectory) {
    const LINT: i32 = 3;
    let copy = directory.copy();
    let (code, remarks) = promtool(&copy.file());
    assert!(matches!(code, Some(0 | LINT)), "{remarks}");
    let exporter = NodeExporter::start(copy.path());
    exporter.scrape().assert_contains(&copy.page());
    assert_eq!(exporter.errors(), "");
}

#[test]
#[ignore = "needs prometheus and prometheus-node-exporter; run make test"]
fn prometheus_behind_node_exporter_has_all_totals() {
    let directory = TextfileDirectory::new();
    let daemon = directory.start(&["flush.interval=200ms"]);
    wait_for(|| directory.read());
    let exporter = NodeExporter::start(directory.path());
    let prometheus = Server::prometheus(&[("textfile", exporter.address)]);
    for sent in 1..=5 {
        daemon.send("orders:10|c\ncheckout:15:40|ms");
        prometheus.wait_for("orders_total", |total| total == 10.0 * f64::from(sent));
    }
    prometheus.wait_for("checkout_seconds_sum", |sum| (sum - 5.0 * 0.055).abs() < 1e-9);
    // Prometheus does not count the first value of a counter as an increase.
    prometheus.wait_for("increase(orders_total[1m]) > bool 0", |grew| grew == 1.0);
    prometheus.wait_for("time() - tallyd_textfile_timestamp_seconds < bool 10", |is_fresh| is_fresh == 1.0);
}

#[test]
#[ignore = "needs promtool; run make test"]
fn each_alert_fires_when_it_should_and_not_otherwise() {
    let [rules, tests] = ["alerts.yml", "alerts_test.yml"].map(|file| format!("{ROOT}/dashboards/{file}"));
    for arguments in [["check", "rules", &rules], ["test", "rules", &tests]] {
        let mut command = Command::new("promtool");
        command.args(arguments).stdout(Stdio::piped()).stderr(Stdio::piped());
        let output = spawn(&mut command).wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    // Each alert fires in a test.
    let [alerts, tests] = [rules, tests].map(|file| fs::read_to_string(file).unwrap());
    let names: Vec<_> = alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert_eq!(names.len(), 19);
    for name in names {
        assert!(tests.contains(&format!("    alertname: {name}\n    exp_alerts:")), "{name}");
    }
}

/// A directory for the text file.
struct TextfileDirectory(TempDir);

impl TextfileDirectory {
    fn new() -> Self {
        Self(TempDir::new().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn file(&self) -> PathBuf {
        self.path().join("tallyd.prom")
    }

    /// Copies the current page to another directory.
    fn copy(&self) -> Self {
        let copy = Self::new();
        fs::copy(self.file(), copy.file()).unwrap();
        copy
    }

    fn settings(&self) -> [String; 2] {
        let path = format!("exporters.textfile.path={}", self.file().display());
        [path, "exporters.textfile.enabled=true".to_owned()]
    }

    /// Starts a tallyd that writes the file.
    fn start(&self, settings: &[&str]) -> Daemon {
        let own = self.settings();
        let settings: Vec<_> = own.iter().map(String::as_str).chain(settings.iter().copied()).collect();
        Daemon::start(&settings)
    }

    /// Returns the page, if tallyd has written one.
    fn read(&self) -> Option<Page> {
        match fs::read_to_string(self.file()) {
            Ok(text) => {
                assert_eq!(strict::check(&text), Ok(()), "{text}");
                Some(Page::parse(&text))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn page(&self) -> Page {
        self.read().unwrap()
    }
}

/// A node_exporter that reads one directory.
struct NodeExporter {
    _running: Running,
    address: SocketAddr,
    log: File,
}

impl NodeExporter {
    fn start(directory: &Path) -> Self {
        let log = tempfile::tempfile().unwrap();
        let (running, address) = start_on_free_port(|address| {
            let mut command = Command::new("prometheus-node-exporter");
            command
                .args(["--collector.disable-defaults", "--collector.textfile", "--collector.loadavg"])
                .arg("--log.level=error")
                .arg(format!("--collector.textfile.directory={}", directory.display()))
                .arg(format!("--web.listen-address={address}"))
                .stderr(log.try_clone().unwrap());
            command
        });
        Self { _running: running, address, log }
    }

    /// Returns the page that node_exporter shows.
    fn scrape(&self) -> Page {
        let response = get_unchunked(connect(self.address), "/metrics");
        assert_eq!(response.code, 200);
        let page = Page::parse(response.text());
        assert_eq!(page.value("node_textfile_scrape_error", &[]), Some(0.0), "{}", self.errors());
        page
    }

    /// Returns the errors that node_exporter logged.
    fn errors(&self) -> String {
        let mut log = &self.log;
        let mut text = String::new();
        log.rewind().unwrap();
        log.read_to_string(&mut text).unwrap();
        text
    }
}
