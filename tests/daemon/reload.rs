//! Tests reloads of the configuration: valid changes take effect, invalid ones are refused, and no sample is lost.

use std::fs;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::thread;

use tallyd_harness::http::get;
use tallyd_harness::meanwhile::{SetOnDrop, send_until};
use tallyd_harness::{Daemon, HTTP, wait_until};
use tempfile::TempDir;

/// A configuration file that a test changes.
struct Configuration(TempDir);

impl Configuration {
    fn new(text: &str) -> Self {
        let own = Self(TempDir::new().unwrap());
        own.write(text);
        own
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("tallyd.toml")
    }

    fn write(&self, text: &str) {
        fs::write(self.file(), text).unwrap();
    }

    /// Replaces the text, makes tallyd reload it, and waits until tallyd reports the outcome.
    fn change(&self, daemon: &mut Daemon, text: &str, is_valid: bool) {
        self.write(text);
        daemon.signal("HUP");
        let outcome = if is_valid { "taken" } else { "refused" };
        daemon.wait_for_next(|row| {
            row["name"] == "tallyd.config_reloads" && row["tags"]["outcome"] == outcome && row["value"] == 1.0
        });
    }
}

#[test]
fn reload_changes_limits_interval_telemetry_and_log_level() {
    let configuration = Configuration::new("flush.interval = \"1h\"\naggregation.max_series = 2\n");
    let log = configuration.0.path().join("log");
    let log_file = format!("logging.file_path={}", log.display());
    let socket = format!("listeners.unix_stream.path={}", configuration.0.path().join("socket").display());
    let settings = [
        &*log_file,
        r#"logging.output=["console","file"]"#,
        "listeners.unix_stream.enabled=true",
        "listeners.unix_stream.framing=lines",
        &socket,
    ];
    let mut daemon = Daemon::start_from(&configuration.file(), &settings);
    let mut client = UnixStream::connect(daemon.address_of("unix_stream")).unwrap();
    client.write_all(b"a:1|c\nb:1|c\nc:1|c\n").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "tallyd has read everything");
    // Without the new interval, the next row would come at the end of the hour.
    let quick = "flush.interval = \"3s\"\naggregation.max_series = 3\nlogging.level = \"debug\"\n";
    configuration.change(&mut daemon, quick, true);
    // In the interval after this, a and b would be idle, and make room for d.
    daemon.send("c:1|c\nd:1|c");
    daemon.wait_for(|row| row["name"] == "c");
    wait_until(|| fs::read_to_string(&log).unwrap().contains("DEBUG flushed"));
    configuration.write("flush.interval = \"1h\"\ntelemetry.enabled = false\nlisteners.tcp.enabled = true\n");
    daemon.signal("HUP");
    wait_until(|| fs::read_to_string(&log).unwrap().contains("keys=\"listeners.tcp.enabled\""));
    let text = fs::read_to_string(&log).unwrap();
    let taken =
        "take effect keys=\"flush.interval, aggregation.max_series, telemetry.enabled, logging.level\"";
    assert!(text.contains(taken), "{text}");
    daemon.send("a:1|c");
    let finished = daemon.stop();
    let [a, c, refused] = ["a", "c", "tallyd.series_refused"].map(|name| finished.sum(name, "value"));
    assert_eq!((a, c), (2.0, 1.0));
    assert_eq!(refused, 2.0, "c before the reload and d after it");
    assert_eq!(finished.rows.last().unwrap()["name"], "a", "without telemetry, no row comes after it");
}

#[test]
fn reload_changes_the_exposition_and_counters_continue() {
    let start = "flush = { interval = \"100ms\", percentiles = [50] }\n";
    let configuration = Configuration::new(start);
    let mut daemon = Daemon::start_from(&configuration.file(), &HTTP);
    let address = daemon.http_address();
    let wait_for_line = |line: &str| {
        wait_until(|| get(address, "/metrics").text().lines().any(|other| other == line));
    };
    daemon.send("hits:1|c\nwait:10|ms");
    wait_for_line("wait_seconds_count 1");
    let histogram = "exporters.prometheus = { timings = \"histogram\", buckets = [0.01, 1] }\n";
    configuration.change(&mut daemon, &[start, histogram].concat(), true);
    daemon.send("hits:1|c\nwait:10:20|ms");
    wait_for_line("wait_seconds_bucket{le=\"0.01\"} 1");
    wait_for_line("hits_total 2");
    // tallyd refuses the whole configuration if one part is invalid.
    let wrong = "exporters.prometheus = { timings = \"summary\", buckets = [2, 1] }\n";
    configuration.change(&mut daemon, &[start, wrong].concat(), false);
    daemon.send("hits:1|c\nwait:20|ms");
    wait_for_line("hits_total 3");
    wait_for_line("wait_seconds_bucket{le=\"1\"} 3");
    let finished = daemon.stop();
    assert!(finished.log.contains("tallyd.toml:2: exporters.prometheus.buckets"), "{}", finished.log);
}

#[test]
fn reload_refuses_empty_files() {
    let configuration = Configuration::new("flush.interval = \"100ms\"\n");
    let mut daemon = Daemon::start_from(&configuration.file(), &[]);
    for empty in ["", "\n \n"] {
        configuration.change(&mut daemon, empty, false);
    }
    let rules = configuration.0.path().join("rules.yml");
    fs::write(&rules, "").unwrap();
    let with_rules = format!("flush.interval = \"100ms\"\nmapping.mapping_file = \"{}\"\n", rules.display());
    configuration.change(&mut daemon, &with_rules, false);
    // The interval of 100 ms is still in force, so this row comes soon.
    configuration.change(&mut daemon, "flush.interval = \"100ms\"\n# A comment.\n", true);
    let finished = daemon.stop();
    for file in ["tallyd.toml", "rules.yml"] {
        assert!(finished.log.contains(&format!("{file}: the file is empty")), "{}", finished.log);
    }
}

#[test]
fn repeated_reloads_lose_no_sample() {
    let text = |times: usize| {
        let [interval, limit] = if times.is_multiple_of(2) { ["100ms", "1000"] } else { ["250ms", "2000"] };
        let rule = format!("[[mapping.mappings]]\nmatch = \"other.*\"\nname = \"other_{times}\"\n");
        format!("flush.interval = \"{interval}\"\naggregation.max_series = {limit}\n{rule}")
    };
    let configuration = Configuration::new(&text(0));
    let path = configuration.0.path().join("tallyd.sock");
    let address = format!("listeners.unix_datagram.path={}", path.display());
    let mut daemon =
        Daemon::start_from(&configuration.file(), &["listeners.unix_datagram.enabled=true", &address]);
    let finished = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let stream = scope.spawn(|| send_until(&path, &finished));
        let end = SetOnDrop(&finished);
        for times in 1..=10 {
            configuration.change(&mut daemon, &text(times), true);
        }
        drop(end);
        stream.join().unwrap()
    });
    let finished = daemon.stop();
    assert_eq!(finished.sum("meanwhile", "value"), sent);
    assert!(sent > 100.0, "{sent}");
}
