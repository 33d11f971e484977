//! The recorder for the crate `metrics`, with the calls of an instrumented application.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use metrics::{
    Unit, counter, describe_histogram, gauge, histogram, set_global_recorder, with_local_recorder,
};
use tallyd_client::{Config, Exporter, Metrics};

use crate::harness::{Server, TIMEOUT, application_server, log_of, losses};

#[test]
fn calls_of_an_instrumented_application_become_lines() {
    let server = Server::start();
    let config = server.config().prefix("shop").tag("env", "test").tag("region", "us");
    let metrics = Metrics::start(&config.statsd_flush_interval(Duration::from_hours(1))).unwrap();
    with_local_recorder(&metrics.recorder(), || {
        describe_histogram!("request_duration_seconds", Unit::Seconds, "The time of a request.");
        for items in [1, 2] {
            counter!("orders", "region" => "eu").increment(items);
        }
        counter!("orders", "region" => "us").increment(u64::MAX);
        let queue = gauge!("queue.length");
        queue.set(5);
        queue.increment(2.5);
        queue.decrement(1);
        gauge!("balance").decrement(7);
        histogram!("request_duration_seconds").record(Duration::from_millis(250));
        histogram!("request_duration_seconds").record(0.5);
        histogram!("request_size", "method" => "GET").record_many(512, 2);
    });
    metrics.flush();
    for (name, expected) in [
        ("orders", &["18446744073709551615|c|#env:test,region:us", "3|c|#env:test,region:eu"][..]),
        ("queue.length", &["6.5|g|#env:test,region:us"]),
        ("balance", &["-7|g|#env:test,region:us", "0|g|#env:test,region:us"]),
        ("request_duration_seconds", &["0.25|h|#env:test,region:us", "0.5|h|#env:test,region:us"]),
        ("request_size", &["512|h|#env:test,region:us,method:GET"; 2]),
    ] {
        let mut lines = server.wait_for(&format!("shop.{name}"), expected.len());
        lines.sort();
        assert_eq!(lines, expected, "{name}");
    }
    assert_eq!(metrics.lost(), 0);
}

#[test]
fn negative_gauge_is_set_to_zero_first_in_the_same_datagram() {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let config = Config::new().statsd_address(socket.local_addr().unwrap().to_string());
    let metrics = Metrics::start(&config).unwrap();
    with_local_recorder(&metrics.recorder(), || gauge!("balance").set(-5));
    metrics.flush();
    let mut datagram = [0; 100];
    let length = socket.recv(&mut datagram).unwrap();
    assert_eq!(std::str::from_utf8(&datagram[..length]).unwrap(), "balance:0|g\nbalance:-5|g");
}

#[test]
fn absolute_value_of_a_counter_adds_only_its_excess() {
    let server = Server::start();
    let config = server.config().statsd_flush_interval(Duration::from_hours(1));
    let metrics = Metrics::start(&config).unwrap();
    let total = with_local_recorder(&metrics.recorder(), || counter!("external"));
    let mut expected = Vec::new();
    // Callers can report an older total after a newer one.
    for (value, increase) in [(10, Some("10|c")), (10, None), (7, None), (15, Some("5|c"))] {
        total.absolute(value);
        metrics.flush();
        expected.extend(increase);
    }
    total.increment(3);
    total.absolute(20);
    metrics.flush();
    expected.push("5|c");
    assert_eq!(server.wait_for("external", expected.len()), expected);
}

#[test]
fn character_of_a_name_or_label_that_would_break_a_line_becomes_an_underscore() {
    let server = Server::start();
    let metrics = server.metrics();
    let (key, value) = ("a:b|c,#d\n".to_owned(), "http://h:80/a|b,c\n".to_owned());
    with_local_recorder(&metrics.recorder(), || {
        counter!("http:requests|c@total\n", "route" => "/résumés/{id}", key => value).increment(1);
    });
    metrics.flush();
    let expected = "1|c|#route:/résumés/{id},a_b_c__d_:http://h:80/a_b_c_";
    assert_eq!(server.wait_for("http_requests_c_total_", 1), [expected]);
}

#[test]
fn each_call_behind_a_dropped_line_counts_as_lost() {
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let config =
        Config::new().statsd_address(closed.to_string()).statsd_flush_interval(Duration::from_hours(1));
    let metrics = Metrics::start(&config).unwrap();
    with_local_recorder(&metrics.recorder(), || {
        (0..1000).for_each(|_| counter!("orders").increment(5));
        (0..10).for_each(|value| gauge!("queue").set(value));
        (0..3).for_each(|value| histogram!("size").record(value));
        metrics.flush();
        // The value of the gauge replaced nine others, which no server would have shown either.
        assert_eq!(metrics.lost(), 1000 + 1 + 3);
        counter!("orders").increment(0);
        metrics.flush();
        assert_eq!(metrics.lost(), 1004, "nothing changed, so nothing was sent");
    });
}

