//! Reads the HDR log with HdrHistogram for Python, JavaScript and Java, and compares their percentiles with those of
//! `tallyd merge` and with the exact ones.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;
use tallyd_harness::Daemon;
use tallyd_harness::process::{stderr, stdout, tallyd_command};
use tempfile::TempDir;

use crate::shop::{node, python};

/// The percentiles that all programs compute.
const PERCENTILES: [f64; 5] = [50.0, 90.0, 95.0, 99.0, 99.9];

/// The error that the header of the log states for few values, and for half a unit.
const ERROR: f64 = 1e-3;

/// The number of intervals in which a host sends something.
const ROUNDS: u32 = 8;

/// A series that the test sends, and all its values.
struct Sent {
    /// The tag in the log.
    tag: &'static str,
    name: &'static str,
    /// What follows each value on the wire.
    tail: &'static str,
    /// The numbers of the log per unit of the values.
    scale: f64,
    /// The weight of each value.
    weight: f64,
    values: Vec<f64>,
}

/// Returns series of each type. Their values are far from each other at first, and near at the end, so that neighbours
/// differ by less than the error, however a program rounds a rank.
fn sent() -> [Sent; 4] {
    let curve = |count: u32, least: f64, growth: f64| -> Vec<f64> {
        (0..count).map(|n| least * growth.powf(f64::from(n) / f64::from(count))).collect()
    };
    let series = |tag, (name, tail), scale, weight, values| Sent { tag, name, tail, scale, weight, values };
    [
        series("timing:page.time;zone:b", ("page.time", "ms|#zone:b"), 1000.0, 1.0, curve(4000, 5.0, 40.0)),
        series("timing:sampled", ("sampled", "ms|@0.3"), 1000.0, 1.0 / 0.3, curve(4000, 1.0, 30.0)),
        series("histogram:size;path:/a%20b", ("size", "h|#path:/a b"), 1e6, 1.0, curve(2000, 1e3, 5.0)),
        series("distribution:seconds", ("seconds", "d"), 1e6, 1.0, curve(2000, 0.02, 6.0)),
    ]
}

impl Sent {
    /// Returns the exact value of a percentile, between the least and the largest value that it may be because of
    /// rounded ranks.
    ///
    /// The implementations round a rank in different ways, which moves it by at most one sample. If weights have
    /// fractions, each line of the log moves it by at most half a sample.
    fn exact(&self, percent: f64) -> [f64; 3] {
        let rank = (percent / 100.0 * self.values.len() as f64).ceil().max(1.0) as usize - 1;
        let lines = if self.weight.fract() == 0.0 { 0.0 } else { f64::from(ROUNDS) * 2.0 };
        let moved = ((1.0 + 0.5 * lines) / self.weight).ceil() as usize;
        let last = self.values.len() - 1;
        [rank.saturating_sub(moved), rank.min(last), (rank + moved).min(last)].map(|rank| self.values[rank])
    }

    fn assert_is_exact(&self, program: &str, percent: f64, number: f64) {
        let [below, exact, above] = self.exact(percent);
        let (value, unit) = (number / self.scale, 0.5 / self.scale);
        let range = below * (1.0 - ERROR) - unit..=above * (1.0 + ERROR) + unit;
        assert!(range.contains(&value), "{program}: p{percent} of {} is {value}, not {exact}", self.tag);
    }

    /// Returns the count of all samples, rounded.
    fn count(&self) -> f64 {
        (self.values.len() as f64 * self.weight).round()
    }
}

/// Two hosts write a log each, in several intervals of at most 512 values per series. Returns the logs, and one file with
/// both.
fn logs(directory: &Path) -> ([String; 2], String) {
    let sent = sent();
    let paths = ["web-1", "web-2"].map(|host| directory.join(format!("{host}.hlog")).display().to_string());
    for (host, path) in paths.iter().enumerate() {
        let path = format!("exporters.hdr_log.path={path}");
        let mut daemon = Daemon::start(&["exporters.hdr_log.enabled=true", &path, "flush.interval=100ms"]);
        for round in 0..ROUNDS as usize {
            for Sent { name, tail, values, .. } in &sent {
                // Each value goes to one host, in one of the rounds.
                let own: Vec<_> = values.iter().skip(round * 2 + host).step_by(2 * ROUNDS as usize).collect();
                for values in own.chunks(20) {
                    let lines: Vec<_> = values.iter().map(|value| format!("{name}:{value}|{tail}")).collect();
                    daemon.send(lines.join("\n"));
                }
            }
            daemon.send(format!("round.{round}:1|c"));
            daemon.wait_for(|row| row["name"] == format!("round.{round}"));
        }
        let finished = daemon.stop();
        assert!(finished.status.success(), "{}", finished.log);
        assert_eq!(finished.sum("tallyd.hdr_log_clamped", "value"), 0.0);
    }
    let both = directory.join("both.hlog").display().to_string();
    fs::write(&both, paths.iter().map(|path| fs::read_to_string(path).unwrap()).collect::<String>()).unwrap();
    (paths, both)
}

/// Returns what `tallyd merge --json` prints for a series.
fn merged(paths: &[String], sent: &Sent) -> Value {
    let percentiles = PERCENTILES.map(|percentile| percentile.to_string()).join(",");
    let arguments = ["merge", "--json", "--percentiles", &percentiles, "--match", sent.name];
    let output = tallyd_command().args(arguments).args(paths).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let answer: Value = serde_json::from_str(stdout(&output)).unwrap();
    answer["series"][0].clone()
}

