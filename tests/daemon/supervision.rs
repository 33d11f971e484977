//! Tests that tallyd runs whole or not at all. A thread that dies, or a socket that cannot be read, ends it with an
//! error after a last flush.

use std::fs;
use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;

use tallyd_harness::http::get;
use tallyd_harness::process::{stderr, tallyd_command};
use tallyd_harness::{HTTP, wait_until};
use tempfile::TempDir;

use crate::faulty::Faulty;

#[test]
fn receiver_that_dies_ends_tallyd_and_the_others_deliver() {
    let cases = [
        ("panic", "udp-0", "the thread udp-0 panicked"),
        ("ENOSYS", "udp-0", "the receiver udp-0 cannot read its socket: ENOSYS"),
        ("ENOMEM", "udp-0", "the receiver udp-0 cannot read its socket: ENOMEM"),
        ("panic", "unix_datagram", "the thread unix_datagram panicked"),
        ("ENOSYS", "unix_datagram", "the receiver unix_datagram cannot read its socket: ENOSYS"),
    ];
    for (fault, thread, reason) in cases {
        let faulty = Faulty::start(fault, thread, &[]);
        let mut tcp = TcpStream::connect(faulty.daemon.address_of("tcp")).unwrap();
        let unix = UnixDatagram::unbound().unwrap();
        // The receiver that fails gets its line last, because tallyd then stops, and refuses what comes later.
        let mut send = |line: &str| {
            tcp.write_all(format!("{line}\n").as_bytes()).unwrap();
            let to_unix = || _ = unix.send_to(line.as_bytes(), faulty.socket()).unwrap();
            if thread == "udp-0" {
                to_unix();
                faulty.daemon.send(line);
            } else {
                faulty.daemon.send(line);
                to_unix();
            }
        };
        send("before:1|c");
        // The receiver waits in the kernel. This datagram wakes it.
        faulty.fail();
        send("after:1|c");
        let finished = faulty.wait(reason);
        let sum = |name| finished.sum(name, "value");
        let unread = sum("tallyd.datagrams_unread");
        // The datagram that woke the receiver is recorded, unless it is the one that made the receiver panic.
        assert!(sum("before") + sum("after") + unread >= 6.0, "{fault} in {thread}: {:#?}", finished.rows);
        assert!(fault != "panic" || unread > 0.0, "{:#?}", finished.rows);
    }
}

#[test]
fn flush_that_panics_ends_tallyd_with_an_error() {
    let faulty = Faulty::start("short", "flush", &["flush.interval=100ms"]);
    faulty.fail();
    let finished = faulty.wait("the thread flush panicked");
    assert!(finished.log.contains("the flush panicked; the open interval is lost"), "{}", finished.log);
}

#[test]
fn listener_that_cannot_accept_ends_tallyd() {
    let faulty = Faulty::start("EINVAL", "tcp", &[]);
    faulty.daemon.send("a:1|c");
    faulty.fail();
    let client = TcpStream::connect(faulty.daemon.address_of("tcp")).unwrap();
    let finished = faulty.wait("the listener tcp cannot accept connections: Invalid argument");
    assert_eq!(finished.sum("a", "value"), 1.0);
    drop(client);
}

#[test]
fn health_checks_fail_while_the_flush_is_stuck() {
    let faulty = Faulty::start("stall", "flush", &[&HTTP[..], &["flush.interval=100ms"]].concat());
    let address = faulty.daemon.http_address();
    let is_healthy = || ["/-/healthy", "/-/ready"].map(|path| get(address, path).code == 200);
    wait_until(|| is_healthy() == [true, true]);
    faulty.fail();
    // This takes 15 seconds.
    wait_until(|| is_healthy() == [false, false]);
    let response = get(address, "/-/healthy");
    assert_eq!(response.code, 503);
    assert!(response.text().starts_with("not healthy: the last flush was "), "{}", response.text());
    let url = format!("http://{address}");
    for (arguments, state) in [(&["health"][..], "healthy"), (&["health", "--ready"], "ready")] {
        let output = tallyd_command().args(arguments).env("TALLYD_URL", &url).output().unwrap();
        let reason = format!("tallyd: {url} is not {state}: the last flush was ");
        assert!(output.status.code() == Some(1) && stderr(&output).starts_with(&reason), "{output:?}");
    }
    faulty.recover();
    wait_until(|| is_healthy() == [true, true]);
    assert!(faulty.daemon.stop().status.success());
}

#[test]
fn exporter_that_panics_ends_tallyd_and_the_others_deliver() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let settings = [
        &format!("exporters.console.path={}", path("console")),
        "exporters.textfile.enabled=true",
        &format!("exporters.textfile.path={}", path("page.prom")),
        "flush.interval=100ms",
    ];
    let faulty = Faulty::start("written", "export-console", &settings);
    wait_until(|| fs::metadata(path("page.prom")).is_ok());
    faulty.daemon.send("a:1|c");
    faulty.fail();
    let finished = faulty.wait("the thread export-console panicked");
    assert!(
        finished.log.contains("the last interval may be lost: console (it panicked, with "),
        "{}",
        finished.log
    );
    let page = fs::read_to_string(path("page.prom")).unwrap();
    assert!(page.contains("\na_total 1\n"), "{page}");
}
