//! Tests the rows that tallyd writes: types, events, telemetry and intervals.

use std::io::Write;
use std::net::TcpStream;
use std::time::Instant;

use serde_json::{Value, json};
use tallyd_harness::http::get;
use tallyd_harness::{Daemon, scraped, wait_until};

#[test]
fn each_type_is_aggregated_and_written_as_documented() {
    let daemon = Daemon::start(&[]);
    daemon.send(
        "hits:1|c|#env:prod\nhits:4|c|@0.5|#env:prod\nqueue:5|g\nqueue:-2|g\nusers:a|s\nusers:b|s\nusers:a|s",
    );
    daemon.send("api.latency:1:2:3|ms\nsize:10|h\nsize:0.5|d");
    let finished = daemon.stop();
    assert!(finished.status.success());
    let row = |name: &str, kind: &str| {
        let mut row = without_time(finished.named(name).find(|row| row["type"] == kind).unwrap());
        if let Some(rate) = row.as_object_mut().unwrap().remove("rate") {
            assert!(rate.as_f64().unwrap() > 0.0);
        }
        row
    };
    assert_eq!(
        row("hits", "counter"),
        json!({"name":"hits","type":"counter","tags":{"env":"prod"},"value":9.0})
    );
    assert_eq!(row("queue", "gauge"), json!({"name":"queue","type":"gauge","tags":{},"value":3.0}));
    assert_eq!(row("users", "set"), json!({"name":"users","type":"set","tags":{},"value":2.0}));
    assert_eq!(
        row("api.latency", "timing"),
        json!({"name":"api.latency","type":"timing","tags":{},"count":3.0,"sum":6.0,"min":1.0,"max":3.0,"mean":2.0,
            "stddev":(2.0_f64/3.0).sqrt(),"p50":2.0,"p90":3.0,"p95":3.0,"p99":3.0,"p99.9":3.0})
    );
    assert_eq!(row("size", "histogram")["max"], 10.0);
    assert_eq!(row("size", "distribution")["max"], 0.5);
}

#[test]
fn telemetry_accounts_for_every_line_by_reason() {
    let daemon = Daemon::start(&["aggregation.max_series=2"]);
    daemon.send(
        "a:1|c\nb:1|c\nnew:1|c\nnew:1|c\na:x|c\na:1\n:1|c\na:1|zz\na:1|c|@0\na\x01:1|c\ntallyd.x:1|c\na:1|c|",
    );
    daemon.send("_e{2,1}:a|b\n_sc|a|4\na,k=v:1|c|#k:v\n_e{1,1}:a|b|p:low|t:error\n_sc|up|2|m:no");
    let finished = daemon.stop();
    let counter = |name: &str, tag: &str, value: &str| {
        let row = finished.named(name).find(|row| row["tags"][tag] == value).unwrap();
        row["value"].as_f64().unwrap()
    };
    assert_eq!(finished.sum("tallyd.lines", "value"), 17.0);
    assert_eq!(finished.sum("tallyd.lines_rejected", "value"), 9.0);
    for reason in [
        "bad_value",
        "missing_type",
        "empty_name",
        "unknown_type",
        "bad_rate",
        "bad_name",
        "mixed_tags",
        "bad_event",
        "bad_service_check",
    ] {
        assert_eq!(counter("tallyd.lines_rejected", "reason", reason), 1.0, "{reason}");
    }
    assert_eq!(counter("tallyd.samples", "type", "counter"), 3.0);
    // tallyd refuses two samples of `new`, and the service check.
    assert_eq!(counter("tallyd.series_refused", "reason", "max_series"), 3.0);
    assert_eq!(counter("tallyd.events", "alert_type", "error"), 1.0);
    assert_eq!(finished.sum("tallyd.events", "value"), 1.0);
    assert_eq!(finished.sum("tallyd.service_checks", "value"), 0.0);
    assert_eq!(counter("tallyd.lines_noted", "note", "message"), 1.0);
    assert_eq!(counter("tallyd.series_refused", "reason", "reserved_name"), 1.0);
    assert_eq!(counter("tallyd.lines_noted", "note", "empty_section"), 1.0);
    assert_eq!(counter("tallyd.series", "type", "counter"), 2.0);
    let beyond_limit = finished.log.lines().find(|line| line.contains("new (2)"));
    let beyond_limit = beyond_limit.unwrap_or_else(|| panic!("the log names no metric: {}", finished.log));
    assert!(!beyond_limit.contains("tallyd.x"), "max_series is not the reason: {beyond_limit}");
}