#[test]
fn value_that_no_server_accepts_is_logged_and_counted() {
    let records = log_of(|| {
        let config = Config::new().exporters([Exporter::Console]).tag("env", "test");
        let metrics = Metrics::start(&config.statsd_flush_interval(Duration::from_hours(1))).unwrap();
        with_local_recorder(&metrics.recorder(), || {
            gauge!("ratio", "of" => "errors").set(f64::NAN);
            histogram!("size").record(1);
        });
        metrics.flush();
        assert_eq!(metrics.lost(), 1);
    });
    let reason = "the value is not a finite number, or the name or the member of the set is empty";
    assert_eq!(losses(&records), [(1, "ratio|g|env:test,of:errors", reason)]);
    assert!(records.iter().any(|record| record["message"] == "METRIC: size"), "{records:?}");
}

#[test]
fn increments_of_many_threads_add_up_while_others_flush() {
    const THREADS: u64 = 8;
    const CALLS: u64 = 100_000;
    let server = Server::start();
    let metrics = server.metrics();
    let recorder = metrics.recorder();
    let is_done = AtomicBool::new(false);
    thread::scope(|scope| {
        for name in ["flushed.here", "flushed.there"] {
            let (collector, metrics, server, is_done) = (metrics.collector(""), &metrics, &server, &is_done);
            scope.spawn(move || {
                // Each flush waits until the server has its lines, because too many of them would overflow the server's
                // receive buffer.
                for flushes in 1.. {
                    collector.increment_counter(name, 1, &[]);
                    metrics.flush();
                    server.wait_for(name, flushes);
                    if is_done.load(Ordering::SeqCst) {
                        break;
                    }
                }
            });
        }
        thread::scope(|scope| {
            for _ in 0..THREADS {
                scope.spawn(|| {
                    with_local_recorder(&recorder, || {
                        for _ in 0..CALLS {
                            counter!("calls").increment(2);
                            gauge!("level").increment(1);
                        }
                    });
                });
            }
        });
        is_done.store(true, Ordering::SeqCst);
    });
    let level = format!("{}|g", THREADS * CALLS);
    let sum = || -> u64 {
        let increases = server.received("calls");
        increases.iter().map(|line| line.strip_suffix("|c").unwrap().parse::<u64>().unwrap()).sum()
    };
    let deadline = Instant::now() + TIMEOUT;
    // A gauge that two threads flushed at once is corrected by the flush after them.
    while sum() < 2 * THREADS * CALLS || server.received("level").last() != Some(&level) {
        assert!(Instant::now() < deadline, "{} and {:?}", sum(), server.received("level").last());
        metrics.flush();
        thread::sleep(Duration::from_millis(2));
    }
    assert_eq!((sum(), metrics.lost()), (2 * THREADS * CALLS, 0));
}

#[test]
fn handle_that_outlives_recorder_and_exporters_still_sends() {
    let server = Server::start();
    let config = server.config().statsd_flush_interval(Duration::from_hours(1));
    let metrics = Metrics::start(&config).unwrap();
    let (calls, level) =
        with_local_recorder(&metrics.recorder(), || (counter!("late.calls"), gauge!("late.level")));
    calls.increment(1);
    drop(metrics);
    assert_eq!(server.wait_for("late.calls", 1), ["1|c"]);
    calls.increment(3);
    level.set(4);
    drop((calls, level));
    assert_eq!(server.wait_for("late.calls", 2), ["1|c", "3|c"]);
    assert_eq!(server.wait_for("late.level", 1), ["4|g"]);
}

#[test]
fn recorders_of_the_same_exporters_share_a_gauge() {
    let server = Server::start();
    let config = server.config().statsd_flush_interval(Duration::from_hours(1));
    let metrics = Metrics::start(&config).unwrap();
    let (one, other) = (metrics.recorder(), metrics.recorder());
    with_local_recorder(&one, || gauge!("shared", "a" => "1", "b" => "2").increment(1));
    with_local_recorder(&other, || gauge!("shared", "b" => "2", "a" => "1").increment(1));
    metrics.flush();
    assert_eq!(server.wait_for("shared", 1), ["2|g|#a:1,b:2"]);
}

#[test]
fn disabled_metrics_ignore_the_calls() {
    let metrics = Metrics::start(&Config::new().enabled(false)).unwrap();
    with_local_recorder(&metrics.recorder(), || {
        counter!("calls").increment(1);
        gauge!("level").set(f64::NAN);
        histogram!("size").record(1);
    });
    metrics.flush();
    assert_eq!(metrics.lost(), 0);
}

#[test]
fn second_recorder_of_the_application_is_refused_with_an_error() {
    let server = application_server();
    set_global_recorder(tallyd_client::recorder().unwrap()).unwrap();
    let error = set_global_recorder(tallyd_client::recorder().unwrap()).unwrap_err();
    assert!(error.to_string().contains("already"), "{error}");
    counter!("application.calls").increment(1);
    assert_eq!(server.wait_for("application.calls", 1), ["1|c|#env:test"]);
}

#[test]
fn repeated_call_allocates_nothing() {
    let server = Server::start();
    let config = server.config().statsd_flush_interval(Duration::from_hours(1));
    let metrics = Metrics::start(&config).unwrap();
    with_local_recorder(&metrics.recorder(), || {
        let call_all = || {
            counter!("calls", "source" => "upload").increment(1);
            gauge!("level").increment(1);
            histogram!("size", "source" => "upload").record(0.25);
        };
        (0..1000).for_each(|_| call_all());
        let counted = allocation_counter::measure(|| (0..1000).for_each(|_| call_all()));
        assert_eq!(counted.count_total, 0, "{counted:?}");
    });
}
