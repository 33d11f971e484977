//! The exporters `statsd` and `console`, also when they cannot send.

use std::cell::RefCell;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use tallyd_client::{Config, Exporter, Metrics, MetricsCollector, time};

use crate::harness::{Server, TIMEOUT, log_of, losses, split_timing};

#[test]
fn call_becomes_a_line_with_the_tags_of_all_sources() {
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
fn disabled_metrics_send_nothing() {
    let server = Server::start();
    let off = Metrics::start(&server.config().enabled(false)).unwrap();
    off.collector("Off").increment_counter("calls", 1, &[]);
    let on = server.metrics();
    on.collector("On").increment_counter("calls", 1, &[]);
    on.flush();
    server.wait_for("On.calls", 1);
    assert_eq!(server.received("Off.calls"), [""; 0]);
}

#[test]
fn samples_are_sent_after_the_interval_and_at_the_end() {
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
fn lost_samples_are_counted_until_a_unix_socket_listens_again() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tallyd.sock");
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
    assert_eq!(metrics.lost(), 10_000, "no socket is bound yet");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_nonblocking(true).unwrap();
    // The test does not read the socket yet. The kernel holds some datagrams, and no call waits for room.
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
    assert_eq!(metrics.lost(), 10_000 + lost + 3, "the socket is closed again");
    collector.record_gauge("g", f64::NAN, &[]);
    collector.record_set("s", "", &[]);
    assert_eq!(metrics.lost(), 10_000 + lost + 5, "values that no server accepts are lost");
    metrics.flush();
    assert_eq!(metrics.lost(), 10_000 + lost + 5);
}

#[test]
fn lost_samples_are_counted_until_a_udp_port_listens_again() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap();
    let config = Config::new()
        .statsd_address(format!("udp://{address}"))
        .statsd_flush_interval(Duration::from_hours(1));
    let metrics = Metrics::start(&config).unwrap();
    let count = |times: u64| {
        (0..times).for_each(|_| metrics.collector("A").increment_counter("n", 1, &[]));
        metrics.flush();
    };
    let read = |socket: &UdpSocket| {
        let mut datagram = vec![0; 65536];
        let length = socket.recv(&mut datagram).unwrap();
        datagram[..length].split(|byte| *byte == b'\n').count()
    };
    count(3);
    assert_eq!((read(&socket), metrics.lost()), (3, 0));
    drop(socket);
    // The kernel may report a refused datagram only after it has sent the next one, and then it reports only one of them.
    for lost in (1_000..=10_000).step_by(1_000) {
        count(1_000);
        let deadline = Instant::now() + TIMEOUT;
        while metrics.lost() < lost {
            assert!(Instant::now() < deadline, "{} of {lost}", metrics.lost());
            thread::sleep(Duration::from_millis(1));
            metrics.flush();
        }
        assert_eq!(metrics.lost(), lost);
    }
    let socket = UdpSocket::bind(address).unwrap();
    count(5);
    assert_eq!((read(&socket), metrics.lost()), (5, 10_000));
}

#[test]
fn samples_of_many_threads_are_received_or_lost_and_gauges_stay_in_order() {
    const THREADS: u64 = 16;
    const CALLS: u64 = 5000;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tallyd.sock");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
    let metrics =
        Metrics::start(&Config::new().statsd_address(format!("unix://{}", path.display()))).unwrap();
    let is_done = AtomicBool::new(false);
    let (counted, gauged) = thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let (mut counted, mut gauged) = (0, Vec::new());
            let mut datagram = vec![0; 65536];
            loop {
                let Ok(length) = socket.recv(&mut datagram) else {
                    if is_done.load(Ordering::SeqCst) {
                        return (counted, gauged);
                    }
                    continue;
                };
                for line in std::str::from_utf8(&datagram[..length]).unwrap().lines() {
                    match line.strip_prefix("A.gauge:") {
                        Some(rest) => gauged.push(rest.strip_suffix("|g").unwrap().parse::<u64>().unwrap()),
                        None => counted += u64::from(line == "A.counter:1|c"),
                    }
                }
            }
        });
        let latest = Mutex::new(0);
        thread::scope(|scope| {
            for _ in 0..THREADS {
                let collector = metrics.collector("A");
                scope.spawn({
                    let latest = &latest;
                    move || {
                        for _ in 0..CALLS {
                            collector.increment_counter("counter", 1, &[]);
                            let mut latest = latest.lock().unwrap();
                            *latest += 1;
                            collector.record_gauge("gauge", *latest, &[]);
                        }
                    }
                });
            }
        });
        metrics.flush();
        is_done.store(true, Ordering::SeqCst);
        reader.join().unwrap()
    });
    assert_eq!(counted + gauged.len() as u64 + metrics.lost(), 2 * THREADS * CALLS);
    assert!(gauged.is_sorted(), "the last value that any thread set is sent last");
}

