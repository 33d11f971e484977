//! Tests TCP and Unix sockets: lines that arrive, clients that do harm, and stops that drain.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::Value;
use socket2::SockRef;
use tallyd_harness::http::get;
use tallyd_harness::process::{stderr, tallyd_command};
use tallyd_harness::{Daemon, Finished, HTTP, wait_for, wait_until};

const TCP: [&str; 2] = ["listeners.tcp.enabled=true", "listeners.tcp.bind=127.0.0.1:0"];

fn with_tcp(settings: &[&str]) -> Daemon {
    Daemon::start(&[&TCP, settings].concat())
}

/// Starts tallyd with a Unix listener whose socket is in `directory`.
fn with_unix(listener: &str, directory: &Path, settings: &[&str]) -> Daemon {
    let path = format!("listeners.{listener}.path={}", directory.join("tallyd.sock").display());
    let enabled = format!("listeners.{listener}.enabled=true");
    Daemon::start(&[&[enabled.as_str(), &path], settings].concat())
}

fn connect(daemon: &Daemon) -> TcpStream {
    TcpStream::connect(daemon.address_of("tcp")).unwrap()
}

/// Waits until tallyd has closed the connection.
fn wait_for_end(mut client: impl Read) {
    match client.read(&mut [0]) {
        Ok(length) => assert_eq!(length, 0, "tallyd sends nothing"),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
}

fn framed(payload: &str) -> Vec<u8> {
    [&(payload.len() as u32).to_le_bytes()[..], payload.as_bytes()].concat()
}

fn closed(finished: &Finished, reason: &str) -> f64 {
    finished.sum_of("tallyd.connections_closed", ("reason", reason))
}

fn rejected_as_too_long(finished: &Finished) -> f64 {
    finished.sum_of("tallyd.lines_rejected", ("reason", "line_too_long"))
}

fn open_connections(count: f64) -> impl Fn(&Value) -> bool {
    move |row| row["name"] == "tallyd.connections" && row["value"] == count
}

#[test]
fn all_lines_of_a_tcp_connection_count_including_an_unterminated_last_one() {
    let daemon = with_tcp(&[]);
    let mut client = connect(&daemon);
    for piece in ["a:1|c\na:2", "|c\r\n\na:", "4|c"] {
        client.write_all(piece.as_bytes()).unwrap();
    }
    client.shutdown(std::net::Shutdown::Write).unwrap();
    wait_for_end(client);
    let finished = daemon.stop();
    assert!(finished.status.success(), "{}", finished.log);
    assert_eq!(finished.sum("a", "value"), 7.0);
    assert_eq!(finished.sum("tallyd.lines", "value"), 3.0);
    assert_eq!(finished.sum("tallyd.bytes", "value"), 19.0);
    assert_eq!(finished.sum("tallyd.datagrams", "value"), 0.0, "a connection has no datagrams");
    assert_eq!(finished.sum("tallyd.lines_truncated", "value"), 0.0);
    assert_eq!(finished.sum("tallyd.connections_opened", "value"), 1.0);
    assert_eq!(closed(&finished, "end"), 1.0);
    assert_eq!(finished.named("tallyd.connections_opened").next().unwrap()["tags"]["listener"], "tcp");
}

#[test]
fn only_enabled_stream_listeners_have_connection_telemetry() {
    let finished = Daemon::start(&[]).stop();
    assert!(finished.rows.iter().all(|row| !row["name"].as_str().unwrap().contains("connections")));
}

#[test]
fn unix_datagrams_count_like_udp_and_longer_ones_are_truncated() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = with_unix(
        "unix_datagram",
        directory.path(),
        &[
            "listeners.udp.enabled=false",
            "listeners.unix_datagram.mode=0622",
            "listeners.unix_datagram.max_datagram=512B",
        ],
    );
    let path = daemon.address_of("unix_datagram").to_owned();
    let metadata = fs::metadata(&path).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o622);
    let client = UnixDatagram::unbound().unwrap();
    client.send_to(b"a:1|c\na:2|c", &path).unwrap();
    client.send_to("b:1234|c\n".repeat(100).as_bytes(), &path).unwrap();
    let finished = daemon.stop();
    assert_eq!(finished.sum("a", "value"), 3.0);
    assert_eq!(finished.sum("b", "value"), 1234.0 * f64::from(512 / 9));
    assert_eq!(finished.sum("tallyd.datagrams", "value"), 2.0);
    assert_eq!(finished.sum("tallyd.datagrams_truncated", "value"), 1.0);
    assert!(!Path::new(&path).exists(), "removed at the stop");
}