/// Compares what a script prints about each series with `tallyd merge` and with the exact percentiles.
fn assert_agrees(program: &str, mut script: Command) {
    let directory = TempDir::new().unwrap();
    let (paths, both) = logs(directory.path());
    let output =
        script.arg(&both).args(PERCENTILES.map(|percentile| percentile.to_string())).output().unwrap();
    assert!(output.status.success(), "{}", stderr(&output));
    let read: Value = serde_json::from_str(stdout(&output)).unwrap();
    assert_eq!(read.as_object().unwrap().len(), sent().len(), "{read}");
    for sent in sent() {
        let (read, merged) = (&read[sent.tag], merged(&paths, &sent));
        // Each host and series carries less than half a sample when it stops.
        let count = read["count"].as_f64().unwrap();
        assert!((count - sent.count()).abs() <= 1.0, "{count}, not {}", sent.count());
        assert_eq!(merged["count"].as_f64(), Some(count));
        // Timings are in seconds in JSON, and in milliseconds on the wire.
        let unit = if sent.tag.starts_with("timing") { sent.scale * 1000.0 } else { sent.scale };
        let number = |value: &Value| (value.as_f64().unwrap() * unit).round();
        assert_eq!(read["max"].as_f64().unwrap(), number(&merged["max"]), "{program}: {}", sent.tag);
        for (index, percentile) in PERCENTILES.into_iter().enumerate() {
            let by_tallyd = number(&merged["percentiles"][format!("p{percentile}")]);
            let by_program = read["percentiles"][index].as_f64().unwrap();
            sent.assert_is_exact("tallyd", percentile, by_tallyd);
            sent.assert_is_exact(program, percentile, by_program);
            assert!(
                (by_tallyd / by_program - 1.0).abs() <= ERROR * 2.0,
                "p{percentile}: {by_tallyd}, {by_program}"
            );
        }
    }
}

#[test]
#[ignore = "needs Python with hdrhistogram from PyPI; run make test"]
fn hdr_log_reads_the_same_in_python() {
    assert_agrees("Python", python("read_hdr.py"));
}

#[test]
#[ignore = "needs Node with hdr-histogram-js from npm; run make test"]
fn hdr_log_reads_the_same_in_javascript() {
    assert_agrees("JavaScript", node("read_hdr.js"));
}

/// Reads the percentile distribution that HdrHistogram's plotter reads. Returns each value times `scale` with its
/// percentile, and the total count.
fn distribution(text: &str, scale: f64) -> (Vec<(f64, f64)>, f64) {
    let rows = text.lines().filter_map(|line| {
        let mut numbers = line.split_whitespace().map(str::parse::<f64>);
        Some((numbers.next()?.ok()? * scale, numbers.next()?.ok()? * 100.0))
    });
    let count = text.split("Total count    =").nth(1).unwrap().split(']').next().unwrap();
    (rows.collect(), count.trim().parse().unwrap())
}

#[test]
#[ignore = "needs libhdrhistogram-java and a Java runtime; run make test"]
fn hdr_log_reads_the_same_in_java_and_has_the_same_distribution_for_the_plotter() {
    let directory = TempDir::new().unwrap();
    let (paths, both) = logs(directory.path());
    for sent in sent() {
        let java = Command::new("java")
            .args(["-cp", "/usr/share/java/hdrhistogram.jar", "org.HdrHistogram.HistogramLogProcessor"])
            .args(["-i", &both, "-tag", sent.tag, "-outputValueUnitRatio", "1"])
            .output()
            .unwrap();
        assert!(java.status.success(), "{}", stderr(&java));
        let tallyd =
            tallyd_command().args(["merge", "--hgrm", "--match", sent.name]).args(&paths).output().unwrap();
        assert!(tallyd.status.success(), "{}", stderr(&tallyd));
        // tallyd prints timings in milliseconds, and Java prints the numbers of the log.
        let (by_java, of_java) = distribution(stdout(&java), 1.0);
        let (by_tallyd, of_tallyd) = distribution(stdout(&tallyd), sent.scale);
        assert!((of_java - sent.count()).abs() <= 1.0, "{of_java}, not {}", sent.count());
        assert_eq!(of_java, of_tallyd);
        assert!(by_java.len() > 30, "{}", stdout(&java));
        for (program, rows) in [("Java", &by_java), ("tallyd", &by_tallyd)] {
            for &(value, percentile) in rows {
                sent.assert_is_exact(program, percentile, value);
            }
        }
        // Both stop once all values are counted, which may be a step apart.
        let steps = by_java.len().min(by_tallyd.len()) - 1;
        assert!(by_java.len().abs_diff(by_tallyd.len()) <= 2);
        for (of_java, of_tallyd) in by_java[..steps].iter().zip(&by_tallyd) {
            assert!((of_java.1 - of_tallyd.1).abs() < 1e-9, "{of_java:?} {of_tallyd:?}");
            assert!((of_java.0 / of_tallyd.0 - 1.0).abs() <= ERROR * 2.0, "{of_java:?} {of_tallyd:?}");
        }
    }
}
