//! Tests that the real InfluxDB stores what tallyd pushes: by the line protocol, and by remote write.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::process::{Command, Stdio};

use serde_json::Value;
use tallyd_harness::http::{connect, get_unchunked, try_get};
use tallyd_harness::process::Running;
use tallyd_harness::{Daemon, Document, wait_for, wait_for_ok, wait_until};
use tempfile::TempDir;

use crate::scrapers::{encode, start_when_ready};

/// InfluxDB with an empty database `d`.
struct InfluxDb {
    _running: Running,
    _directory: TempDir,
    address: SocketAddr,
}

/// A point: its columns, without those that it does not have.
type Point = BTreeMap<String, Value>;

impl InfluxDb {
    fn start() -> Self {
        let directory = TempDir::new().unwrap();
        let create = format!("/query?q={}", encode("CREATE DATABASE d"));
        let is_ready = |address| try_get(address, &create).is_some_and(|response| response.code == 200);
        let (running, address) = start_when_ready(
            |address| {
                let mut command = Command::new("influxd");
                for part in ["META_DIR", "DATA_DIR", "DATA_WAL_DIR"] {
                    command.env(format!("INFLUXDB_{part}"), directory.path().join(part));
                }
                command
                    .args(["run", "-config", "/dev/null"])
                    .env("INFLUXDB_BIND_ADDRESS", "127.0.0.1:0")
                    .env("INFLUXDB_HTTP_BIND_ADDRESS", address.to_string())
                    .env("INFLUXDB_REPORTING_DISABLED", "true")
                    .env("INFLUXDB_MONITOR_STORE_ENABLED", "false")
                    .stdout(Stdio::null())
                    .stderr(Stdio::null());
                command
            },
            is_ready,
        );
        Self { _running: running, _directory: directory, address }
    }

    /// Returns all points of a measurement, in the order of their time.
    fn points(&self, measurement: &str) -> Vec<Point> {
        self.ask(&format!("SELECT * FROM \"{measurement}\"")).pop().unwrap_or_default()
    }

    /// Returns the rows of each series that answers a query.
    fn ask(&self, query: &str) -> Vec<Vec<Point>> {
        let answer = get_unchunked(connect(self.address), &format!("/query?db=d&q={}", encode(query)));
        let answer: Value = serde_json::from_str(answer.text()).unwrap();
        let series = answer["results"][0]["series"].as_array().cloned().unwrap_or_default();
        let rows = |series: &Value| {
            let columns: Vec<_> =
                series["columns"].as_array().unwrap().iter().map(|column| column.as_str().unwrap()).collect();
            let row = |row: &Value| {
                let cells =
                    columns.iter().map(|column| (*column).to_owned()).zip(row.as_array().unwrap().clone());
                cells.filter(|(_, cell)| !cell.is_null()).collect()
            };
            series["values"].as_array().unwrap().iter().map(row).collect()
        };
        series.iter().map(rows).collect()
    }
}

/// Starts a tallyd that pushes to a server by the line protocol.
fn start(server: SocketAddr, more: &str) -> Daemon {
    let endpoint = format!("exporters.influxdb=[{{name=\"i\", url=\"http://{server}/write?db=d\", {more}}}]");
    Daemon::start(&[&endpoint, "flush.interval=100ms", "flush.percentiles=[50, 99.9]"])
}

