//! Tests that OpenTelemetry's own decoder and a real collector understand what tallyd pushes by OTLP.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread;

use serde_json::Value;
use tallyd_harness::http::free_address;
use tallyd_harness::process::{ROOT, Running};
use tallyd_harness::{Daemon, TIMEOUT, wait_until};
use tempfile::TempDir;

/// A server that decodes OTLP with OpenTelemetry's Python classes.
struct Decoder {
    _running: Running,
    address: SocketAddr,
    lines: Receiver<Value>,
    seen: Vec<Value>,
}

impl Decoder {
    /// Starts a decoder that rejects the points of these metrics.
    fn start(rejected: &[&str]) -> Self {
        let clients = format!("{ROOT}/tests/clients");
        let mut command = Command::new(format!("{clients}/.venv/bin/python"));
        command.arg(format!("{clients}/receive_otlp.py")).args(rejected).stdout(Stdio::piped());
        let mut running = Running::start(&mut command);
        let output = BufReader::new(running.0.stdout.take().unwrap());
        let (sender, lines) = channel();
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                if sender.send(serde_json::from_str(&line).unwrap()).is_err() {
                    break;
                }
            }
        });
        let first: Value = lines.recv_timeout(TIMEOUT).unwrap();
        let address = ([127, 0, 0, 1], first["port"].as_u64().unwrap() as u16).into();
        Self { _running: running, address, lines, seen: Vec::new() }
    }

    /// Waits for a point or a log record.
    fn wait_for(&mut self, is_match: impl Fn(&Value) -> bool) -> Value {
        if let Some(point) = self.seen.iter().find(|point| is_match(point)) {
            return point.clone();
        }
        loop {
            let point = self
                .lines
                .recv_timeout(TIMEOUT)
                .unwrap_or_else(|error| panic!("{error}; points: {:#?}", self.seen));
            self.seen.push(point.clone());
            if is_match(&point) {
                return point;
            }
        }
    }

    fn named(&mut self, name: &str) -> Value {
        self.wait_for(|point| point["name"] == name)
    }
}

fn start(collector: SocketAddr, temporality: &str, more: &[&str]) -> Daemon {
    let endpoint = format!(
        "exporters.otlp=[{{name=\"c\", url=\"http://{collector}\", temporality=\"{temporality}\", resource={{team=\"web\"}}}}]"
    );
    Daemon::start(&[&[&*endpoint], more].concat())
}

fn number(point: &Value, key: &str) -> f64 {
    point[key]
        .as_f64()
        .or_else(|| point[key].as_str()?.parse().ok())
        .unwrap_or_else(|| panic!("{key}: {point}"))
}

const LINES: &str =
    "c:2|c|#k:v\ng:-1.5|g\ns:a|s\ns:b|s\nt:10:20:30:40|ms\nt:1000|ms|@0.5\n_e{5,4}:title|text|t:error|#a:b";

/// Checks the points of [`LINES`].
fn assert_points(decoder: &mut Decoder, temporality: &str) {
    let c = decoder.named("c");
    assert_eq!((&c["data"], &c["as_double"]), (&"sum".into(), &2.0.into()), "{c}");
    assert_eq!((&c["is_monotonic"], &c["attributes"]["k"]), (&true.into(), &"v".into()));
    assert_eq!(c["temporality"], temporality);
    assert_eq!((&c["resource"]["team"], &c["resource"]["service.name"]), (&"web".into(), &"tallyd".into()));
    assert_eq!(c["scope"], "tallyd");
    assert!(number(&c, "start_time_unix_nano") < number(&c, "time_unix_nano"), "{c}");
    let g = decoder.named("g");
    assert_eq!((&g["data"], &g["as_double"]), (&"gauge".into(), &(-1.5).into()), "{g}");
    assert_eq!(decoder.named("s")["as_double"], 2.0);
    let event = decoder.wait_for(|record| record["data"] == "log");
    assert_eq!((&event["body"], &event["severity"]), (&"text".into(), &"ERROR".into()), "{event}");
    assert_eq!(
        (&event["attributes"]["event.name"], &event["attributes"]["a"]),
        (&"title".into(), &"b".into())
    );
}

#[test]
#[ignore = "needs opentelemetry-proto; run make test"]
fn python_decodes_each_type_with_either_temporality() {
    for (temporality, code) in
        [("delta", "AGGREGATION_TEMPORALITY_DELTA"), ("cumulative", "AGGREGATION_TEMPORALITY_CUMULATIVE")]
    {
        let mut decoder = Decoder::start(&[]);
        let daemon = start(decoder.address, temporality, &["exporters.prometheus.timings=native"]);
        daemon.send(LINES);
        let finished = daemon.stop();
        assert!(finished.status.success(), "{}", finished.log);
        assert_points(&mut decoder, code);
        let t = decoder.named("t");
        assert_eq!((&t["data"], &t["unit"]), (&"exponential_histogram".into(), &"s".into()), "{t}");
        assert_eq!((number(&t, "count"), number(&t, "sum")), (6.0, 2.1));
        assert_eq!((number(&t, "min"), number(&t, "max")), (0.01, 1.0));
        let (scale, offset) = (number(&t, "scale"), t["positive"]["offset"].as_f64().unwrap());
        // The first bucket holds 10 ms: its lower bound is below, and its upper bound is not.
        let bound = |index: f64| (index * (-scale).exp2()).exp2();
        assert!(bound(offset) < 0.01 && 0.01 <= bound(offset + 1.0), "{t}");
        let counts = t["positive"]["bucket_counts"].as_array().unwrap();
        assert_eq!(counts[0], "1");
        assert_eq!(counts.last().unwrap(), "2");
    }
}

