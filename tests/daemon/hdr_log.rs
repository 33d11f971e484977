//! Tests the exporter `hdr_log`, and `tallyd merge`.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Output;

use serde_json::{Value, json};
use tallyd_harness::process::{stderr, stdout, tallyd_command};
use tallyd_harness::{Daemon, Finished, wait_until};
use tempfile::TempDir;

/// Starts a tallyd that writes a log.
fn start(path: &Path, settings: &[&str]) -> Daemon {
    let path = format!("exporters.hdr_log.path={}", path.display());
    Daemon::start(&[&["exporters.hdr_log.enabled=true", &path], settings].concat())
}

/// Writes a log of one interval with these lines.
fn write(path: &Path, lines: &[&str], settings: &[&str]) -> Finished {
    let daemon = start(path, settings);
    lines.iter().for_each(|line| daemon.send(line));
    let finished = daemon.stop();
    assert!(finished.status.success(), "{}", finished.log);
    finished
}

fn merge(arguments: &[&str]) -> Output {
    tallyd_command().arg("merge").args(arguments).output().unwrap()
}

/// Returns the series that `tallyd merge --json` prints.
fn merged(arguments: &[&str]) -> Vec<Value> {
    let output = merge(&[arguments, &["--json"]].concat());
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    let answer: Value = serde_json::from_str(stdout(&output)).unwrap();
    answer["series"].as_array().unwrap().clone()
}

fn files() -> (TempDir, [PathBuf; 2], [String; 2]) {
    let directory = TempDir::new().unwrap();
    let paths = ["web-1.hlog", "web-2.hlog"].map(|name| directory.path().join(name));
    let texts = paths.each_ref().map(|path| path.display().to_string());
    (directory, paths, texts)
}

/// Returns datagrams with these values of a series. `tail` follows each value.
fn datagrams(name: &str, tail: &str, values: impl Iterator<Item = f64>) -> Vec<String> {
    let lines: Vec<_> = values.map(|value| format!("{name}:{value}|{tail}")).collect();
    lines.chunks(20).map(|lines| lines.join("\n")).collect()
}

fn is_near(value: &Value, expected: f64, error: f64) -> bool {
    (value.as_f64().unwrap() - expected).abs() <= expected * error
}

