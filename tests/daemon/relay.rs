//! Tests the relay with other tallyds and with plain sockets: every transport, servers that are gone, loops, reloads and
//! stops.

use std::fs;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::thread;

use serde_json::Value;
use tallyd_harness::http::free_address;
use tallyd_harness::process::{stderr, tallyd_command};
use tallyd_harness::{Daemon, Finished, TIMEOUT, wait_for_ok};
use tempfile::TempDir;

/// The name of the probes.
const PROBE: &str = "tallyd.relay_probe:0|c|@0.";

/// Returns the setting that relays to these servers.
fn relay(urls: &[&str]) -> String {
    format!("relay=[{{ to = {urls:?} }}]")
}

/// Starts a tallyd with a single listener. Returns it with the URL of the listener.
fn server(listener: &str, directory: &Path) -> (Daemon, String) {
    let path = directory.join(listener);
    let socket = if listener == "tcp" {
        "listeners.tcp.bind=127.0.0.1:0".to_owned()
    } else {
        format!("listeners.{listener}.path={}", path.display())
    };
    let enabled = format!("listeners.{listener}.enabled=true");
    let daemon = match listener {
        "udp" => Daemon::start(&[]),
        _ => Daemon::start(&["listeners.udp.enabled=false", &enabled, &socket]),
    };
    let scheme = match listener {
        "unix_datagram" => "unix",
        "unix_stream" => "unixstream",
        other => other,
    };
    let url = format!("{scheme}://{}", daemon.address_of(listener));
    (daemon, url)
}

/// Checks that each datagram for each server is sent, dropped or waiting. Returns the numbers of those sent and dropped
/// for a server.
#[track_caller]
fn assert_accounted(finished: &Finished, url: &str) -> (f64, f64) {
    let sum = |name: &str| finished.sum_of(&format!("tallyd.relay_datagrams{name}"), ("target", url));
    let (sent, dropped) = (sum("_sent"), sum("_dropped"));
    // A gauge has a row in each interval, and the tests that need this have one interval.
    assert_eq!(sum(""), sent + dropped + sum("_waiting"), "{url}");
    (sent, dropped)
}

/// Receives datagrams until one begins with `end`. Returns those before it, without probes.
fn datagrams_before(receive: impl Fn(&mut [u8]) -> std::io::Result<usize>, end: &str) -> Vec<String> {
    let (mut datagrams, mut buffer) = (Vec::new(), vec![0; 65_536]);
    loop {
        let length = receive(&mut buffer).unwrap();
        let datagram = String::from_utf8(buffer[..length].to_vec()).unwrap();
        if datagram.starts_with(end) {
            return datagrams;
        }
        if !datagram.starts_with(PROBE) {
            datagrams.push(datagram);
        }
    }
}

#[test]
fn servers_get_each_line_over_every_transport() {
    let directory = TempDir::new().unwrap();
    let servers =
        ["udp", "tcp", "unix_datagram", "unix_stream"].map(|listener| server(listener, directory.path()));
    let urls: Vec<_> = servers.iter().map(|(_, url)| url.as_str()).collect();
    let daemon =
        Daemon::start(&[&relay(&urls), "listeners.tcp.enabled=true", "listeners.tcp.bind=127.0.0.1:0"]);
    (0..500).for_each(|number| daemon.send(format!("a:{number}|c\nb:1|c")));
    let mut client = TcpStream::connect(daemon.address_of("tcp")).unwrap();
    client.write_all("c:2|c|#tag:x\n".repeat(2000).as_bytes()).unwrap();
    client.write_all(b"c:1|c").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(client.read(&mut [0]).unwrap(), 0, "tallyd has read everything");
    let own = daemon.stop();
    assert!(own.status.success(), "{}", own.log);
    for url in &urls {
        let (sent, dropped) = assert_accounted(&own, url);
        assert!(sent > 500.0 && dropped == 0.0, "{url}: {sent} {dropped}");
    }
    for (server, url) in servers {
        let finished = server.stop();
        for name in ["a", "b", "c"] {
            assert_eq!(finished.sum(name, "value"), own.sum(name, "value"), "{name} over {url}");
        }
        // A probe is a line that is neither recorded nor refused.
        let probes = finished.sum("tallyd.relay_probes", "value");
        assert!(probes >= 1.0, "{url}");
        let samples = finished.sum("tallyd.samples", "value");
        assert_eq!(finished.sum("tallyd.lines", "value"), samples + probes, "{url}");
        let refused = ["tallyd.series_refused", "tallyd.lines_rejected"];
        assert_eq!(refused.map(|name| finished.sum(name, "value")), [0.0; 2], "{url}");
    }
}