#[test]
fn lines_that_arrive_during_a_pause_belong_to_the_interval_of_the_pause() {
    let mut daemon = with_tcp(&["flush.interval=500ms"]);
    let mut client = connect(&daemon);
    let mut complete = 0;
    for round in 0..4 {
        daemon.signal("STOP");
        let begin = Instant::now();
        client.write_all(format!("a.{round}:1|c\n").repeat(10_000).as_bytes()).unwrap();
        thread::sleep(Duration::from_millis(1500).saturating_sub(begin.elapsed()));
        daemon.signal("CONT");
        let row = daemon.wait_for(|row| row["name"] == format!("a.{round}"));
        complete += u32::from(row["value"] == 10_000.0);
    }
    // A flush does not wait for ever, and a busy machine may keep a receiver from running.
    assert!(complete >= 3, "{complete} of 4 intervals");
}

#[test]
fn unix_datagram_without_a_setting_is_never_truncated() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = with_unix("unix_datagram", directory.path(), &[]);
    let client = UnixDatagram::unbound().unwrap();
    client.connect(daemon.address_of("unix_datagram")).unwrap();
    // The kernel refuses datagrams that do not fit into its send buffer.
    let lines = |count: usize| "a:1|c\n".repeat(count);
    let longest =
        (1..).map(|step| step * 1000).take_while(|&count| client.send(lines(count).as_bytes()).is_ok());
    let sent: usize = longest.sum();
    assert!(sent > 20_000, "{sent}");
    let finished = daemon.stop();
    assert_eq!(finished.sum("a", "value"), sent as f64);
    assert_eq!(finished.sum("tallyd.datagrams_truncated", "value"), 0.0);
}

#[test]
fn removed_file_of_unix_datagrams_is_bound_again() {
    let directory = tempfile::tempdir().unwrap();
    let mut daemon = with_unix("unix_datagram", directory.path(), &["flush.interval=100ms"]);
    let path = daemon.address_of("unix_datagram").to_owned();
    let connected = UnixDatagram::unbound().unwrap();
    connected.connect(&path).unwrap();
    // There are more rounds than sockets that tallyd keeps.
    for round in 0..10 {
        fs::remove_file(&path).unwrap();
        let client = UnixDatagram::unbound().unwrap();
        wait_until(|| client.connect(&path).is_ok());
        client.send(format!("new.{round}:1|c").as_bytes()).unwrap();
        daemon.wait_for(|row| row["name"] == format!("new.{round}"));
        if round == 0 {
            connected.send(b"connected:1|c").unwrap();
            daemon.wait_for(|row| row["name"] == "connected");
        }
    }
    let refused = connected.send(b"late:1|c").unwrap_err();
    assert!(matches!(refused.kind(), ErrorKind::ConnectionRefused | ErrorKind::BrokenPipe), "{refused}");
    let finished = daemon.stop();
    assert!(finished.status.success());
    assert_eq!(finished.log.matches("bound the socket again").count(), 10, "{}", finished.log);
    assert!(!Path::new(&path).exists(), "removed at the stop");
}

#[test]
fn removed_file_of_a_unix_stream_is_bound_again() {
    let directory = tempfile::tempdir().unwrap();
    let settings = ["flush.interval=100ms", "listeners.unix_stream.framing=lines"];
    let mut daemon = with_unix("unix_stream", directory.path(), &settings);
    let path = daemon.address_of("unix_stream").to_owned();
    let mut connected = UnixStream::connect(&path).unwrap();
    for round in 0..3 {
        fs::remove_file(&path).unwrap();
        let mut client = wait_for(|| UnixStream::connect(&path).ok());
        client.write_all(format!("new.{round}:1|c\n").as_bytes()).unwrap();
        connected.write_all(format!("connected.{round}:1|c\n").as_bytes()).unwrap();
        daemon.wait_for(|row| row["name"] == format!("new.{round}"));
        daemon.wait_for(|row| row["name"] == format!("connected.{round}"));
    }
    let finished = daemon.stop();
    assert_eq!(finished.log.matches("bound the socket again").count(), 3, "{}", finished.log);
    assert!(!Path::new(&path).exists(), "removed at the stop");
}