#[test]
fn merged_logs_of_two_hosts_have_the_percentiles_of_all_values() {
    let (_directory, paths, texts) = files();
    for (path, odd) in paths.iter().zip([0, 1]) {
        let values = (0..200).map(|n| f64::from(2 * n + odd + 1));
        let lines = datagrams("request.time", "ms|#zone:b", values);
        write(path, &lines.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    }
    let series = merged(&[&texts[0], &texts[1]]);
    let [only] = &series[..] else { panic!("{series:?}") };
    assert_eq!(json!([only["type"], only["name"], only["unit"]]), json!(["timing", "request.time", "s"]));
    assert_eq!(json!([only["tags"]["zone"], only["count"], only["intervals"]]), json!(["b", 400, 2]));
    for (percentile, expected) in [("p50", 0.2), ("p90", 0.36), ("p99", 0.396), ("p99.9", 0.4)] {
        assert!(is_near(&only["percentiles"][percentile], expected, 1e-3), "{percentile}: {only}");
    }
    assert!(is_near(&only["max"], 0.4, 1e-3) && is_near(&only["mean"], 0.2005, 1e-3), "{only}");
}

#[test]
fn fraction_of_a_weight_is_carried_from_interval_to_interval() {
    let (_directory, [path, _], [text, _]) = files();
    let mut daemon = start(&path, &["flush.interval=100ms"]);
    for round in 1..=6 {
        daemon.send(format!("time:{round}|ms|@0.3"));
        daemon.wait_for_next(|row| row["name"] == "time");
    }
    daemon.stop();
    // Six samples at a rate of 0.3 stand for 20.
    let series = merged(&[&text]);
    assert_eq!(json!([series[0]["count"], series[0]["intervals"]]), json!([20, 6]));
}

#[test]
fn many_values_are_within_the_stated_error() {
    let (_directory, [path, _], [text, _]) = files();
    let lines = datagrams("size", "d", (1..=3000).map(|n| f64::from(n) * 0.0003));
    let lines: Vec<_> = lines.iter().map(String::as_str).collect();
    write(&path, &lines, &["listeners.udp.receive_buffer=8MiB"]);
    let log = fs::read_to_string(&path).unwrap();
    assert!(
        log.contains("#[Units: timing 1/1000000 s, histogram 1/1000000, distribution 1/1000000]\n"),
        "{log}"
    );
    assert!(log.contains("within 1.1 % if a series has more than 512 values"), "{log}");
    let series = merged(&[&text]);
    assert_eq!(json!([series[0]["unit"], series[0]["count"]]), json!(["", 3000]));
    for (percentile, expected) in [("p50", 0.45), ("p99", 0.891)] {
        assert!(is_near(&series[0]["percentiles"][percentile], expected, 0.011), "{}", series[0]);
    }
}

#[test]
fn values_that_do_not_fit_are_counted_by_reason_and_logged() {
    let (_directory, [path, _], [text, _]) = files();
    let finished = write(&path, &["a:-5:7|h\nb:1e15|d\nc:0.00000001|h|@0.5"], &[]);
    for (reason, count) in [("negative", 1.0), ("too_large", 1.0), ("too_small", 2.0), ("too_many", 0.0)] {
        assert!(finished.log.contains(&format!("reason=\"{reason}\"")) || count == 0.0, "{}", finished.log);
    }
    let counts: Vec<_> = merged(&[&text]).iter().map(|series| series["count"].clone()).collect();
    assert_eq!(counts, [2, 1, 2].map(Value::from), "nothing is missing");
}

#[test]
fn clamped_values_are_in_the_telemetry() {
    let (_directory, [path, _], _) = files();
    let mut daemon = start(&path, &["flush.interval=100ms"]);
    daemon.send("a:-5|h");
    daemon.wait_for_count("tallyd.hdr_log_clamped", ("reason", "negative"));
}

#[test]
fn log_that_is_off_leaves_no_trace() {
    let daemon = Daemon::start(&[]);
    daemon.send("a:5|ms");
    let finished = daemon.stop();
    let is_trace = |row: &Value| row["name"].as_str().unwrap().starts_with("tallyd.hdr_log");
    assert!(!finished.rows.iter().any(is_trace) && !finished.log.contains("hdr_log"), "{}", finished.log);
}

#[test]
fn restart_appends_after_an_incomplete_line() {
    let (_directory, [path, _], [text, _]) = files();
    write(&path, &["a:1|ms"], &[]);
    let whole = fs::read(&path).unwrap();
    OpenOptions::new().append(true).open(&path).unwrap().write_all(&whole[..whole.len() - 9]).unwrap();
    let torn = merge(&[&text]);
    assert_eq!(torn.status.code(), Some(2));
    assert!(stderr(&torn).contains("incomplete") && stdout(&torn).contains("timing"), "{torn:?}");
    let finished = write(&path, &["a:2|ms"], &[]);
    assert!(finished.log.contains("incomplete line"), "{}", finished.log);
    let series = merged(&[&text]);
    assert_eq!(json!([series[0]["count"], series[0]["intervals"]]), json!([2, 2]));
}

#[test]
fn files_are_rotated_and_the_oldest_ones_removed() {
    let (directory, [path, _], _) = files();
    let old = || {
        let names = fs::read_dir(directory.path()).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name != "web-1.hlog").collect();
        names.sort_unstable();
        names
    };
    // The least size takes many series.
    let settings = ["flush.interval=100ms", "exporters.hdr_log.max_size=64KiB", "exporters.hdr_log.keep=2"];
    let daemon = start(&path, &settings);
    let names: Vec<_> = (0..400).map(|n| format!("name.{n}:{n}|ms")).collect();
    let mut seen = Vec::new();
    wait_until(|| {
        names.chunks(20).for_each(|lines| daemon.send(lines.join("\n")));
        for name in old() {
            if !seen.contains(&name) {
                seen.push(name);
            }
        }
        seen.len() >= 4
    });
    assert!(daemon.stop().status.success());
    let old = old();
    assert_eq!(old.len(), 2, "{old:?}");
    assert!(old.iter().all(|name| name.starts_with("web-1.2") && name.ends_with("Z.hlog")), "{old:?}");
    let all: Vec<_> = old.iter().map(|name| directory.path().join(name).display().to_string()).collect();
    assert!(!merged(&all.iter().map(String::as_str).collect::<Vec<_>>()).is_empty());
}

#[test]
fn a_missing_directory_is_an_error_that_ends_when_it_is_created() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("logs/tallyd.hlog");
    let mut daemon = start(&path, &["flush.interval=100ms"]);
    daemon.wait_for_count("tallyd.export_errors", ("exporter", "hdr_log"));
    fs::create_dir(path.parent().unwrap()).unwrap();
    wait_until(|| path.exists());
    let finished = daemon.stop();
    assert!(finished.log.contains("create the directory") && finished.log.contains("exporting works again"));
}

#[test]
fn a_file_of_another_program_is_refused_and_stays() {
    let (_directory, [path, _], _) = files();
    fs::write(&path, "Dear diary").unwrap();
    let daemon = start(&path, &[]);
    daemon.send("a:1|ms");
    let finished = daemon.stop();
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.log.contains("it is not a log of tallyd; move it away"), "{}", finished.log);
    assert_eq!(fs::read_to_string(&path).unwrap(), "Dear diary");
}