#[test]
fn datagram_holds_whole_lines_and_a_longer_line_is_sent_alone() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let config = Config::new().statsd_address(format!("udp://{}", socket.local_addr().unwrap()));
    let metrics = Metrics::start(&config).unwrap();
    let collector = metrics.collector("A");
    let long = "x".repeat(20_000);
    (0..1000).for_each(|_| collector.increment_counter("n", 1, &[]));
    collector.record_set("long", &long, &[]);
    collector.increment_counter("n", 1, &[]);
    collector.record_set("longer_than_any_datagram", &"x".repeat(70_000), &[]);
    metrics.flush();
    let mut datagram = vec![0; 65536];
    let (mut counted, mut alone) = (0, 0);
    while counted < 1001 || alone < 1 {
        let length = socket.recv(&mut datagram).unwrap();
        let text = std::str::from_utf8(&datagram[..length]).unwrap();
        if text == format!("A.long:{long}|s") {
            alone += 1;
        } else {
            assert!(length <= 8192 && text.lines().all(|line| line == "A.n:1|c"), "{text}");
            counted += text.lines().count();
        }
    }
    assert_eq!((counted, alone, metrics.lost()), (1001, 1, 1));
}

#[test]
fn sampling_sends_a_share_of_all_calls_except_gauges_and_sets() {
    let server = Server::start();
    let metrics = Metrics::start(&server.config().sample_rate(0.5)).unwrap();
    let collector = metrics.collector("A").with_sample_rate(0.5);
    let none = collector.clone().with_sample_rate(0.0);
    // The calls are so few that their lines fit into the server's receive buffer, even if its thread does not run
    // meanwhile.
    for _ in 0..300 {
        collector.increment_counter("counter", 1, &[]);
        collector.record_timing("timing", 1, &[]);
        collector.start_timer("timer", &[]).stop(&[]);
        collector.record_gauge("gauge", 1, &[]);
        collector.record_set("set", "ann", &[]);
        none.increment_counter("none", 1, &[]);
        none.record_gauge("gauge_of_none", 1, &[]);
    }
    metrics.flush();
    for name in ["A.gauge", "A.set", "A.gauge_of_none"] {
        server.wait_for(name, 300);
    }
    assert_eq!(server.received("A.none"), [""; 0]);
    for name in ["A.counter", "A.timing", "A.timer"] {
        let lines = server.received(name);
        // The client sends a quarter of 300 calls, which is 75 on average. Eight standard deviations are 60.
        assert!((15..135).contains(&lines.len()), "{name}: {}", lines.len());
        assert!(lines.iter().all(|line| line.ends_with("|@0.25")), "{lines:?}");
    }
}

#[test]
fn timer_records_when_dropped_or_stopped_but_not_when_cancelled() {
    let server = Server::start();
    let metrics = server.metrics();
    let collector = metrics.collector("A");
    let source = String::from("upload");
    let tags = [("source", source.as_str()), ("outcome", "unknown")];
    drop(collector.start_timer("dropped", &tags));
    collector.start_timer("stopped", &tags).stop(&[("outcome", "ok")]);
    collector.start_timer("cancelled", &tags).cancel();
    let fails = || -> Option<u8> {
        time!(collector, "left", &[("source", &source)], {
            None?;
            Some(1)
        })
    };
    assert_eq!(fails(), None);
    assert_eq!(time!(collector, &format!("made_{}", 1), source.len(),), 6);
    metrics.flush();
    for (name, tags) in [
        ("dropped", "|#source:upload,outcome:unknown"),
        ("stopped", "|#source:upload,outcome:ok"),
        ("left", "|#source:upload"),
        ("made_1", ""),
    ] {
        assert_eq!(split_timing(&server.wait_for(&format!("A.{name}"), 1)[0]).1, tags, "{name}");
    }
    assert_eq!(server.received("A.cancelled"), [""; 0]);
}