#[test]
fn full_queue_of_unix_datagrams_blocks_clients_and_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = with_unix("unix_datagram", directory.path(), &[]);
    let client = UnixDatagram::unbound().unwrap();
    client.connect(daemon.address_of("unix_datagram")).unwrap();
    daemon.signal("STOP");
    client.set_nonblocking(true).unwrap();
    let mut sent = 0;
    let refusal = loop {
        match client.send(b"a:1|c") {
            Ok(_) => sent += 1,
            Err(error) => break error,
        }
    };
    assert_eq!(refusal.kind(), ErrorKind::WouldBlock, "{refusal}");
    // This client waits until tallyd runs again.
    client.set_nonblocking(false).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| client.send(b"a:1|c").unwrap());
        daemon.signal("CONT");
    });
    assert_eq!(daemon.stop().sum("a", "value"), f64::from(sent + 1));
}

#[test]
fn each_payload_of_a_unix_stream_follows_its_length() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = with_unix("unix_stream", directory.path(), &[]);
    let mut client = UnixStream::connect(daemon.address_of("unix_stream")).unwrap();
    client.write_all(&[framed("a:1|c\na:2|c"), framed(""), framed("a:4|c\n")].concat()).unwrap();
    // The last payload is incomplete: in `a:8|c\na:16`, the second line may have been longer.
    client.write_all(&framed("a:8|c\na:16|c")[..14]).unwrap();
    client.shutdown(std::net::Shutdown::Write).unwrap();
    wait_for_end(client);
    let finished = daemon.stop();
    assert_eq!(finished.sum("a", "value"), 15.0);
    assert_eq!(finished.sum("tallyd.lines_truncated", "value"), 1.0);
    assert_eq!(finished.sum_of("tallyd.connections_closed", ("listener", "unix_stream")), 1.0);
}

#[test]
fn text_in_place_of_a_length_ends_the_connection() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = with_unix("unix_stream", directory.path(), &[]);
    let mut client = UnixStream::connect(daemon.address_of("unix_stream")).unwrap();
    client.write_all(b"a:1|c\na:1|c\n").unwrap();
    wait_for_end(client);
    let finished = daemon.stop();
    assert_eq!(rejected_as_too_long(&finished), 1.0);
    assert_eq!(finished.sum("tallyd.lines", "value"), 1.0);
    assert_eq!(closed(&finished, "frame_too_long"), 1.0);
}

#[test]
fn line_truncated_by_a_broken_connection_is_counted_and_not_recorded() {
    let mut daemon = with_tcp(&["flush.interval=100ms"]);
    let mut client = connect(&daemon);
    client.write_all(b"a:1|c\na:12").unwrap();
    daemon.wait_for(|row| row["name"] == "a");
    SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
    drop(client);
    daemon.wait_for(|row| row["name"] == "tallyd.lines_truncated" && row["value"] == 1.0);
    let finished = daemon.stop();
    assert_eq!(finished.sum("a", "value"), 1.0);
    assert_eq!(finished.sum("tallyd.lines", "value"), 1.0);
    assert_eq!(closed(&finished, "broken"), 1.0);
}

#[test]
fn idle_connection_is_closed_after_the_timeout() {
    let daemon = with_tcp(&["listeners.tcp.idle_timeout=1s"]);
    let mut client = connect(&daemon);
    client.write_all(b"a:1|c\na:1").unwrap();
    wait_for_end(client);
    let finished = daemon.stop();
    assert_eq!(finished.sum("a", "value"), 1.0);
    assert_eq!(finished.sum("tallyd.lines_truncated", "value"), 1.0);
    assert_eq!(closed(&finished, "idle"), 1.0);
}

