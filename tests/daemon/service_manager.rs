//! Tests what tallyd reports to a service manager such as systemd. The test reads the socket in its place.

use std::os::unix::net::UnixDatagram;
use std::path::Path;

use tallyd_harness::{Daemon, TIMEOUT};

/// Starts tallyd as a service with a watchdog of a second. Returns it with the socket that gets its reports.
fn start(directory: &Path) -> (Daemon, UnixDatagram) {
    let path = directory.join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(TIMEOUT)).unwrap();
    let address = format!("NOTIFY_SOCKET={}", path.display());
    let daemon = Daemon::start_in(&["env", &address, "WATCHDOG_USEC=1000000"], &["flush.interval=100ms"]);
    (daemon, socket)
}

/// Waits for a report with this line, and returns all lines of the report.
#[track_caller]
fn wait_for(socket: &UnixDatagram, line: impl Fn(&str) -> bool) -> Vec<String> {
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).unwrap();
        let report = std::str::from_utf8(&buffer[..length]).unwrap();
        if report.lines().any(&line) {
            return report.lines().map(str::to_owned).collect();
        }
    }
}

#[test]
fn service_manager_learns_that_tallyd_is_ready_reloads_and_stops() {
    let directory = tempfile::tempdir().unwrap();
    let (daemon, socket) = start(directory.path());
    wait_for(&socket, |line| line == "READY=1");
    daemon.signal("HUP");
    let reloading = wait_for(&socket, |line| line == "RELOADING=1");
    assert!(reloading.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reloading:?}");
    wait_for(&socket, |line| line == "READY=1");
    daemon.signal("TERM");
    wait_for(&socket, |line| line == "STOPPING=1");
    assert!(daemon.wait().status.success());
}

#[test]
fn service_manager_gets_current_figures_while_tallyd_feeds_the_watchdog() {
    let directory = tempfile::tempdir().unwrap();
    let (daemon, socket) = start(directory.path());
    wait_for(&socket, |line| line == "WATCHDOG=1");
    daemon.send("a:1|c\nb:1|c\nc:1|c");
    let report = wait_for(&socket, |line| line.starts_with("STATUS=3 series; in the last 0.1 s: "));
    assert!(report.iter().any(|line| line == "WATCHDOG=1"), "{report:?}");
}