#[test]
#[ignore = "needs influxdb; run make test"]
fn influxdb_stores_each_type_with_the_fields_of_telegraf() {
    let server = InfluxDb::start();
    let daemon = start(server.address, "tags={rack=\"7\"}");
    daemon.send(
        "api.hits:1|c|#env:a b,flag\napi.hits:2.5|c|#env:a b,flag\ng:-1.5|g\ns:a|s\ns:b|s\nt:10:20:30:40|ms\nh:1|h\nd:2|d",
    );
    let first = |measurement: &str| wait_for(|| server.points(measurement).into_iter().next());
    let hits = first("api_hits");
    assert_eq!((&hits["value"], &hits["metric_type"]), (&3.5.into(), &"counter".into()));
    assert_eq!((&hits["env"], &hits["flag"], &hits["rack"]), (&"a b".into(), &"true".into(), &"7".into()));
    assert!(hits.contains_key("host"), "{hits:?}");
    assert_eq!(first("g")["value"], -1.5);
    assert_eq!(first("s")["value"], 2);
    let t = first("t");
    let fields = ["count", "sum", "mean", "median", "lower", "upper", "50_percentile", "99.9_percentile"];
    assert_eq!(
        fields.map(|field| t[field].as_f64().unwrap()),
        [4.0, 100.0, 25.0, 25.0, 10.0, 40.0, 20.0, 40.0]
    );
    assert!((t["stddev"].as_f64().unwrap() - 125_f64.sqrt()).abs() < 1e-9, "{t:?}");
    // The documentation lists these fields, and no others.
    let table = Document::read("docs/influxdb.md").table("| StatsD | `metric_type` |");
    let timing = table.iter().find(|cells| cells[1] == "`timing`").unwrap();
    let documented: BTreeSet<_> = timing[2].split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let fields = t.keys().filter(|key| !["time", "host", "rack", "metric_type"].contains(&&***key));
    let stored: BTreeSet<_> = fields.map(|key| key.replace("99.9_", "90_").replace("50_", "90_")).collect();
    assert_eq!(stored, documented);
    for (measurement, kind) in [("h", "histogram"), ("d", "distribution")] {
        assert_eq!(first(measurement)["metric_type"], kind);
    }
}

#[test]
#[ignore = "needs influxdb; run make test"]
fn points_that_influxdb_refuses_are_counted_and_the_others_are_stored() {
    let server = InfluxDb::start();
    // Telegraf has written integers into this database.
    let integers = start(server.address, "integers=true, names=[\"count\"]");
    integers.send("count:2|c|@0.3");
    wait_until(|| server.points("count").first().is_some_and(|point| point["value"] == 7));
    assert!(integers.stop().status.success());
    let mut floats = start(server.address, "names=[\"count\", \"other\"]");
    floats.send("count:1|c\nother:1|c");
    wait_until(|| !server.points("other").is_empty());
    floats.wait_for_next(|row| row["name"] == "tallyd.points_refused" && row["value"].as_f64() > Some(0.0));
    let finished = floats.stop();
    assert!(finished.log.contains("field type conflict"), "{}", finished.log);
    assert_eq!(finished.sum("tallyd.points_refused", "value"), 1.0, "{}", finished.log);
    assert_eq!(server.points("count").len(), 1);
}

#[test]
#[ignore = "needs influxdb; run make test"]
fn influxdb_stores_totals_that_two_tallyds_push_by_remote_write() {
    let server = InfluxDb::start();
    let daemons = ["a", "b"].map(|host| {
        let endpoint = format!(
            "exporters.remote_write=[{{name=\"i\", url=\"http://{}/api/v1/prom/write?db=d\", native_histograms=false, labels={{instance=\"{host}\"}}}}]",
            server.address
        );
        Daemon::start(&[&endpoint, "flush.interval=100ms", "exporters.prometheus.timings=histogram"])
    });
    for _ in 0..3 {
        daemons.iter().for_each(|daemon| daemon.send("c:2|c\nt:10:20|ms"));
    }
    let sum_of_latest = |measurement: &str| {
        let latest = server.ask(&format!("SELECT last(value) AS value FROM \"{measurement}\" GROUP BY *"));
        latest.iter().map(|points| points[0]["value"].as_f64().unwrap()).sum::<f64>()
    };
    for (measurement, total) in [("c_total", 12.0), ("t_seconds_count", 12.0)] {
        wait_for_ok(|| {
            let sum = sum_of_latest(measurement);
            if sum == total { Ok(()) } else { Err(format!("{measurement}: {sum}")) }
        });
    }
    for daemon in daemons {
        let finished = daemon.stop();
        assert!(finished.status.success(), "{}", finished.log);
        assert_eq!(finished.sum("tallyd.points_refused", "value"), 0.0, "{}", finished.log);
    }
}