#[test]
fn a_new_connection_takes_the_place_of_the_longest_idle_one_whose_lines_count() {
    let mut daemon = with_tcp(&["listeners.tcp.max_connections=2", "flush.interval=100ms"]);
    let [mut first, mut second] = [connect(&daemon), connect(&daemon)];
    daemon.wait_for(open_connections(2.0));
    second.write_all(b"b:1|c\n").unwrap();
    daemon.wait_for(|row| row["name"] == "b");
    // Whether tallyd reads or accepts first, all that the clients have sent counts.
    daemon.signal("STOP");
    let lines = "a:1|c\n".repeat(10_000);
    for client in [&mut first, &mut second] {
        client.write_all(lines.as_bytes()).unwrap();
    }
    let mut third = connect(&daemon);
    third.write_all(b"c:1|c\n").unwrap();
    daemon.signal("CONT");
    daemon.wait_for(|row| row["name"] == "c");
    daemon.wait_for_count("tallyd.connections_closed", ("reason", "evicted"));
    let finished = daemon.stop();
    assert_eq!(finished.sum("a", "value"), 20_000.0);
    assert_eq!(finished.sum("tallyd.connections_opened", "value"), 3.0);
    assert_eq!(closed(&finished, "evicted"), 1.0);
    assert_eq!(closed(&finished, "stop"), 2.0);
    assert!(finished.log.contains("listeners.tcp.max_connections"), "{}", finished.log);
}

#[test]
fn connections_give_way_in_the_order_of_their_latest_data() {
    let mut daemon = with_tcp(&["listeners.tcp.max_connections=3", "flush.interval=100ms"]);
    let mut clients = [connect(&daemon), connect(&daemon), connect(&daemon)];
    daemon.wait_for(open_connections(3.0));
    for (order, index) in [2, 0, 1].into_iter().enumerate() {
        clients[index].write_all(format!("a.{order}:1|c\n").as_bytes()).unwrap();
        daemon.wait_for(|row| row["name"] == format!("a.{order}"));
    }
    let newcomers = [2, 0, 1].map(|index| {
        let newcomer = connect(&daemon);
        wait_for_end(&clients[index]);
        newcomer
    });
    drop(newcomers);
    assert_eq!(closed(&daemon.stop(), "evicted"), 3.0);
}

#[test]
fn slow_endless_and_flooding_clients_do_not_affect_others() {
    let mut daemon = with_tcp(&["flush.interval=100ms"]);
    let address: SocketAddr = daemon.address_of("tcp").parse().unwrap();
    let flooded = AtomicU64::new(0);
    let done = AtomicBool::new(false);
    let flood = |what: &[u8]| {
        let mut client = TcpStream::connect(address).unwrap();
        while !done.load(Ordering::SeqCst) && client.write_all(what).is_ok() {
            flooded.fetch_add(1, Ordering::SeqCst);
        }
    };
    let mut slow = TcpStream::connect(address).unwrap();
    slow.write_all(b"slow:").unwrap();
    let finished = thread::scope(|scope| {
        // One client sends a line that never ends. Another sends lines faster than tallyd can record them.
        scope.spawn(|| flood("x".repeat(100_000).as_bytes()));
        scope.spawn(|| flood("flood:1|c\n".repeat(10_000).as_bytes()));
        daemon.wait_for(|row| row["name"] == "flood");
        for round in 0..20 {
            slow.write_all(b"1").unwrap();
            let mut client = TcpStream::connect(address).unwrap();
            client.write_all(format!("a.{round}:1|c\n").as_bytes()).unwrap();
            let name = format!("a.{round}");
            daemon.wait_for(|row| row["name"] == name.as_str());
        }
        slow.write_all(b"|c\n").unwrap();
        daemon.wait_for(|row| row["name"] == "slow");
        // The clients keep sending while tallyd stops.
        let finished = daemon.stop();
        done.store(true, Ordering::SeqCst);
        finished
    });
    assert!(finished.status.success(), "{}", finished.log);
    assert!(flooded.into_inner() > 0);
    assert_eq!(finished.sum("slow", "value"), 11_111_111_111_111_111_111.0);
    assert_eq!(rejected_as_too_long(&finished), 1.0, "the endless line is one line");
    let recorded = finished.sum("tallyd.samples", "value");
    assert_eq!(finished.sum("tallyd.lines", "value"), recorded + 1.0);
    let errors: Vec<_> = finished.log.lines().filter(|line| line.contains(" ERROR ")).collect();
    let [error] = errors[..] else { panic!("{}", finished.log) };
    assert!(error.contains("lines were rejected") && error.contains("reason=\"line_too_long\""), "{error}");
}