#[test]
fn datagrams_arrive_as_they_were_sent() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(TIMEOUT)).unwrap();
    let url = format!("udp://{}", server.local_addr().unwrap());
    let daemon = Daemon::start(&[&relay(&[&url]), "listeners.udp.max_datagram=512B"]);
    let sent = ["a:1|c", "a:1|c\n", "a:1|c\r\nb:2|ms|@0.1|#x:y\n\n", "no line", "_sc|x|0", "\u{fffd}:1|c"];
    sent.iter().for_each(|datagram| daemon.send(datagram));
    // A datagram that tallyd has not read whole is not relayed.
    daemon.send("x:1|c\n".repeat(100));
    daemon.send("end:1|c");
    assert_eq!(datagrams_before(|buffer| server.recv(buffer), "end"), sent);
}

#[test]
fn datagrams_of_senders_that_are_not_permitted_are_not_relayed() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(TIMEOUT)).unwrap();
    let url = format!("udp://{}", server.local_addr().unwrap());
    let networks = "listeners.udp.permitted_networks=[\"127.0.0.1\"]";
    let daemon = Daemon::start(&[&relay(&[&url]), networks, "listeners.udp.bind=0.0.0.0:0"]);
    let port = daemon.address().port();
    for (from, datagram) in
        [("127.0.0.2:0", "other:1|c"), ("127.0.0.1:0", "own:1|c"), ("127.0.0.1:0", "end:1|c")]
    {
        UdpSocket::bind(from).unwrap().send_to(datagram.as_bytes(), ("127.0.0.1", port)).unwrap();
    }
    assert_eq!(datagrams_before(|buffer| server.recv(buffer), "end"), ["own:1|c"]);
}

#[test]
fn servers_that_are_gone_cost_the_others_nothing_and_their_drops_are_counted() {
    let directory = TempDir::new().unwrap();
    let live = UdpSocket::bind("127.0.0.1:0").unwrap();
    live.set_read_timeout(Some(TIMEOUT)).unwrap();
    let closed = free_address();
    let urls = [
        format!("udp://{}", live.local_addr().unwrap()),
        format!("udp://{closed}"),
        format!("tcp://{closed}"),
        format!("unix://{}/datagram", directory.path().display()),
        format!("unixstream://{}/stream", directory.path().display()),
        "udp://no.such.host.invalid:1".to_owned(),
    ];
    let urls = urls.each_ref().map(String::as_str);
    let daemon = Daemon::start(&[&relay(&urls), "shutdown.timeout=2s"]);
    (0..100).for_each(|_| daemon.send("a:1|c"));
    daemon.send("end:1|c");
    assert_eq!(datagrams_before(|buffer| live.recv(buffer), "end").len(), 100);
    let finished = daemon.stop();
    assert!(finished.status.success(), "{}", finished.log);
    assert_eq!(finished.sum("a", "value"), 100.0);
    assert_eq!(assert_accounted(&finished, urls[0]), (101.0, 0.0));
    let refused =
        finished.named("tallyd.relay_datagrams_dropped").find(|row| row["tags"]["target"] == urls[1]);
    assert_eq!(refused.unwrap()["tags"]["reason"], "refused");
    assert!(assert_accounted(&finished, urls[1]).1 >= 50.0);
    for url in &urls[2..] {
        // What waited for a server is dropped at the stop, which may be after the last interval.
        let (sent, dropped) = assert_accounted(&finished, url);
        assert_eq!(sent, 0.0, "{url}");
        assert!([0.0, 101.0].contains(&dropped), "{url}");
        let lost = |line: &&str| line.contains("were dropped at the end") && line.contains(url);
        assert!(finished.log.lines().any(|line| lost(&line) && line.contains("datagrams=101")), "{url}");
        assert!(finished.log.contains("cannot relay to a server"), "{}", finished.log);
    }
}

