//! Tests the API of the endpoint against its documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::time::Duration;

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
            "reason": "bad_value", "line": "page.views:one|c", "length": 16, "begin": 0, "column": 12, "caret": 11,
            "listener": "udp", "sender": sender,
        })
    );
    let long = of("bad_name");
    assert_eq!(
        (&long["length"], &long["column"], &long["begin"]),
        (&json!(5005), &json!(5001), &json!(4744))
    );
    assert_eq!(
        long["caret"], 256,
        "hidden characters are escaped, and the offending one is the first of them"
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
        json!({"series": "page.views|c|#a:1,a:2,b", "name": "page.views", "type": "counter", "tags": {"a": ["1", "2"], "b": ""}, "total": 3.0})
    );
    assert_eq!(
        *size,
        json!({"series": "page.size|g", "name": "page.size", "type": "gauge", "tags": {}, "value": 7.0})
    );
    assert_eq!((&time["count"], &time["sum"]), (&json!(2.0), &json!(0.06)));
    let found: BTreeSet<_> = [views, size, time].into_iter().flat_map(keys).chain(keys(&answer)).collect();
    assert_eq!(found, documented("| field of a series |"));
    assert_eq!(find("page.*&limit=1")["matched"], 3);
    assert_eq!(find("page.*&limit=1")["series"].as_array().unwrap().len(), 1);
    assert_eq!(find("nothing"), json!({"matched": 0, "series": []}));
}

#[test]
fn series_are_sorted_by_name_or_by_value() {
    let daemon = Daemon::start(&[&HTTP[..], &["flush.interval=100ms"]].concat());
    let address = daemon.http_address();
    daemon
        .send("page.a:3|c\npage.b:7.5|g\npage.c:20:40|ms\npage.d:-1|g\npage.e:3|c|#x\npage.f:x|s\nother:9|c");
    let names = |parameters: &str| {
        let answer = ask(address, &format!("series?match=page.*{parameters}"));
        assert!(answer["matched"] == 6 || answer["matched"] == 0, "{answer}");
        let series = answer["series"].as_array().unwrap().iter();
        series.map(|series| series["name"].as_str().unwrap().replace("page.", "")).collect::<String>()
    };
    wait_until(|| names("") == "abcdef");
    for (parameters, expected) in [
        ("&sort=name", "abcdef"),
        ("&sort=value", "baecfd"),
        ("&sort=value&limit=3", "bae"),
        ("&sort=value&limit=1", "b"),
        ("&sort=value&limit=0", ""),
        ("&sort=name&limit=2", "ab"),
    ] {
        assert_eq!(names(parameters), expected, "{parameters}");
    }
    let refused = get(address, "/api/v1/series?sort=size");
    assert_eq!((refused.code, refused.text()), (400, "sort must be name or value\n"));
}

#[test]
fn wrong_questions_and_clients_get_the_reason() {
    let daemon = Daemon::start(&HTTP);
    let address = daemon.http_address();
    for (question, code, text) in [
        ("series?mach=a", 400, "the parameter mach is unknown\n"),
        ("series?limit=10001", 400, "limit must be a number from 0 to 10000\n"),
        ("rejected?match=a", 400, "the parameter match is unknown\n"),
        (
            "nothing",
            404,
            "not found: there are /api/v1/status, /api/v1/intervals, /api/v1/live, /api/v1/talkers, /api/v1/tags, /api/v1/rejected, /api/v1/series, /api/v1/history and /api/v1/delete\n",
        ),
    ] {
        let response = get(address, &format!("/api/v1/{question}"));
        assert_eq!((response.code, response.text()), (code, text));
    }
    assert_eq!(request(address, "POST", "/api/v1/rejected", &[]).code, 405);
    let off = Daemon::start(&[&HTTP[..], &["exporters.prometheus.api=off"]].concat());
    let response = get(off.http_address(), "/api/v1/rejected");
    assert_eq!((response.code, response.text()), (403, "turned off: set exporters.prometheus.api\n"));
}

