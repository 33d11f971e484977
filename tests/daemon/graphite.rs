//! Tests that Graphite gets the numbers of statsd's own tests.

use std::collections::BTreeMap;

use serde_json::Value;
use tallyd_harness::fake::LineServer;
use tallyd_harness::{Daemon, wait_until};

/// Each row has the lines of an interval, and the numbers of a server.
const ROWS: &str = include_str!("../data/aggregates.jsonl");

/// The numbers that are compared, so that none gets lost.
const COMPARED: usize = 339;

/// The rows whose timers have sample rates. statsd uses these only for the count.
const SAMPLED: [&str; 2] = ["agg-statsd-17", "agg-statsd-62"];

/// Returns the name of a number that statsd's own tests compare. `None` means that tallyd does not send it, or that it depends on
/// the length of the interval.
fn graphite_name(id: &str, series: &str, kind: &str, statistic: &str) -> Option<String> {
    if statistic == "count_ps" || statistic == "rate" || statistic.starts_with("histogram") {
        return None;
    }
    Some(match kind {
        "counter" => format!("stats_counts.{id}.{series}"),
        "gauge" => format!("stats.gauges.{id}.{series}"),
        "set" => format!("stats.sets.{id}.{series}.{statistic}"),
        _ => format!("stats.timers.{id}.{series}.{statistic}"),
    })
}

#[test]
fn graphite_gets_the_numbers_of_statsds_own_tests() {
    let server = LineServer::start();
    let rows = ROWS.lines().map(|row| serde_json::from_str::<Value>(row).unwrap());
    let rows: Vec<_> = rows.filter(|row| row["peer"] == "statsd" && row["lines"].is_array()).collect();
    // Rows with the same thresholds share an endpoint.
    let mut endpoints = BTreeMap::<String, Vec<String>>::new();
    for row in &rows {
        let thresholds = match &row["config"]["percentThreshold"] {
            // tallyd refuses 0, with which statsd computes nothing.
            Value::Array(list) if list.iter().all(|percent| *percent != 0) => {
                row["config"]["percentThreshold"].to_string()
            }
            _ => "[]".to_owned(),
        };
        endpoints.entry(thresholds).or_default().push(format!("{}.*", row["id"].as_str().unwrap()));
    }
    let connections = endpoints.len();
    let endpoints = endpoints.iter().enumerate().map(|(index, (thresholds, names))| {
        let address = server.address;
        format!(
            "{{name=\"{index}\", address=\"{address}\", percent_threshold={thresholds}, names={names:?}}}"
        )
    });
    let endpoints = endpoints.collect::<Vec<_>>().join(", ");
    let daemon = Daemon::start(&[&format!("exporters.graphite=[{endpoints}]")]);
    for row in &rows {
        for line in row["lines"].as_array().unwrap() {
            daemon.send(format!("{}.{}", row["id"].as_str().unwrap(), line.as_str().unwrap()));
        }
    }
    let finished = daemon.stop();
    assert!(finished.status.success(), "{}", finished.log);
    wait_until(|| server.closed() == connections);
    let found: BTreeMap<_, _> = server
        .lines()
        .iter()
        .map(|line| {
            let [name, number, _] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            (name.to_owned(), number.parse::<f64>().unwrap())
        })
        .collect();
    let mut compared = 0;
    for row in &rows {
        let id = row["id"].as_str().unwrap();
        for expected in [&row["expect"], &row["computed"]].into_iter().filter_map(Value::as_array).flatten() {
            for (statistic, value) in expected["values"].as_object().unwrap() {
                let Some(value) = value.as_f64().filter(|_| !statistic.starts_with('#')) else { continue };
                if SAMPLED.contains(&id) && statistic != "count" {
                    continue;
                }
                let [name, kind] = ["name", "type"].map(|key| expected[key].as_str().unwrap());
                let Some(name) = graphite_name(id, name, kind, statistic) else { continue };
                let number = found.get(&name).unwrap_or_else(|| panic!("{name} is missing"));
                assert!(
                    (number - value).abs() <= 1e-9 * value.abs().max(1.0),
                    "{name}: {number}, statsd has {value}"
                );
                compared += 1;
            }
        }
    }
    assert_eq!(compared, COMPARED);
}

#[test]
fn a_series_whose_name_another_one_has_is_not_sent_but_counted() {
    let server = LineServer::start();
    let endpoint = format!("exporters.graphite=[{{name=\"g\", address=\"{}\"}}]", server.address);
    let mut daemon = Daemon::start(&[&endpoint, "flush.interval=100ms"]);
    // Graphite permits no space, and a timer and a histogram have the same names there.
    daemon.send("a b:1|c\na_b:2|c\nt:1|ms\nt:2|h");
    let row = daemon
        .wait_for(|row| row["name"] == "tallyd.series_quarantined" && row["value"].as_f64() > Some(0.0));
    assert_eq!(
        (&row["tags"]["exporter"], &row["tags"]["reason"]),
        (&"graphite".into(), &"duplicate_series".into())
    );
    // tallyd's own metrics have tags with both names, so there may be more.
    assert!(row["value"].as_f64() >= Some(2.0), "{row}");
    assert!(daemon.stop().status.success());
    let sums = server.lines().into_iter().filter(|line| line.starts_with("stats_counts.a_b "));
    assert_eq!(sums.count(), 1);
}
