//! Tests the log: it delays nothing, has a limit, and has every line of a normal stop.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::net::{TcpStream, UdpSocket};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::Path;
use std::process::Command;

use tallyd_harness::http::{free_address, request, try_get};
use tallyd_harness::process::{Running, tallyd_path};
use tallyd_harness::{Daemon, wait_until};
use tempfile::TempDir;

/// Creates a pipe that is full, and that nothing reads. It keeps its content while it is open.
fn full_pipe(path: &Path) -> File {
    assert!(Command::new("mkfifo").arg(path).status().unwrap().success());
    // Opening a pipe for reading and writing does not wait for another process. O_NONBLOCK is 0o4000 on Linux.
    let pipe = OpenOptions::new().read(true).write(true).custom_flags(0o4000).open(path);
    let mut pipe = pipe.unwrap();
    while pipe.write(&[b'x'; 4096]).map_or_else(|error| error.kind() != ErrorKind::WouldBlock, |_| true) {}
    pipe
}

#[test]
fn log_that_nobody_reads_delays_neither_flush_nor_stop() {
    let folder = TempDir::new().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let _pipes = ["stdout", "stderr"].map(|name| full_pipe(&folder.path().join(name)));
    let address = free_address();
    let script = format!("exec \"$@\" 1<>'{}' 2<>'{}'", path("stdout"), path("stderr"));
    let mut command = Command::new("sh");
    command.args(["-c", &script, "sh", &tallyd_path()]);
    let settings = [
        "flush.interval=100ms",
        "shutdown.timeout=500ms",
        "listeners.udp.enabled=false",
        "listeners.unix_datagram.enabled=true",
        &format!("listeners.unix_datagram.path={}", path("socket")),
        "exporters.prometheus.start_http_server=true",
        "exporters.prometheus.enable_reload=true",
        &format!("exporters.prometheus.port={}", address.port()),
    ];
    settings.iter().for_each(|setting| _ = command.args(["--set", setting]));
    let tallyd = Running::start(&mut command);
    let value = |name: &str| {
        let page = try_get(address, "/metrics")?;
        let line = page.text().lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
        line?.trim().parse::<f64>().ok()
    };
    wait_until(|| std::net::TcpStream::connect(address).is_ok());
    // Each reload logs a line, so the queue of the log is full in the end.
    let dropped = "tallyd_log_lines_dropped_total{output=\"console\"}";
    wait_until(|| {
        assert_eq!(request(address, "POST", "/-/reload", &["Content-Length: 0"]).code, 200);
        value(dropped) > Some(0.0)
    });
    let client = UnixDatagram::unbound().unwrap();
    for sent in 1..=5 {
        client.send_to(b"a:1|c", folder.path().join("socket")).unwrap();
        wait_until(|| value("a_total") == Some(f64::from(sent)));
    }
    assert_eq!(try_get(address, "/-/healthy").unwrap().code, 200);
    assert_eq!(tallyd.stop("TERM").code(), Some(1), "the console is stuck");
}

#[test]
fn names_of_60_kilobytes_are_short_in_the_log() {
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("socket");
    let path = format!("listeners.unix_datagram.path={}", socket.display());
    let settings = [
        "listeners.unix_datagram.enabled=true",
        &path,
        "exporters.textfile.enabled=true",
        &format!("exporters.textfile.path={}", folder.path().join("page.prom").display()),
        "aggregation.max_series=100",
        "aggregation.max_name=64KiB",
    ];
    let daemon = Daemon::start(&settings);
    let client = UnixDatagram::unbound().unwrap();
    let name = "x".repeat(60_000);
    // 100 gauges have the names of 50 series of the page. Others are refused.
    for number in 0..100 {
        for separator in ["-", "+"] {
            client.send_to(format!("{name}{separator}{number}:1|g").as_bytes(), &socket).unwrap();
        }
    }
    let finished = daemon.stop();
    let longest = finished.log.lines().map(str::len).max().unwrap();
    assert!(longest < 1600 && finished.log.len() < 20_000, "{longest} of {}", finished.log.len());
    for message in ["a series is kept off the page", "samples of new series were refused"] {
        assert!(finished.log.contains(message), "{}", finished.log);
    }
    assert!(finished.log.contains("xxx… (60002 bytes)"), "{}", finished.log);
    assert!(fs::metadata(folder.path().join("page.prom")).is_ok());
}

#[test]
fn names_that_are_too_long_are_refused_and_logged() {
    let daemon = Daemon::start(&[]);
    daemon.send(format!("{}:1:2|c\nfits:1|c", "x".repeat(1025)));
    let finished = daemon.stop();
    assert_eq!(finished.sum("fits", "value"), 1.0);
    assert_eq!(finished.sum_of("tallyd.series_refused", ("reason", "name_too_long")), 2.0);
    let message = finished.log.lines().find(|line| line.contains("aggregation.max_name")).unwrap();
    assert!(message.contains("ERROR") && message.contains("xxx… (1025 bytes) (2)"), "{message}");
}