/// Asks the API until it has the wanted answer.
fn ask_until(address: SocketAddr, question: &str, mut is_wanted: impl FnMut(&Value) -> bool) -> Value {
    wait_for(|| Some(ask(address, question)).filter(&mut is_wanted))
}

#[test]
fn the_status_has_the_configuration_in_force_and_the_state_of_exporters() {
    let folder = TempDir::new().unwrap();
    let page = folder.path().join("missing/tallyd.prom");
    let settings = [
        "flush.interval=100ms",
        "exporters.textfile.enabled=true",
        &format!("exporters.textfile.path={}", page.display()),
    ];
    let daemon = Daemon::start(&[&HTTP[..], &settings].concat());
    let address = daemon.http_address();
    std::fs::remove_dir_all(folder.path()).unwrap();
    let exporter = |status: &Value, name: &str| {
        let exporters = status["exporters"].as_array().unwrap();
        exporters.iter().find(|exporter| exporter["name"] == name).unwrap().clone()
    };
    // The textfile may fail before the history has the interval: each has a thread of its own.
    let status = ask_until(address, "status", |status| {
        exporter(status, "textfile")["failures"] != 0 && status["interval"] != Value::Null
    });
    assert_eq!(keys(&status), documented("| field of the status |"));
    let [textfile, prometheus] = ["textfile", "prometheus"].map(|name| exporter(&status, name));
    assert_eq!(keys(&textfile), documented("| field of an exporter |"));
    assert!(textfile["error"].as_str().unwrap().contains("tallyd.prom"), "{textfile}");
    assert_eq!((&prometheus["failures"], &prometheus["error"]), (&json!(0), &Value::Null));
    assert_eq!(status["configuration"]["flush"]["interval"], "100ms");
    assert_eq!(status["version"], env!("CARGO_PKG_VERSION"));
    let without_results: BTreeSet<_> = documented("| field of an interval |");
    let expected = without_results.into_iter().filter(|field| !["matched", "results"].contains(&&**field));
    assert_eq!(keys(&status["interval"]), expected.collect());
    let intervals = ask(address, "intervals")["intervals"].as_array().unwrap().clone();
    assert!(intervals.contains(&status["interval"]), "{intervals:?}");
}

/// Reads events of `/api/v1/live`.
struct Viewer(BufReader<TcpStream>);

impl Viewer {
    fn join(address: SocketAddr, query: &str) -> Self {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        write!(stream, "GET /api/v1/live{query} HTTP/1.0\r\n\r\n").unwrap();
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        while line != "\r\n" {
            line.clear();
            assert!(lines.read_line(&mut line).unwrap() > 0, "the header ends early");
        }
        Self(lines)
    }

    /// Returns the name and the data of the next event.
    fn next(&mut self) -> (String, Value) {
        let (mut event, mut line) = (String::new(), String::new());
        loop {
            line.clear();
            assert!(self.0.read_line(&mut line).unwrap() > 0, "the stream ends");
            if let Some(name) = line.strip_prefix("event: ") {
                name.trim_end().clone_into(&mut event);
            } else if let Some(data) = line.strip_prefix("data: ") {
                return (event, serde_json::from_str(data).unwrap());
            }
        }
    }
}