/// The victim has 2,000 new series. If a metric may have more than `max_series`, the victim has 500, which find room in
/// the reserve.
#[test]
fn client_with_a_new_tag_in_each_line_takes_no_room_of_others_and_is_named() {
    const CULPRIT: usize = 30_000;
    const VICTIM: usize = 2000;
    for (per_metric, series, limit) in [
        (0, VICTIM, "max_series_per_metric"),
        (5000, VICTIM, "max_series_per_metric"),
        (100_000, 500, "max_series"),
    ] {
        let daemon = Daemon::start(&[
            "aggregation.max_series=10_000",
            &format!("aggregation.max_series_per_metric={per_metric}"),
            "listeners.tcp.enabled=true",
            "listeners.tcp.bind=127.0.0.1:0",
        ]);
        let culprit = (0..CULPRIT).map(|number| format!("culprit:1|c|#request:{number}\n"));
        let victim = (0..VICTIM).map(|number| number % series);
        let victim = victim.map(|number| format!("victim.{}:1|c|#t:{number}\n", number / 20));
        // Both share a connection, so that the victim comes second.
        let mut connection = TcpStream::connect(daemon.address_of("tcp")).unwrap();
        connection.write_all(culprit.chain(victim).collect::<String>().as_bytes()).unwrap();
        drop(connection);
        let finished = daemon.stop();
        let is_overflow = |row: &&Value| row["tags"]["tallyd_overflow"] == "true";
        assert_eq!(finished.sum("culprit", "value"), CULPRIT as f64);
        assert_eq!(finished.named("culprit").filter(is_overflow).count(), 1);
        let victim = finished.rows.iter().filter(|row| row["name"].as_str().unwrap().starts_with("victim."));
        let victim: Vec<_> = victim.map(|row| row["value"].as_f64().unwrap()).collect();
        assert_eq!((victim.len(), victim.iter().sum::<f64>()), (series, VICTIM as f64));
        assert_eq!(finished.sum_of("tallyd.samples", ("type", "counter")), (CULPRIT + VICTIM) as f64);
        assert_eq!(finished.sum("tallyd.series_refused", "value"), 0.0);
        assert!(finished.sum_of("tallyd.samples_overflowed", ("limit", limit)) > 20_000.0);
        let taken = finished.sum_of("tallyd.top_series", ("name", "culprit"));
        assert_eq!(taken, finished.named("culprit").count() as f64);
        assert_eq!(finished.sum_of("tallyd.top_series_added", ("name", "culprit")), taken);
        assert!(finished.sum_of("tallyd.top_samples_excess", ("name", "culprit")) > 20_000.0);
        let message = finished.log.lines().find(|line| line.contains("in the overflow series")).unwrap();
        assert!(message.contains(" WARN ") && message.contains("names=\"culprit ("), "{message}");
        assert!(message.contains(&format!("most_series=\"culprit ({taken})")), "{message}");
    }
}

#[test]
fn names_in_telemetry_are_those_of_the_latest_interval() {
    let mut daemon = Daemon::start(&["flush.interval=100ms"]);
    let top = |list: &'static str, name: &'static str| {
        move |row: &Value| row["name"] == list && row["tags"]["name"] == name && row["value"] == 2.0
    };
    daemon.send("once:1|c\nfirst:1|c|#t:1\nfirst:1|c|#t:2");
    daemon.wait_for(top("tallyd.top_series_added", "first"));
    daemon.send("second:1|g|#t:1\nsecond:1|g|#t:2");
    daemon.wait_for(top("tallyd.top_series_added", "second"));
    let finished = daemon.stop();
    let rows = |list: &'static str, name: &'static str| {
        finished.named(list).filter(|row| row["tags"]["name"] == name).count()
    };
    // An interval may end between the two samples of a name.
    assert!(rows("tallyd.top_series_added", "first") <= 2);
    assert!(rows("tallyd.top_series", "first") >= rows("tallyd.top_series", "second"));
    assert_eq!(rows("tallyd.top_series", "once"), 0);
}

