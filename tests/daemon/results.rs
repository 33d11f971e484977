//! The real binary, real sockets, real files, real signals.

mod harness;

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use harness::{Daemon, PATIENCE};
use serde_json::json;

fn tallyd(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_tallyd")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Waits until `fact` holds.
fn wait_until(what: &str, mut fact: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !fact() {
        assert!(Instant::now() < deadline, "not in {PATIENCE:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn every_type_is_aggregated_and_written_in_the_documented_form() {
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
fn a_stop_in_the_middle_of_a_stream_loses_nothing_that_was_sent_before_it() {
    const MOST: u64 = 5_000_000;
    let daemon = Daemon::start(&["listeners.udp.receivers=2"]);
    let address = daemon.address;
    let sent = AtomicU64::new(0);
    let stopped = AtomicBool::new(false);
    let stream = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        while !stopped.load(Ordering::SeqCst) && sent.load(Ordering::SeqCst) < MOST {
            socket.send_to(b"a:1|c\nb:1|ms", address).unwrap();
            sent.fetch_add(1, Ordering::SeqCst);
        }
    };
    let (before, finished) = std::thread::scope(|scope| {
        scope.spawn(stream);
        scope.spawn(stream);
        wait_until("the stream runs", || sent.load(Ordering::SeqCst) > 20_000);
        let before = sent.load(Ordering::SeqCst);
        let finished = daemon.stop();
        stopped.store(true, Ordering::SeqCst);
        (before, finished)
    });
    assert!(finished.status.success(), "{}", finished.log);
    let received = finished.sum("tallyd.datagrams", "value");
    let dropped = finished.sum("tallyd.datagrams_dropped", "value");
    assert!(received + dropped >= before as f64, "{received} + {dropped} of {before}");
    assert_eq!(finished.sum("a", "value"), received);
    assert_eq!(finished.sum("b", "count"), received);
}

#[test]
fn what_a_burst_leaves_in_the_kernel_is_drained_at_a_stop() {
    let daemon = Daemon::start(&[]);
    daemon.signal("STOP");
    (0..500).for_each(|_| daemon.send("a:1|c"));
    daemon.signal("TERM");
    daemon.signal("CONT");
    let finished = daemon.wait();
    assert!(finished.status.success(), "{}", finished.log);
    assert_eq!(finished.sum("a", "value"), 500.0);
    assert_eq!(finished.sum("tallyd.datagrams", "value"), 500.0);
}

#[test]
fn datagrams_that_the_kernel_drops_are_counted_and_logged() {
    let daemon = Daemon::start(&["listeners.udp.receive_buffer=16KiB", "flush.interval=200ms"]);
    daemon.signal("STOP");
    (0..2000).for_each(|_| daemon.send("a:1|c"));
    daemon.signal("CONT");
    let mut daemon = daemon;
    daemon.wait_for(|row| row["name"] == "tallyd.datagrams_dropped" && row["value"].as_f64() > Some(0.0));
    let finished = daemon.stop();
    let dropped = finished.sum("tallyd.datagrams_dropped", "value");
    assert!(dropped > 0.0);
    assert_eq!(finished.sum("a", "value") + dropped, 2000.0);
    assert!(finished.log.contains("receive_buffer"), "{}", finished.log);
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
    // Two samples of `new`, and the service check.
    assert_eq!(counter("tallyd.series_refused", "reason", "max_series"), 3.0);
    assert_eq!(counter("tallyd.events", "alert_type", "error"), 1.0);
    assert_eq!(finished.sum("tallyd.events", "value"), 1.0);
    assert_eq!(finished.sum("tallyd.service_checks", "value"), 0.0);
    assert_eq!(counter("tallyd.lines_noted", "note", "message"), 1.0);
    assert_eq!(counter("tallyd.series_refused", "reason", "reserved_name"), 1.0);
    assert_eq!(counter("tallyd.lines_noted", "note", "empty_section"), 1.0);
    assert_eq!(counter("tallyd.series", "type", "counter"), 2.0);
    assert!(finished.log.contains("new (2)"), "the refused name is known: {}", finished.log);
    assert!(!finished.log.contains("tallyd.x"), "max_series is not the reason: {}", finished.log);
}

#[test]
fn events_and_service_checks_are_reported_and_counted_by_what_they_are() {
    let daemon = Daemon::start(&[]);
    daemon.send(
        "_e{6,8}:deploy|one\\ntwo|d:7|h:web-1|p:low|t:warning|s:jenkins|#env:prod,canary\n_e{5,0}:later|",
    );
    daemon.send("_sc|db.up|0|#env:prod\n_sc|db.up|2|h:web-1|m:no answer|#env:prod\n_sc|db.up|1|#env:prod");
    let finished = daemon.stop();
    let is_event = |row: &&serde_json::Value| row["type"] == "event";
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
    let daemon = Daemon::start(&["aggregation.event_buffer=30B"]);
    (0..5).for_each(|_| daemon.send("_e{1,1}:a|b"));
    let finished = daemon.stop();
    assert_eq!(finished.sum("tallyd.events", "value"), 5.0);
    assert_eq!(finished.sum("tallyd.events_dropped", "value"), 3.0);
    assert_eq!(finished.rows.iter().filter(|row| row["type"] == "event").count(), 2);
    assert!(finished.log.contains("aggregation.event_buffer"), "{}", finished.log);
}

#[test]
fn switches_decide_whose_tags_are_read_and_whether_the_container_is_one() {
    let lines = "a,k=v:1|c|c:box\nb[k=v]:1|c\nd:1|c|#k:v\n_e{1,1}:e|f|c:box";
    let names_and_tags = |settings: &[&str]| {
        let daemon = Daemon::start(&[settings, &["telemetry.enabled=false"]].concat());
        daemon.send(lines);
        let rows = daemon.stop().rows;
        let name =
            |row: &serde_json::Value| row["name"].as_str().or(row["title"].as_str()).map(str::to_owned);
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

/// What does not depend on when the test runs.
fn without_time(row: &serde_json::Value) -> serde_json::Value {
    let mut row = row.clone();
    let fields = row.as_object_mut().unwrap();
    assert!(fields.remove("time").unwrap().as_str().unwrap().ends_with('Z'));
    assert!(fields.remove("interval_s").unwrap().as_f64().unwrap() > 0.0);
    row
}

#[test]
fn telemetry_can_be_turned_off() {
    let daemon = Daemon::start(&["telemetry.enabled=false"]);
    daemon.send("a:1|c");
    let finished = daemon.stop();
    let names: Vec<_> = finished.rows.iter().map(|row| row["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["a"]);
}

#[test]
fn the_largest_datagram_counts_whole_and_of_a_truncated_one_its_whole_lines() {
    let daemon = Daemon::start(&[]);
    let lines = "a:1|c\n".repeat(65_507 / 6);
    daemon.send(format!("{lines}{}", "x".repeat(65_507 - lines.len())));
    let finished = daemon.stop();
    assert_eq!(finished.sum("a", "value"), 10_917.0);
    assert_eq!(finished.sum("tallyd.datagrams_truncated", "value"), 0.0);

    let daemon = Daemon::start(&["listeners.udp.max_datagram=512B"]);
    daemon.send("b:1234|c\n".repeat(100));
    let finished = daemon.stop();
    assert_eq!(finished.sum("b", "value"), 1234.0 * f64::from(512 / 9));
    assert_eq!(finished.sum("tallyd.datagrams_truncated", "value"), 1.0);
}

#[test]
fn many_receivers_give_the_totals_of_one() {
    let daemon = Daemon::start(&["listeners.udp.receivers=4"]);
    let sockets: Vec<_> = (0..32).map(|_| UdpSocket::bind("127.0.0.1:0").unwrap()).collect();
    for round in 0..50 {
        for (client, socket) in sockets.iter().enumerate() {
            let lines = format!("a:1|c\nb:{round}|ms\nc:{client}|s\nd:+1|g");
            socket.send_to(lines.as_bytes(), daemon.address).unwrap();
        }
    }
    let finished = daemon.stop();
    assert_eq!(finished.sum("a", "value"), 1600.0);
    assert_eq!(finished.sum("b", "sum"), f64::from(32 * (49 * 50 / 2)));
    assert_eq!(finished.named("c").next().unwrap()["value"], 32.0);
    assert_eq!(finished.named("d").next().unwrap()["value"], 1600.0);
    assert_eq!(finished.named("tallyd.receive_buffer_bytes").count(), 4);
}

#[test]
fn ipv6_is_listened_on() {
    let daemon = Daemon::start(&["listeners.udp.bind=[::1]:0"]);
    daemon.send("a:1|c");
    assert_eq!(daemon.stop().sum("a", "value"), 1.0);
}

#[test]
fn intervals_end_at_multiples_of_the_interval_and_each_sample_is_in_one() {
    let mut daemon = Daemon::start(&["flush.interval=1s"]);
    daemon.send("a:1|c");
    daemon.wait_for(|row| row["name"] == "a");
    daemon.send("a:1|c");
    daemon.wait_for(|row| row["name"] == "tallyd.lines" && row["value"] == 1.0);
    let finished = daemon.stop();
    assert_eq!(finished.sum("a", "value"), 2.0);
    let full: Vec<_> = finished.named("tallyd.lines").filter_map(|row| row["interval_s"].as_f64()).collect();
    // The first and the last are parts of one; a loaded machine may make the others uneven, never empty.
    assert!(full.iter().all(|&seconds| seconds > 0.0 && seconds < 3.0), "{full:?}");
}

#[test]
fn a_second_tallyd_on_the_port_is_refused_with_advice_unless_the_port_is_shared() {
    let daemon = Daemon::start(&[]);
    let bind = format!("listeners.udp.bind={}", daemon.address);
    let second = tallyd(&["--set", &bind]);
    assert_eq!(second.status.code(), Some(1));
    assert!(text(&second.stderr).contains("share_port"), "{}", text(&second.stderr));
    drop(daemon);

    let first = Daemon::start(&["listeners.udp.share_port=true"]);
    let bind = format!("listeners.udp.bind={}", first.address);
    let second = Daemon::start(&[&bind, "listeners.udp.share_port=true"]);
    assert_eq!(second.address, first.address);
}

#[test]
fn files_are_opened_again_on_sighup() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name);
    let console = format!("exporters.console.path={}", path("out.json").display());
    let log = format!("logging.file_path={}", path("log").display());
    let daemon =
        Daemon::start(&[&console, &log, r#"logging.output=["console","file"]"#, "flush.interval=100ms"]);
    let holds =
        |file: &str, text: &str| fs::read_to_string(path(file)).is_ok_and(|content| content.contains(text));
    wait_until("both files are written", || holds("out.json", "tallyd.lines") && holds("log", "listening"));
    for name in ["out.json", "log"] {
        fs::rename(path(name), path(&format!("{name}.1"))).unwrap();
    }
    daemon.signal("HUP");
    wait_until("both files are there again", || {
        holds("out.json", "tallyd.lines") && holds("log", "opened again")
    });
    assert!(daemon.stop().status.success());
}

#[test]
fn an_exporter_that_fails_is_counted_and_harms_no_other() {
    let textfile = "exporters.textfile.path=/nonexistent/directory/tallyd.prom";
    let mut daemon = Daemon::start(&["exporters.textfile.enabled=true", textfile, "flush.interval=100ms"]);
    daemon.send("a:1|c");
    daemon.wait_for(|row| row["name"] == "a");
    daemon.wait_for(is_textfile_error);
    let finished = daemon.stop();
    assert!(finished.status.success());
    assert!(finished.log.contains("create the directory"), "{}", finished.log);
}

/// Starts tallyd in a mount namespace of its own, in which `mount` was run on `directory` before; a text file goes there.
fn start_on_mount(directory: &Path, mount: &str) -> Daemon {
    let script = format!("set -e; cd /; D='{}'; {mount}; exec \"$@\"", directory.display());
    let wrapper = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", &script, "sh"];
    let path = format!("exporters.textfile.path={}/tallyd.prom", directory.display());
    Daemon::start_in(&wrapper, &["exporters.textfile.enabled=true", &path, "flush.interval=100ms"])
}

fn is_textfile_error(row: &serde_json::Value) -> bool {
    row["name"] == "tallyd.export_errors"
        && row["tags"]["exporter"] == "textfile"
        && row["value"].as_f64() > Some(0.0)
}

#[test]
#[ignore = "needs user and mount namespaces; run make test"]
fn a_full_disk_is_an_error_that_the_daemon_survives_and_the_old_page_stays_whole() {
    let directory = tempfile::tempdir().unwrap();
    let mut daemon = start_on_mount(directory.path(), "mount -t tmpfs -o size=128k tmpfs \"$D\"");
    let seen_from_here = format!("/proc/{}/root{}", daemon.id(), directory.path().display());
    let page = || fs::read_to_string(format!("{seen_from_here}/tallyd.prom")).unwrap_or_default();
    wait_until("the page is there", || !page().is_empty());

    let filler = format!("{seen_from_here}/filler");
    assert!(fs::write(&filler, vec![0; 1 << 20]).is_err(), "the disk is not full");
    daemon.wait_for(is_textfile_error);
    let last = page().lines().last().map(str::to_owned);
    assert!(last.is_some_and(|line| line.starts_with("tallyd_textfile_timestamp_seconds ")));

    fs::remove_file(&filler).unwrap();
    daemon.send("after:1|c");
    wait_until("the file is written again", || page().contains("after_total 1\n"));
    assert!(daemon.stop().log.contains("free some space"));
}

#[test]
#[ignore = "needs user and mount namespaces; run make test"]
fn a_read_only_directory_is_an_error_that_the_daemon_survives() {
    let directory = tempfile::tempdir().unwrap();
    let mount = "mount --bind \"$D\" \"$D\"; mount -o remount,bind,ro \"$D\"";
    let mut daemon = start_on_mount(directory.path(), mount);
    daemon.wait_for(is_textfile_error);
    daemon.send("a:1|c");
    daemon.wait_for(|row| row["name"] == "a");
    let finished = daemon.stop();
    assert!(finished.status.success());
    assert!(finished.log.contains("let tallyd's user write there"), "{}", finished.log);
}

#[test]
fn the_text_file_shows_running_totals_and_is_never_torn() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tallyd.prom");
    let textfile = format!("exporters.textfile.path={}", path.display());
    let settings = ["exporters.textfile.enabled=true", &textfile, "flush.interval=100ms"];
    let daemon = Daemon::start(&[&settings[..], &["exporters.textfile.on_exit=remove"]].concat());
    let page = || fs::read_to_string(&path).unwrap_or_default();
    for round in 1..=20 {
        daemon.send("hits:1|c|#env:prod\nlatency:250|ms");
        wait_until("the total has grown", || {
            let page = page();
            assert!(
                page.is_empty()
                    || page.ends_with('\n') && page.contains("tallyd_textfile_timestamp_seconds ")
            );
            page.contains(&format!("hits_total{{env=\"prod\"}} {round}\n"))
        });
    }
    assert!(page().contains("latency_seconds_sum 5\nlatency_seconds_count 20\n"), "{}", page());
    assert!(daemon.stop().status.success());
    assert!(!path.exists(), "on_exit = \"remove\"");
}

#[test]
fn a_classic_histogram_counts_timings_in_seconds() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("tallyd.prom");
    let textfile = format!("exporters.textfile.path={}", path.display());
    let daemon = Daemon::start(&[
        "exporters.textfile.enabled=true",
        &textfile,
        "exporters.prometheus.timings=histogram",
        "exporters.prometheus.buckets=[0.1, 1]",
    ]);
    daemon.send("t:50|ms\nt:100|ms\nt:400|ms|@0.5\nt:5000|ms\nd:0.5|d");
    assert!(daemon.stop().status.success());
    let page = fs::read_to_string(&path).unwrap();
    for line in [
        "# TYPE t_seconds histogram",
        "t_seconds_bucket{le=\"0.1\"} 2",
        "t_seconds_bucket{le=\"1\"} 4",
        "t_seconds_bucket{le=\"+Inf\"} 5",
        "t_seconds_sum 5.95",
        "t_seconds_count 5",
        "d_bucket{le=\"0.1\"} 0",
        "d_bucket{le=\"1\"} 1",
    ] {
        assert!(page.lines().any(|other| other == line), "{line} is not in\n{page}");
    }
}

/// A pipe that nobody reads: opening it for writing waits for ever.
fn hanging_console(directory: &Path) -> String {
    let pipe = directory.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    format!("exporters.console.path={}", pipe.display())
}

#[test]
fn an_exporter_that_hangs_does_not_keep_a_stop_from_ending() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&[&hanging_console(directory.path()), "shutdown.timeout=100ms"]);
    let finished = daemon.stop();
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.log.contains("not finished in time: console"), "{}", finished.log);
}

#[test]
fn a_second_signal_ends_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let file = format!("logging.file_path={}", log.display());
    let hanging = hanging_console(directory.path());
    let daemon =
        Daemon::start(&[&hanging, &file, r#"logging.output=["console","file"]"#, "shutdown.timeout=10m"]);
    daemon.signal("INT");
    wait_until("it is stopping", || fs::read_to_string(&log).is_ok_and(|log| log.contains("stopping")));
    // One that comes at once is taken for the first, so this is repeated until it is heard.
    let has_ended = || fs::read_to_string(&log).is_ok_and(|log| log.contains("a second signal"));
    wait_until("it gives up", || {
        if !has_ended() {
            daemon.signal("INT");
        }
        has_ended()
    });
    assert_eq!(daemon.wait().status.code(), Some(130));
}

#[test]
fn two_signals_at_once_are_one_and_the_last_interval_is_delivered() {
    for _ in 0..5 {
        let daemon = Daemon::start(&[]);
        daemon.send("a:1|c");
        let id = daemon.id().to_string();
        let killed =
            Command::new("sh").args(["-c", &format!("kill -s TERM {id}; kill -s INT {id}")]).status();
        assert!(killed.unwrap().success());
        let finished = daemon.wait();
        assert!(finished.status.success(), "{}", finished.log);
        assert_eq!(finished.sum("a", "value"), 1.0);
    }
}

#[test]
fn check_prints_what_is_in_force_and_refuses_with_78_file_line_and_key() {
    let good = tallyd(&["check", "--set", "flush.interval=3s"]);
    assert_eq!(good.status.code(), Some(0));
    assert!(text(&good.stdout).contains("interval = \"3s\""), "{}", text(&good.stdout));

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bad.toml");
    fs::write(&path, "[flush]\n# a comment\ninterval = \"0s\"\n").unwrap();
    for command in ["check", "run"] {
        let bad = tallyd(&[command, "--config", path.to_str().unwrap()]);
        assert_eq!(bad.status.code(), Some(78));
        let expected =
            format!("tallyd: {}:3: flush.interval: 0s is not between \"100ms\" and \"1h\"\n", path.display());
        assert_eq!(text(&bad.stderr), expected);
    }
}

#[test]
fn the_environment_configures_sections_and_the_log() {
    let output = Command::new(env!("CARGO_BIN_EXE_tallyd"))
        .arg("check")
        .envs([("TALLYD_FLUSH__INTERVAL", "4s"), ("LOG_LEVEL", "WARN"), ("LOG_FILE_PATH", "/tmp/some.log")])
        .output()
        .unwrap();
    let shown = text(&output.stdout);
    for expected in ["interval = \"4s\"", "level = \"warn\"", "file_path = \"/tmp/some.log\""] {
        assert!(shown.contains(expected), "{shown}");
    }
}

#[test]
fn help_has_examples_and_version_is_that_of_the_package() {
    let help = tallyd(&["--help"]);
    assert!(text(&help.stdout).contains("Examples:") && text(&help.stdout).contains("nc -u"));
    let version = tallyd(&["--version"]);
    assert_eq!(text(&version.stdout), concat!("tallyd ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn a_log_in_json_is_json_on_every_line() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_tallyd"))
        .args([
            "--set",
            "listeners.udp.bind=127.0.0.1:0",
            "--set",
            "logging.format=json",
            "--set",
            "shutdown.timeout=1s",
        ])
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut log = std::io::BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    std::io::BufRead::read_line(&mut log, &mut line).unwrap();
    let record: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(record["message"], "listening on udp");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[test]
fn a_console_that_cannot_be_written_is_an_error_that_the_daemon_survives() {
    let finished = Daemon::start(&["exporters.console.path=/dev/full"]).stop();
    assert!(finished.status.success());
    assert!(finished.log.contains("free some space"), "{}", finished.log);
}

#[test]
#[ignore = "needs systemd-analyze; run make test"]
fn the_service_file_passes_systemd_analyze_verify() {
    let directory = tempfile::tempdir().unwrap();
    // The unit names the installed binary; verify wants it to be there.
    let unit = fs::read_to_string("systemd/tallyd.service").unwrap();
    let unit = unit.replace("/usr/local/bin/tallyd", env!("CARGO_BIN_EXE_tallyd"));
    let path = directory.path().join("tallyd.service");
    fs::write(&path, unit).unwrap();
    let verify = Command::new("systemd-analyze").args(["verify", path.to_str().unwrap()]).output().unwrap();
    let said = format!("{}{}", text(&verify.stdout), text(&verify.stderr));
    assert!(verify.status.success() && !said.contains("tallyd.service"), "{said}");
}