#[test]
fn a_viewer_gets_each_interval_with_the_results_that_match() {
    let daemon = Daemon::start(&[&HTTP[..], &["flush.interval=100ms"]].concat());
    let mut viewer = Viewer::join(daemon.http_address(), "?match=page.*");
    daemon.send("page.views:3|c|#a:1\npage.size:7|g\npage.time:20:40|ms\nother:1|c\nbad\npage.users:x|s\npage.users:y|s");
    let (mut results, mut lost, mut lines) = (Vec::new(), 0.0, 0);
    wait_until(|| {
        let (event, interval) = viewer.next();
        assert_eq!(event, "interval");
        lines += interval["lines"].as_u64().unwrap();
        for loss in interval["losses"].as_array().unwrap() {
            assert_eq!((&loss["kind"], &loss["by"]), (&json!("lines_rejected"), &json!("missing_type")));
            lost += loss["count"].as_f64().unwrap();
        }
        let Some(found) = interval["results"].as_array() else { return false };
        assert_eq!(interval["matched"], found.len());
        assert_eq!(keys(&interval), documented("| field of an interval |"));
        // Gauges have a result in each interval.
        let known = |results: &[Value], found: &Value| {
            results.iter().any(|known: &Value| known["series"] == found["series"])
        };
        for found in found {
            if !known(&results, found) {
                results.push(found.clone());
            }
        }
        lines == 7 && results.len() == 4
    });
    assert_eq!(lost, 1.0);
    results.sort_by_key(|found| found["name"].as_str().unwrap().to_owned());
    let [size, time, users, views] = results.as_slice() else { panic!("{results:?}") };
    assert_eq!((&views["series"], &views["value"]), (&json!("page.views|c|#a:1"), &json!(3.0)));
    assert!(views["rate"].as_f64().unwrap() > 3.0, "{views}");
    assert_eq!((&size["value"], &users["value"]), (&json!(7.0), &json!(2.0)));
    assert_eq!((&time["count"], &time["sum"], &time["max"]), (&json!(2.0), &json!(0.06), &json!(0.04)));
    let found: BTreeSet<_> = results.iter().flat_map(keys).collect();
    assert_eq!(found, documented("| field of a result |"));
}

#[test]
fn a_viewer_who_does_not_read_loses_events_and_is_told() {
    let settings = ["flush.interval=100ms", "telemetry.enabled=true"];
    let daemon = Daemon::start(&[&HTTP[..], &settings].concat());
    let address = daemon.http_address();
    let long = "n".repeat(900);
    let lines: Vec<_> = (0..100).map(|number| format!("page.{long}{number}:1|g")).collect();
    lines.chunks(5).for_each(|lines| daemon.send(lines.join("\n")));
    wait_until(|| ask(address, "series?match=page.*")["matched"] == 100);
    let mut viewer = Viewer::join(address, "?match=page.*");
    let dropped = |name: &str| ask(address, &format!("series?match={name}"))["series"][0].clone();
    wait_until(|| dropped("tallyd.live_events_dropped")["total"].as_f64().is_some_and(|count| count > 2.0));
    assert_eq!(dropped("tallyd.live_viewers")["value"], 1.0);
    wait_until(|| {
        let (event, data) = viewer.next();
        event == "lost" && data["events"].as_f64().unwrap() > 0.0
    });
    drop(viewer);
    wait_until(|| dropped("tallyd.live_viewers")["value"] == 0.0);
}

#[test]
fn too_many_viewers_are_refused_and_scrapes_still_work() {
    let daemon = Daemon::start(&[&HTTP[..], &["flush.interval=100ms"]].concat());
    let address = daemon.http_address();
    wait_until(|| ask(address, "status")["interval"] != Value::Null);
    let mut viewers: Vec<_> = (0..32).map(|_| Viewer::join(address, "")).collect();
    let response = get(address, "/api/v1/live");
    assert_eq!((response.code, response.text().starts_with("too many viewers")), (503, true));
    assert_eq!(get(address, "/metrics").code, 200);
    viewers.truncate(31);
    wait_until(|| {
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET /api/v1/live HTTP/1.0\r\n\r\n").unwrap();
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).unwrap();
        line.contains("200")
    });
    viewers.iter_mut().for_each(|viewer| assert_eq!(viewer.next().0, "interval"));
}

