//! Runs clients that send the metrics of a shop, and compares them with what tallyd reports.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};
use tallyd_harness::process::without_variables;
use tallyd_harness::{Daemon, Finished, TIMEOUT};

use Transport::{Tcp, UnixDatagram, UnixStream, UnixStreamOfLines};

/// Starts tallyd, lets a client send to its port, and stops tallyd before its interval ends.
pub(crate) fn after(send: impl FnOnce(&str)) -> Finished {
    after_with(&[], send)
}

/// Starts tallyd with settings, lets a client send to its port, and stops tallyd.
pub(crate) fn after_with(settings: &[&str], send: impl FnOnce(&str)) -> Finished {
    let daemon = Daemon::start(settings);
    send(&daemon.address().port().to_string());
    let finished = daemon.stop();
    assert!(finished.status.success(), "{}", finished.log);
    finished
}

/// Starts tallyd with one transport, lets a client send to its port or its path, and stops tallyd.
pub(crate) fn after_over(transport: Transport, send: impl FnOnce(&str)) -> Finished {
    let directory = tempfile::tempdir().unwrap();
    let (daemon, address) = start_over(transport, directory.path(), &[]);
    send(&address);
    let finished = daemon.stop();
    assert!(finished.status.success(), "{}", finished.log);
    finished
}

/// The transports other than UDP.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Transport {
    Tcp,
    UnixDatagram,
    /// Each payload follows its length.
    UnixStream,
    /// Each line ends with a line feed.
    UnixStreamOfLines,
}

/// Starts tallyd with the listener of one transport. Returns its port, or its path in `directory`.
pub(crate) fn start_over(transport: Transport, directory: &Path, settings: &[&str]) -> (Daemon, String) {
    let listener = match transport {
        Tcp => "tcp",
        UnixDatagram => "unix_datagram",
        UnixStream | UnixStreamOfLines => "unix_stream",
    };
    let mut own =
        vec!["listeners.udp.enabled=false".to_owned(), format!("listeners.{listener}.enabled=true")];
    match transport {
        Tcp => own.push("listeners.tcp.bind=127.0.0.1:0".to_owned()),
        _ => own.push(format!("listeners.{listener}.path={}", directory.join("tallyd.sock").display())),
    }
    if transport == UnixStreamOfLines {
        own.push("listeners.unix_stream.framing=lines".to_owned());
    }
    let own = own.iter().map(String::as_str);
    let daemon = Daemon::start(&own.chain(settings.iter().copied()).collect::<Vec<_>>());
    let address = daemon.address_of(listener);
    let address = address.strip_prefix("127.0.0.1:").unwrap_or(address).to_owned();
    (daemon, address)
}

/// Runs a client's script, which prints nothing unless it fails.
pub(crate) fn run(mut script: Command, arguments: &[&str]) {
    let output = without_variables(&mut script).args(arguments).output();
    let output = output.unwrap_or_else(|error| panic!("{error}: {script:?}; run make install-test-tools"));
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success() && said.is_empty(), "{script:?}: {}", String::from_utf8_lossy(&said));
}

pub(crate) fn python(script: &str) -> Command {
    script_of(PYTHON, script)
}

pub(crate) fn node(script: &str) -> Command {
    script_of("node", script)
}

pub(crate) fn bash(script: &str) -> Command {
    script_of("bash", script)
}

pub(crate) fn script_of(program: &str, script: &str) -> Command {
    let mut command = Command::new(program);
    command.arg(Path::new(CLIENTS).join(script));
    command
}

/// The directory of the clients' scripts.
pub(crate) const CLIENTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients");

/// The Python that has the clients from `PyPI`.
pub(crate) const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/clients/.venv/bin/python");

