//! Tests that faults of the machine, and signals under load, lose nothing without a counter.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use tallyd_harness::http::get;
use tallyd_harness::meanwhile::SetOnDrop;
use tallyd_harness::{Daemon, HTTP, TIMEOUT, wait_until};

use crate::faulty::Faulty;

#[test]
fn clock_that_is_set_forward_and_back_loses_no_sample_and_rates_stay_correct() {
    let mut faulty = Faulty::start("clock", "flush", &["flush.interval=200ms"]);
    for (round, seconds) in ["0", "3600", "-3600", "0"].into_iter().enumerate() {
        faulty.fail_by(seconds);
        for part in 0..3 {
            let name = format!("a.{round}.{part}");
            faulty.daemon.send(format!("{name}:7|c"));
            let row = faulty.daemon.wait_for_next(|row| row["name"] == name);
            let [value, rate] = ["value", "rate"].map(|key| row[key].as_f64().unwrap());
            assert_eq!(value, 7.0);
            // The wall clock would say an hour.
            assert!(value / rate < TIMEOUT.as_secs_f64(), "{row}");
        }
    }
    let finished = faulty.daemon.stop();
    assert!(finished.status.success(), "{}", finished.log);
    assert_eq!(finished.sum("tallyd.lines", "value"), 12.0);
}

#[test]
fn receiver_that_hangs_starves_the_watchdog() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("notify");
    let reports = UnixDatagram::bind(&path).unwrap();
    reports.set_read_timeout(Some(TIMEOUT)).unwrap();
    let variables = [&*format!("NOTIFY_SOCKET={}", path.display()), "WATCHDOG_USEC=1000000"];
    let faulty = Faulty::start_with(("stall", "udp-0"), &variables, &["flush.interval=100ms"]);
    let next_report = || {
        let mut buffer = [0; 4096];
        let length = reports.recv(&mut buffer).unwrap();
        String::from_utf8(buffer[..length].to_vec()).unwrap()
    };
    let mut sent = 0.0;
    let mut send_until = |is_match: &dyn Fn(&str) -> bool| {
        wait_until(|| {
            faulty.daemon.send("a:1|c");
            sent += 1.0;
            is_match(&next_report())
        });
    };
    faulty.fail();
    send_until(&|report| {
        let is_stuck = report.contains("although data waits there: udp-0");
        assert!(!is_stuck || !report.contains("WATCHDOG=1"), "{report}");
        is_stuck
    });
    faulty.recover();
    send_until(&|report| report.contains("WATCHDOG=1"));
    assert_eq!(faulty.daemon.stop().sum("a", "value"), sent);
}

#[test]
fn reloads_and_a_stop_under_full_load_account_for_every_datagram() {
    const MOST_SENT: u64 = 3_000_000;
    let mut daemon = Daemon::start(&["flush.interval=100ms", "listeners.udp.receivers=2"]);
    let address = daemon.address();
    let (sent, finished) = (AtomicU64::new(0), AtomicBool::new(false));
    let flood = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        while !finished.load(Ordering::SeqCst) && sent.load(Ordering::SeqCst) < MOST_SENT {
            socket.send_to(b"a:1|c\nb:2|ms", address).unwrap();
            sent.fetch_add(1, Ordering::SeqCst);
        }
    };
    thread::scope(|scope| {
        let guard = SetOnDrop(&finished);
        scope.spawn(flood);
        scope.spawn(flood);
        for _ in 0..10 {
            daemon.signal("HUP");
            daemon.wait_for_next(|row| row["name"] == "tallyd.config_reloads");
        }
        drop(guard);
    });
    let finished = daemon.stop();
    assert!(finished.status.success(), "{}", finished.log);
    let received = finished.sum("a", "value");
    assert_eq!(finished.sum("b", "count"), received);
    assert_eq!(received + finished.sum("tallyd.datagrams_dropped", "value"), sent.into_inner() as f64);
}

#[test]
fn directories_that_vanish_and_come_back_get_the_next_results() {
    let directory = tempfile::tempdir().unwrap();
    let [folder, away] = ["folder", "away"].map(|name| directory.path().join(name));
    fs::create_dir(&folder).unwrap();
    let [page, rows] = ["tallyd.prom", "rows.json"].map(|name| folder.join(name));
    let files = [
        "flush.interval=100ms",
        "exporters.textfile.enabled=true",
        &format!("exporters.textfile.path={}", page.display()),
        &format!("exporters.console.path={}", rows.display()),
    ];
    let daemon = Daemon::start(&[&files[..], &HTTP].concat());
    let served = |line: &str| get(daemon.http_address(), "/metrics").text().contains(line);
    let has = |path, text: &str| fs::read_to_string(path).is_ok_and(|all| all.contains(text));
    daemon.send("before:1|c");
    wait_until(|| has(&page, "before_total 1\n") && has(&rows, "\"before\""));
    fs::rename(&folder, &away).unwrap();
    daemon.send("meanwhile:1|c");
    wait_until(|| served("\nmeanwhile_total 1\n"));
    for exporter in ["console", "textfile"] {
        let none = format!("\ntallyd_export_errors_total{{exporter=\"{exporter}\"}} 0\n");
        wait_until(|| !served(&none));
    }
    fs::create_dir(&folder).unwrap();
    daemon.send("after:1|c");
    // The text file has running totals, so it loses nothing. The console's loss is counted.
    wait_until(|| has(&page, "after_total 1\n") && has(&page, "meanwhile_total 1\n"));
    wait_until(|| has(&rows, "\"after\""));
    assert!(!served("\ntallyd_samples_undelivered_total{exporter=\"console\"} 0\n"));
    assert!(served("\ntallyd_samples_undelivered_total{exporter=\"textfile\"} 0\n"));
    assert!(daemon.stop().status.success());
}