#[test]
fn events_and_service_checks_are_reported_and_counted() {
    let daemon = Daemon::start(&[]);
    daemon.send(
        "_e{6,8}:deploy|one\\ntwo|d:7|h:web-1|p:low|t:warning|s:jenkins|#env:prod,canary\n_e{5,0}:later|",
    );
    daemon.send("_sc|db.up|0|#env:prod\n_sc|db.up|2|h:web-1|m:no answer|#env:prod\n_sc|db.up|1|#env:prod");
    let finished = daemon.stop();
    let is_event = |row: &&Value| row["type"] == "event";
    let events: Vec<_> = finished.rows.iter().filter(is_event).map(without_time).collect();
    let event = |title: &str| {
        json!({"type":"event","title":title,"text":"","timestamp":null,"host":null,"priority":"normal",
        "alert_type":"info","aggregation_key":null,"source_type":null,"tags":{}})
    };
    let deploy = json!({"type":"event","title":"deploy","text":"one\ntwo","timestamp":7,"host":"web-1","priority":"low",
        "alert_type":"warning","aggregation_key":null,"source_type":"jenkins","tags":{"canary":"","env":"prod"}});
    assert_eq!(events, [event("later"), deploy]);
    let checks: Vec<_> = finished.named("service_check").map(without_time).collect();
    let check = |tags, value: f64| json!({"name":"service_check","type":"gauge","tags":tags,"value":value});
    assert_eq!(
        checks,
        [
            check(json!({"check":"db.up","env":"prod"}), 1.0),
            check(json!({"check":"db.up","env":"prod","host":"web-1"}), 2.0)
        ]
    );
    let counted = |name: &'static str| {
        finished
            .named(name)
            .filter(|row| row["value"] != 0.0)
            .map(|row| (row["tags"].clone(), row["value"].clone()))
    };
    assert_eq!(
        counted("tallyd.events").collect::<Vec<_>>(),
        [
            (json!({"alert_type":"info","priority":"normal"}), json!(1.0)),
            (json!({"alert_type":"warning","priority":"low"}), json!(1.0))
        ]
    );
    assert_eq!(
        counted("tallyd.service_checks").collect::<Vec<_>>(),
        ["critical", "ok", "warning"].map(|status| (json!({"status": status}), json!(1.0)))
    );
}

#[test]
fn events_beyond_the_buffer_are_counted_and_logged() {
    let daemon = Daemon::start(&["aggregation.event_buffer=1KiB"]);
    (0..100).for_each(|_| daemon.send("_e{1,1}:a|b"));
    let finished = daemon.stop();
    assert_eq!(finished.sum("tallyd.events", "value"), 100.0);
    let kept = finished.rows.iter().filter(|row| row["type"] == "event").count() as f64;
    assert!(kept > 0.0 && kept < 100.0, "{kept}");
    assert_eq!(finished.sum("tallyd.events_dropped", "value"), 100.0 - kept);
    assert!(finished.log.contains("aggregation.event_buffer"), "{}", finished.log);
}