#[test]
fn talkers_are_named_with_their_numbers() {
    let folder = TempDir::new().unwrap();
    let path = folder.path().join("socket");
    let settings = [
        "flush.interval=2s",
        "listeners.unix_datagram.enabled=true",
        &format!("listeners.unix_datagram.path={}", path.display()),
    ];
    let daemon = Daemon::start(&[&HTTP[..], &settings].concat());
    let address = daemon.http_address();
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let unix = UnixDatagram::unbound().unwrap();
    let mut lines = String::from("packed:1:2:3|d\n");
    for number in 0..30 {
        writeln!(lines, "many:1|c|#user:{number},zone:{}\nwrong.{}:x|c", number % 3, number % 2).unwrap();
    }
    udp.send_to(lines.as_bytes(), daemon.address()).unwrap();
    unix.send_to(b"other:1|g\nother:2|g", &path).unwrap();
    // An interval may end between the two datagrams, so the answers of both count.
    let (mut names, mut senders) = (BTreeMap::new(), BTreeMap::new());
    let mut talkers = Value::Null;
    wait_until(|| {
        let latest = ask(address, "status")["interval"].clone();
        if latest == Value::Null {
            return false;
        }
        let answer = ask(address, "talkers");
        for entry in answer["names"].as_array().unwrap() {
            assert_eq!(entry["error"], 0.0);
            names.insert(entry["name"].to_string(), entry["samples"].clone());
        }
        for entry in answer["senders"].as_array().unwrap() {
            senders.insert(entry["listener"].to_string(), entry.clone());
        }
        if answer["rejected"] != json!([]) {
            talkers = answer;
        }
        senders.len() == 2 && talkers != Value::Null
    });
    let expected = [("\"many\"", 30.0), ("\"other\"", 2.0), ("\"packed\"", 3.0)];
    assert_eq!(names, expected.map(|(name, samples)| (name.to_owned(), json!(samples))).into());
    assert_eq!(talkers["series"], json!([{"name": "many", "count": 30}]));
    assert_eq!(talkers["new"], json!([{"name": "many", "count": 30}]));
    let rejected = json!([{"name": "wrong.0", "count": 15}, {"name": "wrong.1", "count": 15}]);
    assert_eq!(talkers["rejected"], rejected);
    let sender = json!({ "address": udp.local_addr().unwrap().to_string() });
    let udp = json!({"sender": sender, "listener": "udp", "lines": 61.0, "error": 0.0});
    assert_eq!(senders["\"udp\""], udp);
    assert_eq!(senders["\"unix_datagram\""]["sender"]["pid"], std::process::id());
    assert_eq!(keys(&talkers), documented("| field of the talkers |"));

    let tags = ask(address, "tags?name=many");
    let expected =
        json!([{"key": "user", "values": 30, "series": 30}, {"key": "zone", "values": 3, "series": 30}]);
    assert_eq!((&tags["tags"], &tags["series"]), (&expected, &json!(30)));
    assert_eq!(keys(&tags), documented("| field of the tags |"));
    assert_eq!(get(address, "/api/v1/tags?name=nothing").code, 404);
}

#[test]
fn a_series_has_a_history_and_a_distribution_once_somebody_asked() {
    let daemon = Daemon::start(&[&HTTP[..], &["flush.interval=100ms"]].concat());
    let address = daemon.http_address();
    daemon.send("page.views:3|c|#a:1");
    let views = "history?series=page.views%7Cc%7C%23a:1";
    wait_until(|| get(address, &format!("/api/v1/{views}")).code == 200);
    let history = ask_until(address, views, |history| history["points"][0] != Value::Null);
    assert_eq!(keys(&history), documented("| field of the history |"));
    assert_eq!((&history["points"][0]["value"], &history["distribution"]), (&json!(3.0), &Value::Null));
    let time = "history?series=page.time%7Cms";
    daemon.send("page.time:20|ms");
    wait_until(|| get(address, &format!("/api/v1/{time}")).code == 200);
    let values = [10, 20, 20, 40].map(|value| format!("page.time:{value}|ms"));
    daemon.send(values.join("\n"));
    let history = ask_until(address, time, |history| history["distribution"]["count"] == 4.0);
    let distribution = &history["distribution"];
    assert_eq!(keys(distribution), documented("| field of the distribution |"));
    let spectrum: Vec<(f64, f64)> = serde_json::from_value(distribution["spectrum"].clone()).unwrap();
    let quantiles: Vec<_> = spectrum.iter().map(|point| point.0).collect();
    assert_eq!(quantiles, [0.25, 0.75, 1.0]);
    for ((_, value), expected) in spectrum.iter().zip([0.01, 0.02, 0.04]) {
        assert!((expected..expected * 1.022).contains(value), "{value} for {expected}");
    }
    let bounds: Vec<f64> = serde_json::from_value(distribution["heatmap"]["bounds"].clone()).unwrap();
    let mut counts = vec![0.0; bounds.len()];
    for column in distribution["heatmap"]["columns"].as_array().unwrap() {
        let column: Vec<(usize, f64)> = serde_json::from_value(column["counts"].clone()).unwrap();
        column.iter().for_each(|&(row, count)| counts[row] += count);
    }
    assert_eq!(counts, [1.0, 2.0, 1.0]);
    let points = history["points"].as_array().unwrap();
    let expected = documented("| field of a point |");
    assert_eq!(
        points.iter().chain([&ask(address, views)["points"][0]]).flat_map(keys).collect::<BTreeSet<_>>(),
        expected
    );
    assert_eq!(points.iter().map(|point| point["count"].as_f64().unwrap()).sum::<f64>(), 5.0);
    assert_eq!(get(address, "/api/v1/history?series=nothing%7Cc").code, 404);
}

