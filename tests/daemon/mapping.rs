//! Tests mapping rules in the real tallyd: the files of docs/mapping.md, samples, invalid files and reloads.

use std::fs;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use tallyd_harness::http::{get, request};
use tallyd_harness::process::{stderr, stdout, tallyd_command};
use tallyd_harness::{Daemon, Document, scraped};
use tempfile::TempDir;

/// Creates a directory with the files that docs/mapping.md shows.
fn files() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    Document::read("docs/mapping.md").write_files(directory.path());
    directory
}

fn tallyd_in(directory: &Path, arguments: &[&str]) -> Output {
    tallyd_command().current_dir(directory).args(arguments).output().unwrap()
}

#[test]
fn rules_mean_the_same_in_a_file_and_in_the_configuration() {
    let directory = files();
    let reports = ["with_file.toml", "with_rules.toml"].map(|config| {
        let arguments = ["--config", config, "check", "--dry-run", "lines.txt"];
        let output = tallyd_in(directory.path(), &arguments);
        // One of the lines is rejected.
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        stdout(&output).to_owned()
    });
    assert_eq!(reports[0], reports[1]);
    assert!(reports[0].contains("2  checkout.*.latency"), "{}", reports[0]);
}

#[test]
fn rules_rename_series_and_count_the_samples_that_they_drop() {
    let directory = files();
    let file = directory.path().join("statsd_mapping.yml");
    let daemon = Daemon::start(&[&format!("mapping.mapping_file={}", file.display())]);
    daemon.send(b"checkout.eu.latency:5|ms\ncheckout.us.latency:7|ms|#region:mars\ndebug.x:1|c\ndebug.x:2|c\nother:1|c");
    let finished = daemon.stop();
    let rows: Vec<_> = finished.rows.iter().map(|row| (row["name"].as_str().unwrap(), row)).collect();
    let of = |name: &str| rows.iter().filter(|row| row.0 == name).map(|row| row.1).collect::<Vec<_>>();
    let regions: Vec<_> = of("checkout_latency").iter().map(|row| row["tags"]["region"].clone()).collect();
    assert_eq!(regions, ["eu", "us"]);
    assert_eq!(of("other").len(), 1);
    assert!(rows.iter().all(|row| !row.0.starts_with("debug")));
    let dropped = of("tallyd.series_refused");
    let dropped: Vec<_> = dropped.iter().filter(|row| row["tags"]["reason"] == "mapping_drop").collect();
    assert_eq!(dropped[0]["value"], 2.0, "{dropped:?}");
}

#[test]
fn invalid_mapping_file_prevents_a_start_and_the_error_names_its_line() {
    let directory = files();
    fs::write(
        directory.path().join("statsd_mapping.yml"),
        "mappings:\n- match: a.*\n  name: a\n- match: a b\n  name: b\n",
    )
    .unwrap();
    for command in ["run", "check"] {
        let output = tallyd_in(directory.path(), &["--config", "with_file.toml", command]);
        assert_eq!(output.status.code(), Some(78));
        let error = stderr(&output);
        assert!(error.contains("statsd_mapping.yml:4: rule 2 (\"a b\"): "), "{error}");
    }
    let missing = tallyd_in(directory.path(), &["--set", "mapping.mapping_file=missing.yml", "check"]);
    let error = stderr(&missing);
    assert!(
        error.contains("missing.yml: cannot be read") && error.contains("mapping.mapping_file"),
        "{error}"
    );
}

#[test]
fn sighup_applies_new_rules_and_refuses_an_invalid_file_entirely() {
    let directory = files();
    let file = directory.path().join("rules.yml");
    let rules = |name: &str| fs::write(&file, format!("mappings: [{{match: a.*, name: {name}}}]")).unwrap();
    rules("first");
    let settings = [format!("mapping.mapping_file={}", file.display())];
    let mut daemon =
        Daemon::start(&[&settings[0], "flush.interval=100ms", "aggregation.expire_after.counter=1s"]);
    let mut sent = 0;
    let mut named = |daemon: &mut Daemon, name: &str| {
        // Samples of the open interval still get the old name.
        loop {
            daemon.send("a.b:1|c");
            sent += 1;
            let row =
                daemon.wait_for_next(|row| ["first", "second"].contains(&row["name"].as_str().unwrap()));
            if row["name"] == name {
                break;
            }
        }
    };
    let reload = |daemon: &mut Daemon, outcome: &str| {
        daemon.signal("HUP");
        let is_reload = |row: &Value| row["name"] == "tallyd.config_reloads" && row["value"] == 1.0;
        daemon.wait_for_next(|row| is_reload(row) && row["tags"]["outcome"] == outcome);
    };
    named(&mut daemon, "first");
    fs::write(&file, "mappings: [{match: a b, name: second}]").unwrap();
    reload(&mut daemon, "refused");
    named(&mut daemon, "first");
    rules("second");
    reload(&mut daemon, "taken");
    named(&mut daemon, "second");
    let finished = daemon.stop();
    let counted = finished.sum("first", "value") + finished.sum("second", "value");
    assert_eq!(counted, f64::from(sent), "no sample is lost");
    assert!(finished.log.contains("rule 1 (\"a b\")"), "{}", finished.log);
}

#[test]
fn http_client_can_reload_if_enabled_and_gets_the_outcome() {
    let directory = files();
    let file = directory.path().join("statsd_mapping.yml");
    let mapping = format!("mapping.mapping_file={}", file.display());
    let (closed, address) = scraped::start(&[&mapping]);
    let refused = request(address, "POST", "/-/reload", &[]);
    assert!(
        refused.code == 403 && refused.text().contains("exporters.prometheus.enable_reload"),
        "{refused:?}"
    );
    drop(closed);

    let (open, address) = scraped::start(&[&mapping, "exporters.prometheus.enable_reload=true"]);
    assert_eq!(get(address, "/-/reload").header("allow"), Some("post, put"));
    assert_eq!(request(address, "POST", "/-/reload", &[]).code, 200);
    fs::write(&file, "mappings: [{match: a b, name: a}]").unwrap();
    let failed = request(address, "PUT", "/-/reload", &[]);
    assert!(failed.code == 500 && failed.text().contains("rule 1 (\"a b\")"), "{failed:?}");
    let finished = open.stop();
    assert_eq!(finished.sum_of("tallyd.config_reloads", ("outcome", "refused")), 1.0);
}