#[test]
fn samples_that_change_nothing_are_counted_and_their_series_named() {
    let daemon = Daemon::start(&["aggregation.exact_values=10", "aggregation.max_name=64KiB"]);
    daemon.send("c:9007199254740992|c\ng:9007199254740992|g\nfew:1e300:1:1|ms");
    (0..1000).for_each(|_| daemon.send("c:1|c\ng:+1|g"));
    let many = ["many:1e300|h".to_owned(), vec!["many:1|h"; 1000].join("\n")].join("\n");
    daemon.send(many);
    daemon.send("poison:1|c|@1e-300\npoison:1|c|@1e-9\nlong:1e300|c");
    daemon.send(format!(
        "{}:1e300:1|c\nover:1e308:1e308|c\nfine:1e15:1|c\nsmall:1:1e300|c",
        "x".repeat(10_000)
    ));
    let finished = daemon.stop();
    assert_eq!(finished.sum("c", "value"), 9_007_199_254_740_992.0);
    let poison = finished.sum("poison", "value");
    assert!((poison / 1e9 - 1.0).abs() < 1e-9, "{poison}");
    assert_eq!(finished.sum_of("tallyd.lines_rejected", ("reason", "bad_rate")), 1.0);
    // The counter whose sum overflows loses a part of its second sample. The values of the timing are added up in
    // sorted order, so both small ones are lost in one addition.
    for (kind, expected) in [("counter", 1003.0), ("gauge", 1000.0), ("timing", 1.0)] {
        assert_eq!(finished.sum_of("tallyd.samples_absorbed", ("type", kind)), expected, "{kind}");
    }
    // Sums of many values are added up in lanes, and only one of them is large.
    let of_histogram = finished.sum_of("tallyd.samples_absorbed", ("type", "histogram"));
    assert!((1.0..=1000.0).contains(&of_histogram), "{of_histogram}");
    for series in ["c|c", "small|c", "g|g", "few|ms", "many|h", "over|c"] {
        assert_eq!(
            finished.log.matches(&format!("series=\"{series}\"")).count(),
            1,
            "{series}: {}",
            finished.log
        );
    }
    assert!(!finished.log.contains("fine|c") && finished.log.len() < 10_000, "{}", finished.log);
}

#[test]
fn percentiles_of_huge_values_are_within_the_error_of_digits() {
    let daemon = Daemon::start(&["aggregation.exact_values=10"]);
    let lines = |name: &str, scale: f64| {
        let values = (1..=1000).map(|n| format!("{:e}", f64::from(n) * scale)).collect::<Vec<_>>();
        format!("{name}:{}|d", values.join(":"))
    };
    for (name, scale) in [("bytes", 1e14), ("nanoseconds", 1.8e15), ("beyond", 1e30)] {
        daemon.send(lines(name, scale));
    }
    let finished = daemon.stop();
    let percentile = |name, key: &str| finished.named(name).next().unwrap()[key].as_f64().unwrap();
    for (name, scale) in [("bytes", 1e14), ("nanoseconds", 1.8e15)] {
        for (key, rank) in [("p50", 500.0), ("p99", 990.0)] {
            let (found, exact) = (percentile(name, key), rank * scale);
            assert!((found / exact - 1.0).abs() < 0.01, "{name} {key}: {found} for {exact}");
        }
    }
    assert_eq!(percentile("beyond", "p50"), percentile("beyond", "max"), "it lies beyond the range");
    assert_eq!(finished.sum("tallyd.values_clamped", "value"), 1000.0);
}

#[test]
fn each_interval_of_a_series_has_its_own_time() {
    let mut daemon = Daemon::start(&["flush.interval=250ms"]);
    daemon.send("g:1|g");
    daemon.wait_for(|row| row["name"] == "g");
    (0..4).for_each(|_| _ = daemon.wait_for_next(|row| row["name"] == "g"));
    let finished = daemon.stop();
    let times: Vec<_> = finished.named("g").map(|row| row["time"].as_str().unwrap()).collect();
    // The last one is the time of the stop.
    assert!(times.len() > 5 && times.is_sorted_by(|a, b| a != b), "{times:?}");
    assert!(times.iter().any(|time| time.len() == "2026-11-29T16:29:50.250Z".len()), "{times:?}");
}

#[test]
fn own_metrics_that_are_zero_have_no_row() {
    let daemon = Daemon::start(&[]);
    daemon.send("a:0|c\nb:0|g");
    let finished = daemon.stop();
    let is_zero = |row: &&Value| row["value"] == 0.0;
    let zeros: Vec<_> =
        finished.rows.iter().filter(is_zero).map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(zeros, ["a", "b"]);
}