#[test]
fn stop_records_what_open_and_waiting_connections_have_sent() {
    let directory = tempfile::tempdir().unwrap();
    let daemon = with_unix("unix_stream", directory.path(), &TCP);
    let mut accepted = connect(&daemon);
    accepted.write_all(b"a:1|c\n").unwrap();
    let path = daemon.address_of("unix_stream").to_owned();
    daemon.signal("STOP");
    let lines = "a:1|c\n".repeat(1000);
    accepted.write_all(lines.as_bytes()).unwrap();
    let mut tcp: Vec<_> = (0..50).map(|_| connect(&daemon)).collect();
    tcp.iter_mut().for_each(|client| client.write_all(lines.as_bytes()).unwrap());
    let mut unix: Vec<_> = (0..50).map(|_| UnixStream::connect(&path).unwrap()).collect();
    unix.iter_mut().for_each(|client| client.write_all(&framed(&lines)).unwrap());
    // Twenty clients send a line without a line feed. The first ten then close, which completes their lines. tallyd
    // counts the lines of the other ten as truncated.
    for client in &mut tcp[..20] {
        client.write_all(b"a:1|c").unwrap();
    }
    tcp.drain(..10);
    daemon.signal("TERM");
    daemon.signal("CONT");
    let finished = daemon.wait();
    assert!(finished.status.success(), "{}", finished.log);
    assert_eq!(finished.sum("a", "value"), 101_001.0 + 10.0);
    assert_eq!(finished.sum("tallyd.lines_truncated", "value"), 10.0);
    assert_eq!(closed(&finished, "end"), 10.0);
    assert_eq!(closed(&finished, "stop"), 91.0);
    assert!(!Path::new(&path).exists());
}

#[test]
fn stop_during_a_tcp_stream_records_what_was_written_before() {
    let daemon = with_tcp(&[]);
    let mut client = connect(&daemon);
    // The lines take more than one read, and do not fit in a receive buffer of the initial size.
    let lines = "a:1|c\n".repeat(500_000);
    client.write_all(lines.as_bytes()).unwrap();
    let finished = daemon.stop();
    assert_eq!(finished.sum("a", "value"), 500_000.0);
    assert_eq!(finished.sum("tallyd.lines_truncated", "value"), 0.0);
}

/// Lowers the limit of open files of a running tallyd, which has adapted its limits to a higher one.
fn limit_open_files(daemon: &Daemon) {
    let process = daemon.id().to_string();
    let status = Command::new("prlimit").args(["--pid", &process, "--nofile=40:40"]).status().unwrap();
    assert!(status.success());
}

#[test]
fn idle_connections_leave_file_descriptors_to_exporters_and_scrapes() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("tallyd.prom");
    let textfile = format!("exporters.textfile.path={}", file.display());
    let settings = ["flush.interval=100ms", "exporters.textfile.enabled=true", &textfile];
    // tallyd raises the soft limit to the hard one.
    let wrapper = ["sh", "-c", "ulimit -Sn 100 && ulimit -Hn 160 && exec \"$@\"", "sh"];
    let mut daemon = Daemon::start_in(&wrapper, &[&TCP[..], &HTTP, &settings].concat());
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.id())).unwrap();
    let open_files = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    assert_eq!(open_files.split_whitespace().filter(|word| *word == "160").count(), 2, "{open_files}");
    let http = daemon.http_address();
    let idle: Vec<_> = (0..300).map(|_| connect(&daemon)).collect();
    let idle_http: Vec<_> = (0..300).map(|_| TcpStream::connect(http).unwrap()).collect();
    daemon.wait_for_count("tallyd.connections_closed", ("reason", "evicted"));
    daemon.wait_for_count("tallyd.http_connections_closed", ("reason", "evicted"));
    for value in 1..=3 {
        let mut client = connect(&daemon);
        client.write_all(format!("a:{value}|g\n").as_bytes()).unwrap();
        let line = format!("\na {value}\n");
        wait_until(|| fs::read_to_string(&file).is_ok_and(|page| page.contains(&line)));
        wait_until(|| get(http, "/metrics").text().contains(&line));
    }
    drop((idle, idle_http));
    let finished = daemon.stop();
    assert!(finished.status.success(), "{}", finished.log);
    assert!(finished.log.contains("http: 47 instead of 128, tcp: 48 instead of 1024"), "{}", finished.log);
    assert!(!finished.log.contains("cannot be accepted"), "{}", finished.log);
    assert_eq!(finished.sum("tallyd.export_errors", "value"), 0.0);
}