#[test]
fn datagrams_wait_for_a_server_that_starts_later() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("s");
    let daemon = Daemon::start(&[&relay(&[&format!("unix://{}", path.display())])]);
    (0..100).for_each(|number| daemon.send(format!("a:{number}|c")));
    daemon.send("end:1|c");
    let server = UnixDatagram::bind(&path).unwrap();
    server.set_read_timeout(Some(TIMEOUT)).unwrap();
    let expected: Vec<_> = (0..100).map(|number| format!("a:{number}|c")).collect();
    assert_eq!(datagrams_before(|buffer| server.recv(buffer), "end"), expected);
    // A server that is restarted gets the rest, too.
    drop(server);
    fs::remove_file(&path).unwrap();
    (0..3).for_each(|number| daemon.send(format!("b:{number}|c")));
    daemon.send("end:1|c");
    let server = UnixDatagram::bind(&path).unwrap();
    server.set_read_timeout(Some(TIMEOUT)).unwrap();
    assert_eq!(datagrams_before(|buffer| server.recv(buffer), "end"), ["b:0|c", "b:1|c", "b:2|c"]);
}

#[test]
fn a_stop_sends_what_a_slow_server_has_not_taken_yet() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("tcp://{}", server.local_addr().unwrap());
    let daemon = Daemon::start(&[
        &relay(&[&url]),
        "listeners.udp.enabled=false",
        "listeners.tcp.enabled=true",
        "listeners.tcp.bind=127.0.0.1:0",
        "shutdown.timeout=1m",
    ]);
    let mut from_tallyd = accept(&server);
    let mut client = TcpStream::connect(daemon.address_of("tcp")).unwrap();
    // This is more than the kernel holds for a server that does not read, and less than the queue.
    let lines = "a:1|c|#tag:0123456789abcdef\n".repeat(100_000);
    client.write_all(lines.as_bytes()).unwrap();
    drop(client);
    let stopped = thread::spawn(move || daemon.stop());
    let mut received = String::new();
    from_tallyd.read_to_string(&mut received).unwrap();
    let is_sample = |line: &&str| !line.starts_with(PROBE);
    assert_eq!(received.lines().filter(is_sample).count(), 100_000);
    let finished = stopped.join().unwrap();
    assert!(finished.status.success(), "{}", finished.log);
    assert_eq!(finished.sum("a", "value"), 100_000.0);
    assert_eq!(assert_accounted(&finished, &url).1, 0.0);
}

/// Waits for a connection. The listener does not block afterwards, and the connection ends each wait after a minute.
fn accept(listener: &TcpListener) -> TcpStream {
    listener.set_nonblocking(true).unwrap();
    let (connection, _) = wait_for_ok(|| listener.accept());
    connection.set_nonblocking(false).unwrap();
    connection.set_read_timeout(Some(TIMEOUT)).unwrap();
    connection
}

/// Writes a configuration file for a tallyd that relays to these servers.
fn write(file: &Path, urls: &[&str]) {
    let quick = "flush.interval = \"100ms\"\n";
    fs::write(file, format!("{quick}[[relay]]\nto = {urls:?}\n")).unwrap();
}

fn reload(daemon: &mut Daemon) {
    daemon.signal("HUP");
    daemon.wait_for_next(|row| row["name"] == "tallyd.config_reloads" && row["value"] == 1.0);
}

#[test]
fn a_loop_of_two_tallyds_is_found_before_a_line_runs_in_circles() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("tallyd.toml");
    fs::write(&file, "flush.interval = \"100ms\"\n").unwrap();
    let mut first = Daemon::start_from(&file, &[]);
    let to_first = format!("udp://{}", first.address());
    let mut second = Daemon::start(&[&relay(&[&to_first]), "flush.interval=100ms"]);
    let to_second = format!("udp://{}", second.address());
    second.send("before:1|c");
    first.wait_for(|row| row["name"] == "before");
    write(&file, &[&to_second]);
    reload(&mut first);
    first.wait_for(|row| row["name"] == "tallyd.relay_loop_probes" && row["value"].as_f64() > Some(0.0));
    (0..10).for_each(|_| first.send("a:1|c"));
    first.wait_for_count("tallyd.relay_datagrams_dropped", ("reason", "loop"));
    // The other tallyd finds the loop by its next probe, which this one passes on.
    second.wait_for(|row| row["name"] == "tallyd.relay_loop_probes" && row["value"].as_f64() > Some(0.0));
    (0..10).for_each(|_| second.send("b:1|c"));
    second.wait_for_count("tallyd.relay_datagrams_dropped", ("reason", "loop"));
    let (first, second) = (first.stop(), second.stop());
    let sums = |name| [&first, &second].map(|finished| finished.sum(name, "value"));
    assert_eq!((sums("before"), sums("a"), sums("b")), ([1.0, 1.0], [10.0, 0.0], [0.0, 10.0]));
    for finished in [first, second] {
        let found = finished.log.lines().find(|line| line.contains("comes back to it")).unwrap();
        assert!(found.contains("ERROR") && found.contains("sender=127.0.0.1:"), "{found}");
    }
}