#[test]
fn message_about_lost_snapshots_becomes_rarer_and_has_the_samples() {
    let folder = TempDir::new().unwrap();
    let _pipe = full_pipe(&folder.path().join("console"));
    let console = format!("exporters.console.path={}", folder.path().join("console").display());
    let page = folder.path().join("page.prom");
    let settings = [
        "flush.interval=100ms",
        "shutdown.timeout=100ms",
        &console,
        "exporters.textfile.enabled=true",
        &format!("exporters.textfile.path={}", page.display()),
    ];
    let daemon = Daemon::start(&settings);
    let value = |name: &str| {
        let page = fs::read_to_string(&page).unwrap_or_default();
        let line = page.lines().find_map(|line| line.strip_prefix(name).map(str::to_owned));
        line.and_then(|value| value.trim().parse::<f64>().ok())
    };
    wait_until(|| {
        daemon.send("a:1|c");
        value("tallyd_snapshots_dropped_total{exporter=\"console\"}") >= Some(20.0)
    });
    assert!(value("tallyd_samples_undelivered_total{exporter=\"console\"}") > Some(0.0));
    let finished = daemon.stop();
    let lost = finished.log.lines().filter(|line| line.contains("an exporter lost snapshots"));
    let lost: Vec<_> = lost.collect();
    assert!((5..=8).contains(&lost.len()), "{lost:#?}");
    assert!(lost[4].contains("snapshots=8 samples="), "{lost:#?}");
}

#[test]
fn log_goes_to_a_new_file_when_the_old_one_was_moved() {
    let folder = TempDir::new().unwrap();
    let [path, moved] = ["log", "log.1"].map(|name| folder.path().join(name));
    let settings =
        [&*format!("logging.file_path={}", path.display()), r#"logging.output=["console","file"]"#];
    let daemon = Daemon::start(&settings);
    let holds = |file: &Path, text: &str| fs::read_to_string(file).is_ok_and(|log| log.contains(text));
    wait_until(|| holds(&path, "listening on udp"));
    fs::rename(&path, &moved).unwrap();
    daemon.signal("USR1");
    wait_until(|| holds(&path, "a signal was ignored"));
    // A path that cannot be opened is reported once, to the old file.
    fs::rename(&path, &moved).unwrap();
    fs::create_dir(&path).unwrap();
    daemon.signal("USR1");
    wait_until(|| holds(&moved, "the log file cannot be opened again"));
    fs::remove_dir(&path).unwrap();
    let finished = daemon.stop();
    assert!(holds(&path, "INFO stopping"), "{}", finished.log);
    let failures = finished.log.matches("cannot be opened again").count();
    assert!((1..=3).contains(&failures), "{}", finished.log);
}

#[test]
fn log_file_of_a_stop_has_every_line() {
    let folder = TempDir::new().unwrap();
    let log = folder.path().join("log");
    let settings = [&*format!("logging.file_path={}", log.display()), r#"logging.output=["console","file"]"#];
    let finished = Daemon::start(&[&settings[..], &["exporters.console.path=/dev/full"]].concat()).stop();
    let log = fs::read_to_string(log).unwrap();
    assert!(log.ends_with("free some space there)\n"), "{log}");
    // Each output formats the time by itself.
    let without_time = |log: &str| log.lines().map(|line| line[27..].to_owned()).collect::<Vec<_>>();
    assert_eq!(without_time(&log), without_time(&finished.log));
}

#[test]
fn the_latest_line_of_each_reason_for_rejecting_is_logged_with_its_sender() {
    let folder = TempDir::new().unwrap();
    let [path, datagram_path] = ["socket", "datagrams"].map(|name| folder.path().join(name));
    let settings = [
        "flush.interval=100ms",
        "listeners.tcp.enabled=true",
        "listeners.tcp.bind=127.0.0.1:0",
        "listeners.unix_stream.enabled=true",
        "listeners.unix_stream.framing=lines",
        &format!("listeners.unix_stream.path={}", path.display()),
        "listeners.unix_datagram.enabled=true",
        &format!("listeners.unix_datagram.path={}", datagram_path.display()),
    ];
    let mut daemon = Daemon::start(&settings);
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    // The lines of one datagram after another are recorded together.
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    daemon.signal("STOP");
    other.send_to(b"valid:1|c", daemon.address()).unwrap();
    udp.send_to(b"valid:1|c\npage.views:one|c\nvalid:1|c", daemon.address()).unwrap();
    other.send_to(b"valid:1|c\ntallyd.own:1|c", daemon.address()).unwrap();
    daemon.signal("CONT");
    let mut tcp = TcpStream::connect(daemon.address_of("tcp")).unwrap();
    tcp.write_all(b"page\x1b[2J:1|\n").unwrap();
    UnixStream::connect(&path).unwrap().write_all(b"page:1|x\n").unwrap();
    UnixDatagram::unbound().unwrap().send_to(b"page:1|c|@2", &datagram_path).unwrap();
    for reason in ["bad_value", "bad_name", "unknown_type", "bad_rate"] {
        daemon.wait_for_count("tallyd.lines_rejected", ("reason", reason));
    }
    let log = daemon.stop().log;
    let [udp, other] = [udp, other].map(|socket| socket.local_addr().unwrap());
    let (tcp, pid) = (tcp.local_addr().unwrap(), std::process::id());
    for expected in [
        format!(
            "reason=\"bad_value\" lines=1 intervals=1 line=\"page.views:one|c\" column=12 listener=\"udp\" sender={udp}"
        ),
        format!(
            "reason=\"reserved_name\" samples=1 intervals=1 line=\"tallyd.own:1|c\" listener=\"udp\" sender={other}"
        ),
        format!("line=\"page\\\\u{{1b}}[2J:1|\" column=5 listener=\"tcp\" sender={tcp}"),
        format!("line=\"page:1|x\" column=8 listener=\"unix_stream\" sender=pid {pid}, uid "),
        format!("line=\"page:1|c|@2\" column=11 listener=\"unix_datagram\" sender=pid {pid}, uid "),
    ] {
        assert!(log.contains(&expected), "{expected}: {log}");
    }
}