#[test]
fn connections_wait_for_free_file_descriptors_and_the_log_says_so_once() {
    let mut daemon = with_tcp(&["flush.interval=100ms"]);
    limit_open_files(&daemon);
    let mut clients: Vec<_> = (0..60).map(|_| connect(&daemon)).collect();
    clients.iter_mut().for_each(|client| client.write_all(b"a:1|c\n").unwrap());
    let is_a = |row: &Value| row["name"] == "a";
    let mut lines = daemon.wait_for(is_a)["value"].as_f64().unwrap();
    assert!(lines < 60.0, "the limit is too high for this test");
    // tallyd accepts the other connections as soon as it can open files, so no line is lost.
    drop(clients);
    while lines < 60.0 {
        lines += daemon.wait_for_next(is_a)["value"].as_f64().unwrap();
    }
    let finished = daemon.stop();
    assert_eq!(finished.sum("a", "value"), 60.0);
    assert_eq!(finished.log.matches("cannot be accepted").count(), 1, "{}", finished.log);
}

#[test]
fn stop_records_connections_that_waited_for_file_descriptors() {
    let daemon = with_tcp(&[]);
    limit_open_files(&daemon);
    daemon.signal("STOP");
    let mut clients: Vec<_> = (0..200).map(|_| connect(&daemon)).collect();
    clients.iter_mut().for_each(|client| client.write_all(b"a:1|c\n").unwrap());
    daemon.signal("TERM");
    daemon.signal("CONT");
    let finished = daemon.wait();
    assert!(finished.status.success(), "{}", finished.log);
    assert_eq!(finished.sum("a", "value"), 200.0, "{}", finished.log);
}

#[test]
fn start_replaces_an_abandoned_socket_file_but_not_a_served_one() {
    let directory = tempfile::tempdir().unwrap();
    for listener in ["unix_datagram", "unix_stream"] {
        let first = with_unix(listener, directory.path(), &[]);
        let path = format!("listeners.{listener}.path={}", first.address_of(listener));
        let enabled = format!("listeners.{listener}.enabled=true");
        let second = tallyd_command()
            .args(["--set", "listeners.udp.enabled=false", "--set", &enabled, "--set", &path])
            .output()
            .unwrap();
        assert_eq!(second.status.code(), Some(1));
        assert!(stderr(&second).contains("another process serves this socket"), "{}", stderr(&second));
        first.signal("KILL");
        drop(first);
        let third = with_unix(listener, directory.path(), &[]);
        assert!(third.stop().status.success());
    }
}

/// Returns how often tallyd's thread of this name has gone to sleep.
fn sleeps(daemon: &Daemon, thread: &str) -> u64 {
    let is_named =
        |path: &PathBuf| fs::read_to_string(path.join("comm")).is_ok_and(|name| name.trim() == thread);
    // A thread takes its name some time after it was started.
    let path = wait_for(|| {
        let threads = fs::read_dir(format!("/proc/{}/task", daemon.id())).unwrap();
        threads.map(|entry| entry.unwrap().path()).find(is_named)
    });
    let status = fs::read_to_string(path.join("status")).unwrap();
    let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")).unwrap();
    count.trim().parse().unwrap()
}

#[test]
fn receivers_that_rest_are_woken_for_few_of_many_small_writes() {
    const WRITES: u64 = 2000;
    let [awake, resting] = ["0s", "50ms"].map(|delay| {
        let daemon = with_tcp(&[&format!("listeners.coalesce_delay={delay}")]);
        let mut client = connect(&daemon);
        client.set_nodelay(true).unwrap();
        let write_to = |thread: &str, write: &mut dyn FnMut()| {
            let before = sleeps(&daemon, thread);
            for _ in 0..WRITES {
                write();
                let due = Instant::now() + Duration::from_micros(100);
                while Instant::now() < due {
                    std::hint::spin_loop();
                }
            }
            sleeps(&daemon, thread) - before
        };
        let udp = write_to("udp-0", &mut || daemon.send("a:1|c"));
        let tcp = write_to("tcp", &mut || client.write_all(b"a:1|c\n").unwrap());
        drop(client);
        assert_eq!(daemon.stop().sum("a", "value"), 2.0 * WRITES as f64);
        [udp, tcp]
    });
    for (awake, resting) in awake.into_iter().zip(resting) {
        assert!(resting * 4 < awake, "{resting} of {awake} wake-ups");
        assert!(resting < WRITES / 10, "{resting} wake-ups for {WRITES} writes");
    }
}