/// A raw escape sequence would control the terminal that shows the page.
#[test]
fn page_has_no_hidden_characters_and_what_came_first_stays_on_it() {
    let (mut daemon, address) = scraped::start(&["flush.interval=100ms"]);
    daemon.send("lat.count:7|g\ndown:-1|c\nseen:1|c|#k:\u{1b}[31m\u{9b}2J\u{202e},empty:,none,:v");
    wait_until(|| get(address, "/metrics").text().contains("lat_count 7"));
    daemon.send("lat:1|h");
    daemon.wait_for_count("tallyd.series_quarantined", ("reason", "name_taken"));
    let page = get(address, "/metrics").text().to_owned();
    assert!(page.contains("lat_count 7\n") && !page.contains("TYPE lat "), "{page}");
    let expected = r#"seen_total{k="\\u{1b}[31m\\u{9b}2J\\u{202e}",none="true"} 1"#;
    assert!(page.contains(expected), "{page}");
    assert!(!page.contains(|character: char| character.is_control() && character != '\n'), "{page}");
    let finished = daemon.stop();
    let kept_off = |series: &str, reason: &str| {
        let is_line = |line: &&str| line.contains(&format!("series=\"{series}\"")) && line.contains(reason);
        finished.log.lines().filter(is_line).count()
    };
    assert_eq!(kept_off("down|c", "negative_increase"), 1, "{}", finished.log);
    assert_eq!(kept_off("lat|h", "name_taken"), 1, "{}", finished.log);
    assert_eq!(finished.sum_of("tallyd.lines_noted", ("note", "tag_without_key")), 1.0);
}

#[test]
fn settings_decide_which_tags_are_read() {
    let lines = "a,k=v:1|c|c:box\nb[k=v]:1|c\nd:1|c|#k:v\n_e{1,1}:e|f|c:box";
    let names_and_tags = |settings: &[&str]| {
        let daemon = Daemon::start(&[settings, &["telemetry.enabled=false"]].concat());
        daemon.send(lines);
        let rows = daemon.stop().rows;
        let name = |row: &Value| row["name"].as_str().or(row["title"].as_str()).map(str::to_owned);
        rows.iter().map(|row| json!([name(row), row["tags"]])).collect::<Vec<_>>()
    };
    let tags = json!({"k":"v"});
    let [a, b, d] = ["a", "b", "d"].map(|name| json!([name, tags]));
    assert_eq!(names_and_tags(&[]), [a, b, d.clone(), json!(["e", {}])]);
    let settings = [
        "protocol.dialects.influxdb=false",
        "protocol.dialects.signalfx=false",
        "protocol.container_id_tag=true",
    ];
    assert_eq!(
        names_and_tags(&settings),
        [
            json!(["a,k=v", {"container_id":"box"}]),
            json!(["b[k=v]", {}]),
            d,
            json!(["e", {"container_id":"box"}])
        ]
    );
}

/// Returns a row without its time and the length of its interval.
fn without_time(row: &Value) -> Value {
    let mut row = row.clone();
    let fields = row.as_object_mut().unwrap();
    assert!(fields.remove("time").unwrap().as_str().unwrap().ends_with('Z'));
    assert!(fields.remove("interval_s").unwrap().as_f64().unwrap() > 0.0);
    row
}

#[test]
fn telemetry_can_be_disabled() {
    let daemon = Daemon::start(&["telemetry.enabled=false"]);
    daemon.send("a:1|c");
    let finished = daemon.stop();
    let names: Vec<_> = finished.rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a"]);
}

#[test]
fn each_sample_is_in_exactly_one_interval_and_intervals_leave_no_gap() {
    let begin = Instant::now();
    let mut daemon = Daemon::start(&["flush.interval=1s"]);
    let started = Instant::now();
    daemon.send("a:1|c");
    daemon.wait_for(|row| row["name"] == "a");
    daemon.send("a:1|c");
    daemon.wait_for(|row| row["name"] == "tallyd.lines" && row["value"] == 1.0);
    let at_least = started.elapsed().as_secs_f64();
    let finished = daemon.stop();
    let at_most = begin.elapsed().as_secs_f64();
    assert_eq!(finished.sum("a", "value"), 2.0);
    // This row is in every interval, because its value is never 0.
    let intervals = finished.sum("tallyd.build_info", "interval_s");
    // Each row rounds the length of its interval to milliseconds.
    assert!((at_least - 0.01..at_most + 0.01).contains(&intervals), "{at_least} {intervals} {at_most}");
}
