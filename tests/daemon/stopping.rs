//! Tests stops: tallyd drains and delivers everything, and nothing prevents a stop.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use tallyd_harness::{Daemon, wait_until};

#[test]
fn stop_during_a_stream_loses_nothing_that_was_sent_before() {
    const MAX_SENT: u64 = 5_000_000;
    let daemon = Daemon::start(&["listeners.udp.receivers=2"]);
    let address = daemon.address();
    let sent = AtomicU64::new(0);
    let stopped = AtomicBool::new(false);
    let stream = || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        while !stopped.load(Ordering::SeqCst) && sent.load(Ordering::SeqCst) < MAX_SENT {
            socket.send_to(b"a:1|c\nb:1|ms", address).unwrap();
            sent.fetch_add(1, Ordering::SeqCst);
        }
    };
    let (before, finished) = thread::scope(|scope| {
        scope.spawn(stream);
        scope.spawn(stream);
        wait_until(|| sent.load(Ordering::SeqCst) > 20_000);
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
fn stop_drains_the_datagrams_that_wait_in_the_kernel() {
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

/// Returns the setting for a console that hangs. It writes to a pipe without a reader, so even opening the pipe hangs.
fn hanging_console(directory: &Path) -> String {
    let pipe = directory.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    format!("exporters.console.path={}", pipe.display())
}

#[test]
fn hanging_exporter_does_not_prevent_a_stop() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = Daemon::start(&[&hanging_console(directory.path()), "shutdown.timeout=100ms"]);
    let finished = daemon.stop();
    assert_eq!(finished.status.code(), Some(1));
    assert!(finished.log.contains("the last interval may be lost: console"), "{}", finished.log);
}

#[test]
fn second_signal_ends_tallyd_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let log = directory.path().join("log");
    let file = format!("logging.file_path={}", log.display());
    let hanging = hanging_console(directory.path());
    let daemon =
        Daemon::start(&[&hanging, &file, r#"logging.output=["console","file"]"#, "shutdown.timeout=10m"]);
    daemon.signal("INT");
    wait_until(|| fs::read_to_string(&log).is_ok_and(|log| log.contains("stopping")));
    // Two signals at once count as one, so the test sends the second signal until it has an effect.
    let has_ended = || fs::read_to_string(&log).is_ok_and(|log| log.contains("a second signal"));
    wait_until(|| {
        if !has_ended() {
            daemon.signal("INT");
        }
        has_ended()
    });
    assert_eq!(daemon.wait().status.code(), Some(130));
}

#[test]
fn two_signals_at_once_count_as_one_and_lose_nothing() {
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