#[test]
fn a_reload_adds_and_removes_servers_and_the_others_do_not_notice() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("tallyd.toml");
    let [stays, comes] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let [to_stays, to_comes] =
        [&stays, &comes].map(|server| format!("tcp://{}", server.local_addr().unwrap()));
    write(&file, &[&to_stays]);
    let mut daemon = Daemon::start_from(&file, &[]);
    let mut staying = accept(&stays);
    daemon.send("a:1|c");
    daemon.wait_for(|row| row["name"] == "a");
    write(&file, &[&to_stays, &to_comes]);
    reload(&mut daemon);
    let mut coming = accept(&comes);
    daemon.send("b:1|c");
    daemon.wait_for(|row| row["name"] == "b");
    write(&file, &[&to_stays]);
    reload(&mut daemon);
    let without_probes = |mut stream: &TcpStream| {
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        text.lines().filter(|line| !line.starts_with(PROBE)).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(without_probes(&mut coming), ["b:1|c"], "its connection ends");
    daemon.send("c:1|c");
    let finished = daemon.stop();
    assert!(finished.status.success(), "{}", finished.log);
    assert_eq!(without_probes(&mut staying), ["a:1|c", "b:1|c", "c:1|c"]);
    assert!(stays.accept().is_err(), "tallyd has connected once");
}

#[test]
fn own_listeners_and_wrong_servers_are_refused_with_the_reason() {
    let own = |listener: &str| format!("is tallyd's own listener ({listener})");
    let cases: [(&[&str], &str); 7] = [
        (&["udp://127.0.0.1:8125"], &own("listeners.udp.bind")),
        (&["udp://localhost:8125"], &own("listeners.udp.bind")),
        (&["udp://[::ffff:127.0.0.1]:8125"], &own("listeners.udp.bind")),
        (&["unix:///run/tallyd/tallyd.sock"], &own("listeners.unix_datagram.path")),
        (&["statsd:8125"], "not a URL; give udp://HOST:PORT"),
        (&["tcp://h:1", "tcp://h:1"], "tcp://h:1 appears twice"),
        (&[], "names no server"),
    ];
    for (urls, problem) in cases {
        let mut tallyd = tallyd_command();
        let settings = [&relay(urls), "listeners.unix_datagram.enabled=true"];
        let output = tallyd
            .arg("check")
            .args(settings.iter().flat_map(|setting| ["--set", setting]))
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(78), "{urls:?}");
        assert!(
            stderr(&output).contains("relay: ") && stderr(&output).contains(problem),
            "{}",
            stderr(&output)
        );
    }
    // Another port, and a listener that is off, are other servers.
    for urls in [["udp://127.0.0.1:8126"], ["tcp://127.0.0.1:8125"]] {
        let output = tallyd_command().args(["check", "--set", &relay(&urls)]).output().unwrap();
        assert!(output.status.success(), "{}", stderr(&output));
    }
}

#[test]
fn a_server_that_must_not_see_probes_gets_none() {
    let server = UdpSocket::bind("127.0.0.1:0").unwrap();
    server.set_read_timeout(Some(TIMEOUT)).unwrap();
    let relay =
        format!("relay=[{{ to = [\"udp://{}\"], detect_loops = false }}]", server.local_addr().unwrap());
    let daemon = Daemon::start(&[&relay]);
    daemon.send("a:1|c");
    let mut buffer = [0; 100];
    let length = server.recv(&mut buffer).unwrap();
    assert_eq!(&buffer[..length], b"a:1|c");
}

/// Returns true if a row is of a series about relaying to one server.
fn is_about_server(row: &Value) -> bool {
    row["tags"].get("target").is_some()
}

#[test]
fn without_a_relay_there_are_no_series_about_servers() {
    let finished = Daemon::start(&[]).stop();
    assert!(!finished.rows.iter().any(is_about_server));
}
