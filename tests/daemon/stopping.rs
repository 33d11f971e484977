//! Tests stops: tallyd drains and delivers everything, and nothing prevents a stop.

use std::fs;
use std::net::UdpSocket;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;

use tallyd_harness::process::{Running, send_signal, tallyd_command};
use tallyd_harness::{Daemon, HTTP, wait_until};
use tempfile::TempDir;

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
fn only_the_exporter_that_hangs_is_late_and_it_is_named_once() {
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("page.prom");
    let textfile = format!("exporters.textfile.path={}", page.display());
    let hanging = hanging_console(directory.path());
    let settings = ["shutdown.timeout=1s", "exporters.textfile.enabled=true", &textfile, &hanging];
    let daemon = Daemon::start(&[&settings[..], &HTTP].concat());
    daemon.send("a:1|c");
    let finished = daemon.stop();
    assert_eq!(finished.status.code(), Some(1));
    let lost = "the last interval may be lost: console (not finished within shutdown.timeout, with 1 samples left)\n";
    assert!(finished.log.contains(lost), "{}", finished.log);
    assert_eq!(finished.log.matches("shutdown.timeout").count(), 1, "{}", finished.log);
    assert!(fs::read_to_string(page).unwrap().contains("\na_total 1\n"));
}

#[test]
fn other_signals_do_not_end_tallyd() {
    let signals =
        ["USR1", "USR2", "ALRM", "VTALRM", "PROF", "IO", "PWR", "STKFLT", "XCPU", "XFSZ", "RTMIN+3"];
    let log = tempfile::NamedTempFile::new().unwrap();
    let file = format!("logging.file_path={}", log.path().display());
    let daemon = Daemon::start(&[&file, r#"logging.output=["console","file"]"#]);
    daemon.send("a:1|c");
    for signal in signals {
        daemon.signal(signal);
        let ignored = format!("a signal was ignored signal=\"SIG{signal}\"");
        wait_until(|| fs::read_to_string(log.path()).unwrap().contains(&ignored));
    }
    let finished = daemon.stop();
    assert!(finished.status.success(), "{}", finished.log);
    assert_eq!(finished.sum("a", "value"), 1.0);
}

/// A tallyd that waits for its configuration, because that is a pipe to which nothing has been written.
struct Starting {
    tallyd: Running,
    directory: TempDir,
}

impl Starting {
    /// Starts tallyd and waits until it handles signals.
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let configuration = directory.path().join("tallyd.toml");
        assert!(Command::new("mkfifo").arg(&configuration).status().unwrap().success());
        let log = format!("logging.file_path={}", directory.path().join("log").display());
        let settings = ["listeners.udp.bind=127.0.0.1:0", r#"logging.output=["file"]"#, &log];
        let mut command = tallyd_command();
        command.arg("run").arg("--config").arg(&configuration);
        settings.iter().for_each(|setting| _ = command.args(["--set", setting]));
        let tallyd = Running::start(command.stdout(Stdio::null()).stderr(Stdio::null()));
        let status = format!("/proc/{}/status", tallyd.0.id());
        wait_until(|| {
            let status = fs::read_to_string(&status).unwrap();
            let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:\t")).unwrap();
            // Signal n is bit n - 1. SIGHUP is 1, and SIGTERM is 15.
            u64::from_str_radix(caught, 16).unwrap() & 0x4001 == 0x4001
        });
        Self { tallyd, directory }
    }

    fn write_configuration(&self) {
        fs::write(self.directory.path().join("tallyd.toml"), "# The defaults.\n").unwrap();
    }
}

#[test]
fn stop_before_the_start_is_complete_succeeds() {
    for signal in ["TERM", "INT", "QUIT"] {
        assert!(Starting::new().tallyd.stop(signal).success(), "{signal}");
    }
}

#[test]
fn hang_up_before_the_start_is_complete_reloads_afterwards() {
    let starting = Starting::new();
    send_signal(starting.tallyd.0.id(), "HUP");
    starting.write_configuration();
    let log = || fs::read_to_string(starting.directory.path().join("log")).unwrap_or_default();
    wait_until(|| log().contains("SIGHUP: tallyd reads its configuration again"));
    starting.write_configuration();
    wait_until(|| log().contains("mapping rules were read"));
    assert!(starting.tallyd.stop("TERM").success(), "{}", log());
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