#[test]
fn deleted_series_leave_the_output_and_come_back_with_new_samples() {
    let daemon = Daemon::start(&[&HTTP[..], &["flush.interval=100ms"]].concat());
    let address = daemon.http_address();
    daemon.send("old.size:7|g\nold.views:1|c\nkept:5|g\nold.time:1|ms");
    let matched = |pattern: &str| ask(address, &format!("series?match={pattern}"))["matched"].clone();
    wait_until(|| matched("old.*") == 3 && matched("kept") == 1);
    let delete = |query: &str| request(address, "POST", &format!("/api/v1/delete?{query}"), &[]);
    assert_eq!(delete("match=old.*&type=gauge").text(), "{\"deleted\":1}\n");
    wait_until(|| matched("old.*") == 2);
    assert_eq!(delete("match=old.*").text(), "{\"deleted\":2}\n");
    wait_until(|| matched("old.*") == 0);
    assert_eq!(matched("kept"), 1);
    daemon.send("old.size:+1|g");
    let found = ask_until(address, "series?match=old.size", |found| found["matched"] == 1);
    assert_eq!(found["series"][0]["value"], 1.0, "the value before is forgotten");
    for (query, error) in [
        ("", "the parameter match is missing\n"),
        ("match=a&type=nothing", "type must be counter, gauge, timing, histogram, distribution or set\n"),
    ] {
        let response = delete(query);
        assert_eq!((response.code, response.text()), (400, error));
    }
    assert_eq!(delete("match=tallyd.*").text(), "{\"deleted\":0}\n", "tallyd's own series stay");
    assert_eq!(get(address, "/api/v1/delete?match=a").code, 405);
}

#[test]
fn a_web_page_of_another_site_can_neither_read_nor_delete() {
    let daemon = Daemon::start(&HTTP);
    let address = daemon.http_address();
    let code = |method: &str, path: &str, headers: &[&str]| request(address, method, path, headers).code;
    let host = format!("Host: {address}");
    // A name that a stranger's DNS server points at this machine.
    assert_eq!(code("GET", "/api/v1/status", &["Host: evil.example:9102"]), 403);
    assert_eq!(code("GET", "/api/v1/status", &["Host: localhost:9102"]), 200);
    assert_eq!(code("GET", "/api/v1/status", &[&host]), 200);
    let delete = "/api/v1/delete?match=a";
    assert_eq!(code("POST", delete, &[&host, "Origin: http://evil.example"]), 403);
    assert_eq!(code("POST", delete, &[&host, "Sec-Fetch-Site: cross-site"]), 403);
    assert_eq!(code("POST", delete, &[&host, &format!("Origin: http://{address}")]), 200);
}
