//! Tests the delivery to servers that change, misbehave or are gone.

use std::fs;
use std::io::Read;
use std::net::TcpStream;
use std::time::Duration;

use tallyd_harness::fake::{FakeServer, respond, wait_for_end};
use tallyd_harness::{Daemon, Finished, wait_until};
use tempfile::TempDir;

/// Reads what is left of a request. Otherwise, the end of the connection would reset it before the client has read the answer.
fn read_rest(connection: &mut TcpStream) {
    connection.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    _ = connection.read_to_end(&mut Vec::new());
}

/// Starts a server that answers each request with a status and headers.
fn server(status: &'static str, headers: &'static str) -> FakeServer {
    FakeServer::start(move |_, connection| {
        read_rest(connection);
        respond(connection, status, headers, "its words");
    })
}

fn endpoint(name: &str, server: &FakeServer, timeout: &str) -> String {
    format!(
        "{{name=\"{name}\", url=\"{}/api/v1/write\", protocol=\"1.0\", timeout=\"{timeout}\"}}",
        server.url()
    )
}

/// Checks that each point that was queued for an endpoint was acknowledged, refused or dropped.
fn assert_accounted(finished: &Finished, endpoint: &str) {
    let sum = |name: &str| finished.sum_of(&format!("tallyd.{name}"), ("endpoint", endpoint));
    let settled = sum("points_acknowledged") + sum("points_refused") + sum("points_dropped");
    // The counts of the last requests are in no interval any more.
    assert!(
        sum("points_queued") >= settled,
        "{endpoint}: {} queued, {settled} settled",
        sum("points_queued")
    );
    assert!(sum("points_queued") > 0.0, "{endpoint}");
}

#[test]
fn servers_that_misbehave_are_named_and_delay_nothing_else() {
    let [silent, stuck] = [(); 2].map(|()| FakeServer::start(|_, connection| wait_for_end(connection)));
    let rubbish = FakeServer::start(|_, connection| {
        read_rest(connection);
        _ = std::io::Write::write_all(connection, b"rubbish\r\n\r\n");
    });
    let endless = FakeServer::start(|_, connection| {
        read_rest(connection);
        respond(connection, "400 Bad Request", "X: ", &"x".repeat(10_000_000));
    });
    let redirect = server("301 Moved", "Location: http://elsewhere.example/\r\n");
    let [broken, refusing, good] =
        [server("503 X", ""), server("400 Bad Request", ""), server("204 No Content", "")];
    let servers = [
        ("silent", &silent, "200ms", "the answer took more than 200ms"),
        ("rubbish", &rubbish, "10m", "it does not answer in HTTP"),
        ("endless", &endless, "10m", "the server refused points"),
        ("redirect", &redirect, "10m", "http://elsewhere.example/"),
        ("broken", &broken, "10m", "status 503: its words"),
        ("refusing", &refusing, "10m", "status 400: its words"),
    ];
    let mut list: Vec<_> =
        servers.iter().map(|(name, server, timeout, _)| endpoint(name, server, timeout)).collect();
    // tallyd waits for an answer of the first until the end of the test.
    list.extend([endpoint("stuck", &stuck, "10m"), endpoint("good", &good, "10m")]);
    let setting = format!("exporters.remote_write=[{}]", list.join(","));
    let mut daemon = Daemon::start(&[&setting, "flush.interval=100ms", "shutdown.timeout=1s"]);
    daemon.send("c:1|c");
    wait_until(|| !stuck.requests().is_empty());
    let before = good.requests().len();
    wait_until(|| {
        good.requests().len() > before + 10
            && servers.iter().all(|(_, server, ..)| !server.requests().is_empty())
    });
    daemon.wait_for(|row| row["name"] == "c");
    daemon.wait_for_count("tallyd.points_refused", ("endpoint", "refusing"));
    let finished = daemon.stop();
    for (name, _, _, words) in servers {
        assert!(finished.log.contains(words), "{name}: {words:?} in {}", finished.log);
        assert_accounted(&finished, name);
    }
    assert_accounted(&finished, "good");
    // Without delivery.path, what the servers have not taken is lost, and tallyd says so.
    assert!(
        finished.log.contains("remote_write/broken: ") && finished.log.contains("are lost"),
        "{}",
        finished.log
    );
    assert!(!finished.log.contains("remote_write/good: "), "{}", finished.log);
}

#[test]
fn reload_adds_changes_and_removes_servers() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("tallyd.toml");
    let [first, second] = [server("204 No Content", ""), server("204 No Content", "")];
    let write = |list: &[String]| {
        let text = format!("flush.interval = \"100ms\"\nexporters.remote_write = [{}]\n", list.join(","));
        fs::write(&file, text).unwrap();
    };
    write(&[]);
    let mut daemon = Daemon::start_from(&file, &[]);
    let change = |daemon: &mut Daemon, list: &[String]| {
        write(list);
        daemon.signal("HUP");
        daemon
            .wait_for_next(|row| row["name"] == "tallyd.config_reloads" && row["tags"]["outcome"] == "taken");
    };
    change(&mut daemon, &[endpoint("a", &first, "10s")]);
    wait_until(|| !first.requests().is_empty());
    change(&mut daemon, &[endpoint("a", &second, "10s")]);
    wait_until(|| !second.requests().is_empty());
    let of_first = first.requests().len();
    change(&mut daemon, &[endpoint("a", &second, "10s"), endpoint("b", &first, "10s")]);
    wait_until(|| first.requests().len() > of_first + 3);
    change(&mut daemon, &[endpoint("b", &first, "10s")]);
    let of_second = second.requests().len();
    let of_first = first.requests().len();
    wait_until(|| first.requests().len() > of_first + 3);
    assert_eq!(second.requests().len(), of_second, "a server that was removed gets nothing");
    let finished = daemon.stop();
    assert!(finished.status.success(), "{}", finished.log);
    ["a", "b"].iter().for_each(|endpoint| assert_accounted(&finished, endpoint));
    assert_eq!(finished.sum("tallyd.points_dropped", "value"), 0.0);
}
