//! Tests the state that outlives the process: what continues after a stop and after a crash, and what is set aside.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use tallyd_harness::http::request;
use tallyd_harness::process::{stderr, tallyd};
use tallyd_harness::{Daemon, HTTP, Page, scraped};
use tempfile::TempDir;

/// The directory of a state file.
struct Site {
    directory: TempDir,
}

impl Site {
    fn new() -> Self {
        Self { directory: TempDir::new().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Returns the setting for the state file.
    fn state(&self) -> String {
        format!("state.path={}", self.path("state").display())
    }

    /// Starts tallyd with an endpoint. Its interval ends only at a stop, unless `settings` say otherwise.
    fn start(&self, settings: &[&str]) -> Daemon {
        Daemon::start(&[&HTTP[..], &[self.state().as_str()], settings].concat())
    }
}

/// Returns the page in OpenMetrics, which has the times when totals began.
fn openmetrics(daemon: &Daemon) -> String {
    let accept = "Accept: application/openmetrics-text;version=1.0.0";
    request(daemon.http_address(), "GET", "/metrics", &[accept]).text().to_owned()
}

/// Returns the lines that contain `_created`.
fn created_lines(page: &str) -> Vec<&str> {
    page.lines().filter(|line| line.contains("_created") && !line.starts_with("tallyd_")).collect()
}

#[test]
fn gauges_totals_and_their_start_continue_after_a_stop() {
    let site = Site::new();
    let lines = "g:100|g\ng:+10|g\nc:5|c\nt:20|ms\nt:40|ms\ns:a|s";
    let first = site.start(&[]);
    first.send(lines);
    assert!(first.stop().status.success());
    // The page shows what Prometheus has not scraped yet, even before the first interval ends.
    let second = site.start(&[]);
    scraped::scrape(second.http_address()).assert_shows(&[
        ("g", &[], 110.0),
        ("c_total", &[], 5.0),
        ("t_seconds_count", &[], 2.0),
        ("t_seconds_sum", &[], 0.06),
        ("s", &[], 1.0),
        ("tallyd_lines_total", &[], 6.0),
    ]);
    let page = openmetrics(&second);
    let created = created_lines(&page);
    assert_eq!(created.len(), 2, "{page}");
    second.send("g:+5|g\nc:2|c\nt:40|ms");
    let finished = second.stop();
    assert!(finished.status.success(), "{}", finished.log);
    assert!(
        finished.log.contains("the state of an earlier tallyd was restored series=4 "),
        "{}",
        finished.log
    );
    assert_eq!(finished.sum("g", "value"), 115.0);
    let third = site.start(&[]);
    scraped::scrape(third.http_address()).assert_shows(&[
        ("g", &[], 115.0),
        ("c_total", &[], 7.0),
        ("t_seconds_count", &[], 3.0),
        ("t_seconds_sum", &[], 0.1),
        ("tallyd_lines_total", &[], 9.0),
    ]);
    assert_eq!(created_lines(&openmetrics(&third)), created);
    // A gauge without samples is still reported.
    assert_eq!(third.stop().sum("g", "value"), 115.0);
}

#[test]
fn samples_that_the_last_flush_lost_are_counted_by_the_next_tallyd() {
    let site = Site::new();
    let (pipe, counter) = (site.path("pipe"), "tallyd.samples_undelivered");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    // A full disk, and a console that hangs, because nothing reads the pipe.
    for console in ["/dev/full", pipe.to_str().unwrap()] {
        let console = format!("exporters.console.path={console}");
        let daemon = site.start(&[&console, "shutdown.timeout=100ms"]);
        daemon.send("c:5|c\nc:2|c\ng:1|g");
        assert!(!daemon.stop().status.success());
        assert_eq!(site.start(&[]).stop().sum(counter, "value"), 3.0, "{console}");
        assert_eq!(site.start(&[]).stop().sum(counter, "value"), 0.0, "the count is not added again");
    }
}

#[test]
fn the_text_file_continues_too() {
    let site = Site::new();
    let page = site.path("page.prom");
    let path = format!("exporters.textfile.path={}", page.display());
    for total in [5.0, 10.0] {
        let daemon = Daemon::start(&[&site.state(), "exporters.textfile.enabled=true", &path]);
        daemon.send("c:5|c");
        assert!(daemon.stop().status.success());
        Page::parse(&fs::read_to_string(&page).unwrap()).assert_shows(&[("c_total", &[], total)]);
    }
}

#[test]
fn histograms_continue_and_begin_again_if_their_buckets_change() {
    let site = Site::new();
    let start = |buckets: &str| site.start(&["exporters.prometheus.timings=histogram", buckets]);
    let counts = |daemon: Daemon| {
        daemon.send("h:1:5|h");
        daemon.stop();
        let daemon = start("exporters.prometheus.buckets=[2]");
        let page = scraped::scrape(daemon.http_address());
        daemon.stop();
        ["1", "2"].map(|bound| page.value("h_bucket", &[("le", bound)]))
    };
    assert_eq!(counts(start("exporters.prometheus.buckets=[2]")), [None, Some(1.0)]);
    assert_eq!(counts(start("exporters.prometheus.buckets=[2]")), [None, Some(2.0)]);
    assert_eq!(counts(start("exporters.prometheus.buckets=[1]")), [Some(1.0), None]);
}

#[test]
fn after_a_crash_gauges_continue_and_totals_begin_again() {
    let site = Site::new();
    let daemon = site.start(&["flush.interval=100ms", "state.interval=1s"]);
    daemon.send("g:7|g\nc:5|c");
    scraped::wait_for_value(daemon.http_address(), "c_total", 5.0);
    scraped::wait_for_state(daemon.http_address());
    daemon.signal("KILL");
    assert!(!daemon.wait().status.success());
    let daemon = site.start(&["flush.interval=100ms"]);
    daemon.send("g:+1|g\nc:2|c");
    // The total is that of this process, because Prometheus may have seen a later one than that in the file.
    scraped::wait_for_value(daemon.http_address(), "c_total", 2.0);
    scraped::scrape(daemon.http_address()).assert_shows(&[("g", &[], 8.0)]);
    let log = daemon.stop().log;
    assert!(log.contains("totals begin again, because the earlier tallyd did not stop normally"), "{log}");
    // That was a normal stop.
    let daemon = site.start(&[]);
    scraped::scrape(daemon.http_address()).assert_shows(&[("g", &[], 8.0), ("c_total", &[], 2.0)]);
}

#[test]
fn a_file_that_tallyd_did_not_write_is_set_aside_with_a_message() {
    let site = Site::new();
    fs::write(site.path("state"), "hello").unwrap();
    let daemon = site.start(&[]);
    daemon.send("c:5|c");
    let finished = daemon.stop();
    assert!(finished.status.success(), "{}", finished.log);
    let message = format!(
        "the state file {} is refused: tallyd did not write it; gauges and totals begin again, and the file is now {}\n",
        site.path("state").display(),
        site.path("state.refused").display()
    );
    assert!(finished.log.contains(&message), "{}", finished.log);
    assert_eq!(fs::read_to_string(site.path("state.refused")).unwrap(), "hello");
    scraped::scrape(site.start(&[]).http_address()).assert_shows(&[("c_total", &[], 5.0)]);
}

#[test]
fn a_full_disk_leaves_the_old_state_intact() {
    let site = Site::new();
    let first = site.start(&[]);
    first.send("g:7|g\nc:5|c");
    first.stop();
    let old = fs::read(site.path("state")).unwrap();
    // A file can have at most about a kilobyte.
    let limited = ["sh", "-c", "ulimit -f 1; exec \"$@\"", "sh"];
    let second = Daemon::start_in(&limited, &[&HTTP[..], &[site.state().as_str()]].concat());
    second.send("c:2|c");
    let finished = second.stop();
    assert_eq!(finished.status.code(), Some(1), "{}", finished.log);
    assert!(finished.log.contains("cannot write the state to "), "{}", finished.log);
    assert!(finished.log.contains("the state of the stop was not written: "), "{}", finished.log);
    assert_eq!(fs::read(site.path("state")).unwrap(), old);
    assert!(!site.path("state.new").exists());
    let third = site.start(&[]);
    // Prometheus may have seen the second total, so it must not see the first one again.
    assert_eq!(scraped::scrape(third.http_address()).value("c_total", &[]), None);
    assert_eq!(third.stop().sum("g", "value"), 7.0);
}

#[test]
fn two_tallyds_cannot_share_a_state_file() {
    let site = Site::new();
    let daemon = site.start(&[]);
    let output = tallyd(&["--set", &site.state(), "--set", "listeners.udp.bind=127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(1));
    let expected = format!("another tallyd uses the state file {}; ", site.path("state").display());
    assert!(stderr(&output).contains(&expected), "{}", stderr(&output));
    assert!(daemon.stop().status.success());
}