#[test]
fn ending_thread_can_still_record() {
    struct RecordOnDrop(MetricsCollector);
    impl Drop for RecordOnDrop {
        fn drop(&mut self) {
            self.0.increment_counter("ends", 1, &[]);
        }
    }
    thread_local! {
        static BEFORE: RefCell<Option<RecordOnDrop>> = const { RefCell::new(None) };
        static AFTER: RefCell<Option<RecordOnDrop>> = const { RefCell::new(None) };
    }
    let server = Server::start();
    let metrics = server.metrics();
    let collector = metrics.collector("A");
    let ending = || {
        // In any order of drops, one of the two is dropped after the crate's own thread-locals.
        BEFORE.set(Some(RecordOnDrop(collector.clone())));
        collector.increment_counter("ends", 1, &[]);
        AFTER.set(Some(RecordOnDrop(collector.clone())));
    };
    thread::scope(|scope| scope.spawn(ending).join().unwrap());
    metrics.flush();
    server.wait_for("A.ends", 3);
}

#[test]
fn unknown_host_neither_fails_nor_blocks_a_call() {
    let config = Config::new()
        .statsd_address("udp://no.such.host.invalid:8125")
        .exporters([Exporter::Statsd, Exporter::Console]);
    let metrics = Metrics::start(&config).unwrap();
    metrics.collector("A").increment_counter("n", 1, &[]);
    metrics.flush();
    assert_eq!(metrics.lost(), 1);
}

#[test]
fn invalid_sample_is_logged_even_without_an_exporter_that_sends() {
    let records = log_of(|| {
        let config = Config::new().exporters([Exporter::Console]);
        let metrics = Metrics::start(&config.statsd_flush_interval(Duration::from_hours(1))).unwrap();
        for _ in 0..3 {
            metrics.collector("A").record_gauge("ratio", f64::NAN, &[("env", "test")]);
            metrics.flush();
        }
    });
    let reason = "the value is not a finite number, or the name or the member of the set is empty";
    assert_eq!(losses(&records), [1, 2].map(|lost| (lost, "A.ratio|g|env:test", reason)));
}

#[test]
fn console_logs_each_sample_even_if_statsd_cannot_send() {
    let records = log_of(|| {
        let config = Config::new()
            .exporters([Exporter::Statsd, Exporter::Console])
            .statsd_address("unix:///nonexistent/tallyd.sock")
            .prefix("shop")
            .tag("env", "test");
        let metrics = Metrics::start(&config).unwrap();
        let parser = metrics.collector("ResumeParser");
        parser.increment_counter("resumes", 3, &[("source", "upload")]);
        parser.record_set("users", "a\nb", &[("a,b", "c|d")]);
        for _ in 0..50 {
            metrics.flush();
            parser.record_gauge("queue:length", 2.5, &[]);
            parser.record_gauge("queue:length", 2.5, &[]);
        }
    });
    let find = |message: &str| {
        records.iter().find(|record| record["message"] == message).unwrap_or_else(|| panic!("{records:?}"))
    };
    let resumes = find("METRIC: shop.ResumeParser.resumes");
    for (field, expected) in [
        ("level", "INFO".into()),
        ("component", "ResumeParser".into()),
        ("name", "resumes".into()),
        ("type", "counter".into()),
        ("value", 3.into()),
        ("rate", 1.0.into()),
        ("tags", serde_json::Value::from("env:test,source:upload")),
    ] {
        assert_eq!(resumes[field], expected, "{field} of {resumes}");
    }
    let users = find("METRIC: shop.ResumeParser.users");
    assert_eq!((&users["value"], &users["tags"]), (&"a\nb".into(), &"env:test,a_b:c_d".into()));
    assert_eq!(find("METRIC: shop.ResumeParser.queue_length")["value"], 2.5);
    let lost: Vec<_> = records.iter().filter_map(|record| record["lost"].as_u64()).collect();
    assert_eq!(lost, [2, 4, 8, 16, 32, 64], "a record for each power of two");
}