#[test]
fn merge_groups_by_a_tag_and_selects_by_name_tag_and_time() {
    let (_directory, paths, [first, second]) = files();
    write(&paths[0], &["time:10|ms|#zone:a,path:x\ntime:20|ms|#zone:a,path:y\nsize:5|h"], &[]);
    write(&paths[1], &["time:30|ms|#zone:b,path:x\ntime:40|ms|#path:x"], &[]);
    let names = |arguments: &[&str]| {
        let series = merged(&[&[first.as_str(), &second], arguments].concat());
        let row = |series: &Value| {
            format!("{}{} {}", series["name"].as_str().unwrap(), series["tags"], series["count"])
        };
        series.iter().map(row).collect::<Vec<_>>()
    };
    assert_eq!(
        names(&["--by", "zone"]),
        ["size{} 1", "time{} 1", "time{\"zone\":\"a\"} 2", "time{\"zone\":\"b\"} 1"]
    );
    assert_eq!(
        names(&["--by", "path", "--match", "t*"]),
        ["time{\"path\":\"x\"} 3", "time{\"path\":\"y\"} 1"]
    );
    assert_eq!(names(&["--by", "none", "--tag", "zone:a"]), ["time{} 2"]);
    assert_eq!(names(&["--to", "2026-01-01T00:00:00Z"]), [""; 0]);
    assert_eq!(names(&["--from", "1e9", "--match", "size"]), ["size{} 1"]);
    let output = merge(&[&first, "--by", "zone", "--percentiles", "50,100"]);
    let table = stdout(&output);
    assert!(table.starts_with("TYPE       SERIES        COUNT  MEAN   P50  P100   MAX\n"), "{table}");
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(table.contains("\ntiming     time{zone:a}      2  15ms  10ms  20ms  20ms\n"), "{table}");
    let none = merge(&[&first, "--match", "other"]);
    assert_eq!((stdout(&none), none.status.code()), ("no interval matches\n", Some(0)));
}

#[test]
fn merge_prints_one_distribution_for_the_plotter() {
    let (_directory, [path, _], [text, _]) = files();
    let lines = datagrams("time", "ms", (1..=100).map(f64::from));
    write(&path, &lines.iter().map(String::as_str).collect::<Vec<_>>(), &[]);
    let output = merge(&[&text, "--hgrm"]);
    let hgrm = stdout(&output);
    let lines: Vec<_> = hgrm.lines().collect();
    assert_eq!(lines[0], "       Value     Percentile TotalCount 1/(1-Percentile)");
    assert!(lines.contains(&"      50.015 0.500000000000         50           2.00"), "{hgrm}");
    assert!(lines.contains(&"     100.031 1.000000000000        100"), "{hgrm}");
    assert_eq!(lines[lines.len() - 2], "#[Max     =      100.031, Total count    =          100]");
    let nothing = merge(&[&text, "--hgrm", "--match", "x"]);
    assert_eq!(nothing.status.code(), Some(1));
    assert!(stderr(&nothing).contains("no interval matches"));
}

#[test]
fn merge_names_bad_lines_and_missing_files_and_prints_the_rest() {
    let (_directory, paths, [first, second]) = files();
    write(&paths[0], &["time:10|ms"], &[]);
    let good = fs::read_to_string(&paths[0]).unwrap();
    let lines = good.lines().count();
    let damaged = good.lines().last().unwrap().replace("HIST", "GIST");
    fs::write(
        &paths[1],
        format!("{good}hello\n{damaged}\n{}", good.lines().last().unwrap().to_owned() + "\n"),
    )
    .unwrap();
    let output = merge(&[&second]);
    assert_eq!(output.status.code(), Some(2));
    let problems = stderr(&output);
    let [hello, gist] = [lines + 1, lines + 2].map(|line| format!("web-2.hlog:{line}: "));
    assert!(problems.contains(&hello) && problems.contains(&gist), "{problems}");
    assert!(stdout(&output).contains("timing  time        2"), "{}", stdout(&output));
    let missing = merge(&[&first, "/missing.hlog"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("/missing.hlog: cannot be read: No such file"));
    assert!(stdout(&missing).contains("timing  time        1"), "{}", stdout(&missing));
}

#[test]
fn logs_with_different_units_are_not_mixed() {
    let (_directory, paths, [first, second]) = files();
    write(&paths[0], &["size:10|h\ntime:1|ms"], &[]);
    write(&paths[1], &["size:20|h\ntime:2|ms"], &["exporters.hdr_log.scale=10"]);
    let output = merge(&[&first, &second, "--json"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("its unit is 1/10, and that of earlier lines of size is 1/1000000"));
    let answer: Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!(json!([answer["series"][0]["count"], answer["series"][1]["count"]]), json!([1, 2]));
}
