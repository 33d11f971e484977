//! Tests the API of the endpoint against its documentation.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};
use tallyd_harness::http::{get, request};
use tallyd_harness::{Daemon, Document, HTTP, wait_for, wait_until};
use tempfile::TempDir;

/// Asks the API.
fn ask(address: SocketAddr, question: &str) -> Value {
    let response = get(address, &format!("/api/v1/{question}"));
    assert_eq!(response.code, 200, "{}", response.text());
    assert_eq!(response.header("content-type"), Some("application/json"));
    serde_json::from_str(response.text()).unwrap()
}

/// Returns the first words of a table of the page in backticks.
fn documented(header: &str) -> BTreeSet<String> {
    let names = Document::read("docs/api.md").table(header);
    names.iter().flat_map(|row| row[0].split(", ")).map(|name| name.trim_matches('`').to_owned()).collect()
}

fn keys(value: &Value) -> BTreeSet<String> {
    value.as_object().unwrap().keys().cloned().collect()
}

#[test]
fn rejected_lines_have_their_reason_place_and_sender() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("socket");
    let settings = [
        "flush.interval=100ms",
        "aggregation.max_name=64B",
        "listeners.unix_stream.enabled=true",
        "listeners.unix_stream.framing=lines",
        &format!("listeners.unix_stream.path={}", path.display()),
    ];
    let daemon = Daemon::start(&[&HTTP[..], &settings].concat());
    let address = daemon.http_address();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let long = format!("{}\x1b:1|c", "a".repeat(5000));
    for datagram in ["valid:1|c\npage.views:one|c", &long, &format!("{}:1|c", "n".repeat(65))] {
        udp.send_to(datagram.as_bytes(), daemon.address()).unwrap();
    }
    UnixStream::connect(&path).unwrap().write_all(b"page:1|x\n").unwrap();
    let lines = wait_for(|| {
        let answer = ask(address, "rejected");
        let lines = answer["lines"].as_array().unwrap().clone();
        (lines.len() == 4).then_some(lines)
    });
    let of = |reason: &str| lines.iter().find(|line| line["reason"] == reason).unwrap();
    let sender = json!({ "address": udp.local_addr().unwrap().to_string() });
    let expected = documented("| field of `lines` |");
    lines.iter().for_each(|line| assert_eq!(keys(line), expected));
    let without_time = |line: &Value| {
        let mut line = line.clone();
        line.as_object_mut().unwrap().remove("time").unwrap();
        line
    };
    assert_eq!(
        without_time(of("bad_value")),
        json!({
            "reason": "bad_value", "line": "page.views:one|c", "length": 16, "begin": 0, "column": 12,
            "listener": "udp", "sender": sender,
        })
    );
    let long = of("bad_name");
    assert_eq!(
        (&long["length"], &long["column"], &long["begin"]),
        (&json!(5005), &json!(5001), &json!(4744))
    );
    assert!(long["line"].as_str().unwrap().ends_with("a\\u{1b}:1|c"), "{long}");
    assert_eq!(of("name_too_long")["column"], Value::Null);
    let process = &of("unknown_type")["sender"];
    assert_eq!(process["pid"], json!(std::process::id()));
}

#[test]
fn series_are_found_by_a_pattern_and_show_the_values_of_the_page() {
    let daemon = Daemon::start(&[&HTTP[..], &["flush.interval=100ms"]].concat());
    let address = daemon.http_address();
    daemon.send("page.views:3|c|#a:1,a:2,b\npage.size:7|g\npage.time:20:40|ms\nother:1|c\nusers:x|s");
    let find = |question: &str| ask(address, &format!("series?match={question}"));
    wait_until(|| find("page.*")["matched"] == 3);
    let answer = find("page.*");
    let [size, time, views] = answer["series"].as_array().unwrap().as_slice() else { panic!("{answer}") };
    assert_eq!(
        *views,
        json!({"name": "page.views", "type": "counter", "tags": {"a": ["1", "2"], "b": ""}, "total": 3.0})
    );
    assert_eq!(*size, json!({"name": "page.size", "type": "gauge", "tags": {}, "value": 7.0}));
    assert_eq!((&time["count"], &time["sum"]), (&json!(2.0), &json!(0.06)));
    let found: BTreeSet<_> = [views, size, time].into_iter().flat_map(keys).chain(keys(&answer)).collect();
    assert_eq!(found, documented("| field |"));
    assert_eq!(find("page.*&limit=1")["matched"], 3);
    assert_eq!(find("page.*&limit=1")["series"].as_array().unwrap().len(), 1);
    assert_eq!(find("nothing"), json!({"matched": 0, "series": []}));
}

#[test]
fn wrong_questions_and_clients_get_the_reason() {
    let daemon = Daemon::start(&HTTP);
    let address = daemon.http_address();
    for (question, code, text) in [
        ("series?mach=a", 400, "the parameter mach is unknown\n"),
        ("series?limit=10001", 400, "limit must be a number from 0 to 10000\n"),
        ("rejected?match=a", 400, "the parameter match is unknown\n"),
        ("nothing", 404, "not found: there are /api/v1/rejected and /api/v1/series\n"),
    ] {
        let response = get(address, &format!("/api/v1/{question}"));
        assert_eq!((response.code, response.text()), (code, text));
    }
    assert_eq!(request(address, "POST", "/api/v1/rejected", &[]).code, 405);
    let off = Daemon::start(&[&HTTP[..], &["exporters.prometheus.api=off"]].concat());
    let response = get(off.http_address(), "/api/v1/rejected");
    assert_eq!((response.code, response.text()), (403, "turned off: set exporters.prometheus.api\n"));
}