#[test]
#[ignore = "needs opentelemetry-proto; run make test"]
fn distributions_are_summaries_or_classic_histograms_as_configured() {
    let mut decoder = Decoder::start(&[]);
    let rules = "mapping.mappings=[{match=\"h.*\", name=\"h\", observer_type=\"histogram\", histogram_options={buckets=[0.015, 0.05]}}]";
    let daemon = start(decoder.address, "delta", &[rules]);
    daemon.send("h.a:10:20:30:400|ms\nsummary:1:2:3:4|h");
    assert!(daemon.stop().status.success());
    let h = decoder.named("h");
    assert_eq!(h["data"], "histogram");
    assert_eq!(h["explicit_bounds"], serde_json::json!([0.015, 0.05]));
    assert_eq!(h["bucket_counts"], serde_json::json!(["1", "2", "1"]));
    let summary = decoder.named("summary");
    assert_eq!((&summary["data"], number(&summary, "count")), (&"summary".into(), 4.0));
    let quantiles = summary["quantile_values"].as_array().unwrap();
    assert_eq!((&quantiles[0]["quantile"], &quantiles[0]["value"]), (&0.5.into(), &2.0.into()));
}

#[test]
#[ignore = "needs opentelemetry-proto; run make test"]
fn cumulative_totals_grow_and_delta_values_do_not() {
    for (temporality, expected) in [("cumulative", [1.0, 3.0]), ("delta", [1.0, 2.0])] {
        let mut decoder = Decoder::start(&[]);
        let mut daemon = start(decoder.address, temporality, &["flush.interval=100ms"]);
        for increase in [1, 2] {
            daemon.send(format!("c:{increase}|c"));
            daemon.wait_for(|row| row["name"] == "c" && row["value"].as_f64() == Some(increase.into()));
        }
        for value in expected {
            decoder.wait_for(|point| point["name"] == "c" && point["as_double"] == value);
        }
        let starts: Vec<_> = decoder.seen.iter().filter(|point| point["name"] == "c").collect();
        let is_same_start =
            starts.iter().all(|point| point["start_time_unix_nano"] == starts[0]["start_time_unix_nano"]);
        assert_eq!(is_same_start, temporality == "cumulative", "{starts:#?}");
    }
}

#[test]
#[ignore = "needs opentelemetry-proto; run make test"]
fn points_that_a_collector_rejects_are_counted() {
    let mut decoder = Decoder::start(&["bad"]);
    let mut daemon = start(decoder.address, "delta", &["flush.interval=100ms"]);
    daemon.send("bad:1|c|#n:1\nbad:1|c|#n:2\ngood:1|c");
    decoder.named("good");
    daemon.wait_for_count("tallyd.points_refused", ("endpoint", "c"));
    let finished = daemon.stop();
    assert_eq!(finished.sum("tallyd.points_refused", "value"), 2.0);
    assert!(finished.log.contains("the test rejects them"), "{}", finished.log);
}

#[test]
#[ignore = "needs rotel; run make test"]
fn a_real_collector_passes_on_what_tallyd_pushes() {
    let mut decoder = Decoder::start(&[]);
    let directory = TempDir::new().unwrap();
    let [http, grpc] = [free_address(), free_address()];
    let site = Command::new(format!("{ROOT}/tests/clients/.venv/bin/python"))
        .args(["-c", "import rotel, os; print(os.path.dirname(rotel.__file__))"])
        .output()
        .unwrap();
    let mut command = Command::new(format!("{}/rotel-agent", String::from_utf8(site.stdout).unwrap().trim()));
    command
        .args(["start", "--exporter", "otlp", "--otlp-exporter-protocol", "http", "--batch-timeout", "100ms"])
        .args(["--otlp-exporter-endpoint", &format!("http://{}", decoder.address)])
        .args(["--otlp-http-endpoint", &http.to_string(), "--otlp-grpc-endpoint", &grpc.to_string()])
        .args(["--pid-file", directory.path().join("pid").to_str().unwrap()])
        .stdout(Stdio::null());
    let _rotel = Running::start(&mut command);
    wait_until(|| std::net::TcpStream::connect(http).is_ok());
    let daemon = start(http, "delta", &[]);
    daemon.send(LINES);
    let finished = daemon.stop();
    assert!(finished.status.success(), "{}", finished.log);
    assert_points(&mut decoder, "AGGREGATION_TEMPORALITY_DELTA");
    assert_eq!(number(&decoder.named("t"), "count"), 6.0);
}
