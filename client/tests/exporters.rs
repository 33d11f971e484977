//! What calls become in each exporter.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

use std::os::unix::net::UnixDatagram;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use harness::Server;
use tallyd_client::{Config, Exporter, Metrics, MetricsCollector, time};

#[test]
fn each_call_is_a_line_with_the_tags_of_the_application_the_collector_and_the_call() {
    let server = Server::start();
    let config = server.config().prefix("cv").tag("env", "test").tag("team", "a");
    let metrics = Metrics::start(&config).unwrap();
    let parser = metrics.collector("Parser").with_tag("team", "b");
    parser.increment_counter("resumes", 2, &[("source", "upload")]);
    parser.record_gauge("queue", -3, &[]);
    parser.record_timing("time", Duration::from_micros(1500), &[]);
    parser.record_histogram("size", 0.25, &[]);
    parser.record_distribution("spread", 7_u8, &[("env", "prod")]);
    parser.record_set("users", "ann", &[]);
    assert_eq!(time!(parser, "block", { 1 + 1 }), 2);
    metrics.flush();
    let common = "|#env:test,team:b";
    for (name, expected) in [
        ("resumes", vec![format!("2|c{common},source:upload")]),
        ("queue", vec![format!("0|g{common}"), format!("-3|g{common}")]),
        ("time", vec![format!("1.5|ms{common}")]),
        ("size", vec![format!("0.25|h{common}")]),
        ("spread", vec!["7|d|#team:b,env:prod".to_owned()]),
        ("users", vec![format!("ann|s{common}")]),
    ] {
        assert_eq!(server.wait_for(&format!("cv.Parser.{name}"), expected.len()), expected);
    }
    assert_eq!(server.wait_for("cv.Parser.block", 1).len(), 1);
    assert_eq!(metrics.lost(), 0);
}

#[test]
fn without_being_configured_or_enabled_nothing_happens() {
    // No test of this file configures the metrics of the application.
    let library = MetricsCollector::new("Library");
    library.increment_counter("calls", 1, &[]);
    tallyd_client::flush();
    assert_eq!(tallyd_client::lost(), 0);

    let server = Server::start();
    let off = Metrics::start(&server.config().enabled(false)).unwrap();
    off.collector("Off").increment_counter("calls", 1, &[]);
    let on = server.metrics();
    on.collector("On").increment_counter("calls", 1, &[]);
    on.flush();
    server.wait_for("On.calls", 1);
    assert_eq!(server.of("Off.calls"), [""; 0]);
}

#[test]
fn samples_are_sent_by_themselves_after_the_interval_and_at_the_end() {
    let server = Server::start();
    let metrics = Metrics::start(&server.config().statsd_flush_interval(Duration::from_millis(10))).unwrap();
    metrics.collector("A").increment_counter("sent", 1, &[]);
    server.wait_for("A.sent", 1);
    let patient = Metrics::start(&server.config().statsd_flush_interval(Duration::from_hours(1))).unwrap();
    patient.collector("A").increment_counter("at_the_end", 1, &[]);
    drop(patient);
    server.wait_for("A.at_the_end", 1);
}

#[test]
fn what_cannot_be_sent_is_counted_and_sending_goes_on_once_somebody_listens() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tallyd.sock");
    let config = Config::new()
        .statsd_address(format!("unix://{}", path.display()))
        .statsd_flush_interval(Duration::from_hours(1));
    let metrics = Metrics::start(&config).unwrap();
    let collector = metrics.collector("A");
    let count = |times: u64| {
        (0..times).for_each(|_| collector.increment_counter("n", 1, &[]));
        metrics.flush();
    };
    count(10_000);
    assert_eq!(metrics.lost(), 10_000, "nobody listens");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    // Nobody reads: the kernel holds some datagrams, and no call waits for more room.
    count(100_000);
    let lost = metrics.lost() - 10_000;
    let mut received = 0;
    let mut datagram = vec![0; 65536];
    let mut read = || {
        while let Ok(length) = socket.recv(&mut datagram) {
            received += datagram[..length].split(|byte| *byte == b'\n').count() as u64;
        }
        received
    };
    assert_eq!(read() + lost, 100_000);
    assert!(lost > 0);
    count(5);
    assert_eq!(read() + lost, 100_005);
    drop(socket);
    count(3);
    assert_eq!(metrics.lost(), 10_000 + lost + 3, "nobody listens any more");
    collector.record_gauge("g", f64::NAN, &[]);
    assert_eq!(metrics.lost(), 10_000 + lost + 4, "what means nothing cannot be sent");
}

#[test]
fn a_host_that_is_not_known_fails_nothing_and_keeps_nobody_waiting() {
    let config = Config::new()
        .statsd_address("udp://no.such.host.invalid:8125")
        .exporters([Exporter::Statsd, Exporter::Console]);
    let metrics = Metrics::start(&config).unwrap();
    metrics.collector("A").increment_counter("n", 1, &[]);
    metrics.flush();
    assert_eq!(metrics.lost(), 1);
}

/// What is logged, by threads that were told to.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn the_console_has_a_structured_record_for_each_metric_whatever_becomes_of_others() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber =
        tracing_subscriber::fmt().json().flatten_event(true).with_writer(move || writer.clone()).finish();
    tracing::subscriber::with_default(subscriber, || {
        let config = Config::new()
            .exporters([Exporter::Statsd, Exporter::Console])
            .statsd_address("unix:///nonexistent/tallyd.sock")
            .tag("env", "test");
        let metrics = Metrics::start(&config).unwrap();
        let parser = metrics.collector("ResumeParser");
        parser.increment_counter("resumes", 3, &[("source", "upload")]);
        parser.record_set("users", "ann", &[]);
        metrics.flush();
    });
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    let records: Vec<serde_json::Value> =
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |message: &str| {
        records.iter().find(|record| record["message"] == message).unwrap_or_else(|| panic!("{text}"))
    };
    let resumes = of("METRIC: ResumeParser.resumes");
    for (field, expected) in [
        ("level", "INFO".into()),
        ("component", "ResumeParser".into()),
        ("name", "resumes".into()),
        ("kind", "counter".into()),
        ("value", 3.into()),
        ("rate", 1.0.into()),
        ("tags", serde_json::Value::from("env:test,source:upload")),
    ] {
        assert_eq!(resumes[field], expected, "{field} of {resumes}");
    }
    assert_eq!(of("METRIC: ResumeParser.users")["value"], "ann");
    assert_eq!(of("metrics cannot be sent and are dropped; the application goes on")["lost"], 2);
}