/// Builds a program with Debian's Go and Debian's packages of clients. This takes about two seconds.
pub(crate) fn build_go(source: &Path, program: &Path) {
    let mut go = Command::new("go");
    without_variables(&mut go).envs([("GO111MODULE", "off"), ("GOPATH", "/usr/share/gocode")]);
    go.env("GOCACHE", program.with_extension("cache")).args(["build", "-o"]).arg(program).arg(source);
    let output = go.output().unwrap_or_else(|error| panic!("{error}: go; run make install-test-tools"));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Returns the fields that a row must have. The row may have other fields, too.
pub(crate) fn row(kind: &str, name: &str, results: &[(&str, f64)]) -> Value {
    let mut row = json!({"type": kind, "name": name, "tags": {}});
    for (field, result) in results {
        row[field] = json!(result);
    }
    row
}

pub(crate) fn counter(name: &str, value: f64) -> Value {
    row("counter", name, &[("value", value)])
}

pub(crate) fn gauge(name: &str, value: f64) -> Value {
    row("gauge", name, &[("value", value)])
}

pub(crate) fn set(name: &str, value: f64) -> Value {
    row("set", name, &[("value", value)])
}

/// Returns the fields of a timing, a histogram or a distribution.
pub(crate) fn distribution(kind: &str, name: &str, count: f64, sum: f64) -> Value {
    row(kind, name, &[("count", count), ("sum", sum)])
}

pub(crate) fn tagged(mut row: Value, tags: Value) -> Value {
    row["tags"] = tags;
    row
}

/// Asserts that tallyd reported the rows of `expected` for the shop, in this order, and accepted every line without a
/// note.
pub(crate) fn assert_reported(finished: &Finished, expected: &[Value]) {
    assert_all_taken(finished);
    let is_sold = |row: &&Value| !row["name"].as_str().unwrap().starts_with("tallyd.");
    let is_of_client = |row: &&Value| !row["name"].as_str().unwrap().starts_with("datadog.dogstatsd.client.");
    let actual: Vec<_> = finished.rows.iter().filter(is_sold).filter(is_of_client).collect();
    let is_as = |(actual, expected): (&&Value, &Value)| {
        expected.as_object().unwrap().iter().all(|(field, value)| actual[field] == *value)
    };
    assert!(
        actual.len() == expected.len() && actual.iter().zip(expected).all(is_as),
        "expected: {expected:#?}, actual: {actual:#?}"
    );
}

/// Asserts that tallyd rejected, noted, refused and lost nothing.
pub(crate) fn assert_all_taken(finished: &Finished) {
    for name in ["tallyd.lines_rejected", "tallyd.lines_noted", "tallyd.values_clamped"] {
        let rows: Vec<_> = finished.named(name).filter(|row| row["value"] != 0.0).collect();
        assert!(rows.is_empty(), "{rows:#?}");
    }
    for name in [
        "tallyd.datagrams_dropped",
        "tallyd.datagrams_truncated",
        "tallyd.lines_truncated",
        "tallyd.series_refused",
    ] {
        assert_eq!(finished.sum(name, "value"), 0.0, "{name}");
    }
}

/// Asserts that tallyd received this number of lines.
pub(crate) fn assert_lines(finished: &Finished, lines: u32) {
    assert_eq!(finished.sum("tallyd.lines", "value"), f64::from(lines));
}

/// Asserts that the client opened this number of connections and closed all of them.
pub(crate) fn assert_connections(finished: &Finished, connections: u32) {
    let connections = f64::from(connections);
    assert_eq!(finished.sum("tallyd.connections_opened", "value"), connections);
    assert_eq!(finished.sum_of("tallyd.connections_closed", ("reason", "end")), connections);
    assert_eq!(finished.sum("tallyd.datagrams", "value"), 0.0);
}

/// Asserts that the client packed its lines: a datagram has ten or more on average.
pub(crate) fn assert_packed(finished: &Finished) {
    let [datagrams, lines] = ["tallyd.datagrams", "tallyd.lines"].map(|name| finished.sum(name, "value"));
    assert!(datagrams * 10.0 <= lines, "{lines} lines in {datagrams} datagrams");
}

/// Asserts that a timer of a client measured pauses of `pause` or more. `units` is the number of the timer's units per
/// second.
pub(crate) fn assert_took(finished: &Finished, name: &str, pause: Duration, units: f64) {
    let row = finished.named(name).next().unwrap();
    let [min, max] = ["min", "max"].map(|field| row[field].as_f64().unwrap() / units);
    assert!(pause.as_secs_f64() <= min && max < TIMEOUT.as_secs_f64(), "{row}");
}
