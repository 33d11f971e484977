//! Tests the commands that ask a running tallyd: with the real one, with a server that has the documented answers, and
//! with servers that are no tallyd at all.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::Value;
use tallyd_harness::fake::{FakeServer, respond, respond_json, stream, wait_for_end};
use tallyd_harness::http::free_address;
use tallyd_harness::process::{Running, path_with_tallyd, stderr, stdout, tallyd_command, without_variables};
use tallyd_harness::secured::{SECRET, Secured, TLS, start};
use tallyd_harness::{Daemon, Document, HTTP, wait_for, wait_until};
use tempfile::TempDir;

/// Returns a command that asks a server.
fn asking(url: &str, arguments: &[&str]) -> Command {
    let mut command = tallyd_command();
    without_variables(&mut command).args(arguments).env("TALLYD_URL", url);
    command
}

fn ask(url: &str, arguments: &[&str]) -> Output {
    asking(url, arguments).output().unwrap()
}

fn url_of(daemon: &Daemon) -> String {
    format!("http://{}", daemon.http_address())
}

#[test]
fn series_are_a_table_or_the_json_of_the_api() {
    let daemon = Daemon::start(&[&HTTP[..], &["flush.interval=100ms"]].concat());
    let url = url_of(&daemon);
    daemon.send("page.views:3|c|#a:1,a:2,b\npage.size:7|g\npage.time:20:40|ms\nother:1|c");
    wait_until(|| stdout(&ask(&url, &["series", "page.*"])).lines().count() == 4);
    // A percentile is of an interval, so it may be gone.
    let table = stdout(&ask(&url, &["series", "page.*"])).to_owned();
    let rows: Vec<_> = table.lines().map(|line| line.split("  p50").next().unwrap()).collect();
    assert_eq!(
        rows,
        [
            "TYPE     SERIES                 VALUE  STATISTICS",
            "gauge    page.size                  7",
            "timing   page.time                  2  sum 60ms",
            "counter  page.views{a:1,a:2,b}      3",
        ]
    );
    let json: Value = serde_json::from_str(stdout(&ask(&url, &["series", "other", "--json"]))).unwrap();
    assert_eq!((&json["matched"], &json["series"][0]["total"]), (&1.into(), &1.0.into()));
    let limited = ask(&url, &["series", "page.*", "--limit", "1"]);
    assert!(stdout(&limited).ends_with("and 2 more; --limit shows more of them\n"));
    assert_eq!(stdout(&ask(&url, &["series", "nothing"])), "no series matches\n");
    let refused = ask(&url, &["series", "--limit", "10001"]);
    assert_eq!(refused.status.code(), Some(1));
    let reason = "refused with 400: limit must be a number from 0 to 10000\n";
    assert!(stderr(&refused).ends_with(reason), "{}", stderr(&refused));
}

#[test]
fn rejected_lines_have_their_reason_and_a_caret() {
    let daemon = Daemon::start(&[&HTTP[..], &["flush.interval=100ms"]].concat());
    let url = url_of(&daemon);
    assert_eq!(stdout(&ask(&url, &["rejected"])), "no line was rejected\n");
    daemon.send("page.views:one|c\na\tb\x1b:1|c");
    wait_until(|| stdout(&ask(&url, &["rejected"])).contains("bad_name"));
    let output = ask(&url, &["rejected"]);
    let lines: Vec<_> = stdout(&output).lines().collect();
    let at = lines.iter().position(|line| line.contains("  bad_value  udp  from 127.0.0.1:")).unwrap();
    assert_eq!(lines[at + 1..at + 3], ["  page.views:one|c", "             ^"]);
    let at = lines.iter().position(|line| line.contains("  bad_name  udp  from 127.0.0.1:")).unwrap();
    let caret = lines[at + 2].find('^').unwrap();
    assert!(["\\t", "\\u{1b}"].iter().any(|escape| lines[at + 1][caret..].starts_with(escape)), "{lines:?}");
    let json: Value = serde_json::from_str(stdout(&ask(&url, &["rejected", "--json"]))).unwrap();
    assert_eq!(json["lines"].as_array().unwrap().len(), 2);
}

#[test]
fn a_secured_endpoint_needs_the_authority_and_the_password() {
    let yaml = format!("{TLS}basic_auth_users:\n  ann: {SECRET}\n");
    let Secured { daemon: _daemon, address, site } = start(&yaml, &[]);
    let url = format!("https://{address}");
    let authority = site.path("authority.pem");
    fs::write(&authority, &site.authority.pem).unwrap();
    let [right, wrong, empty] = ["right", "wrong", "empty"].map(|name| site.path(name));
    fs::write(&right, "secret\n").unwrap();
    fs::write(&wrong, "other\n").unwrap();
    fs::write(&empty, "").unwrap();
    let trusting = ["series", "--ca-file", authority.to_str().unwrap()];
    let with_password =
        |file: &str| ask(&url, &[&trusting[..], &["--user", "ann", "--password-file", file]].concat());
    wait_until(|| with_password(right.to_str().unwrap()).status.success());
    let by_variable =
        asking(&url, &trusting).args(["--user", "ann"]).env("TALLYD_PASSWORD", "secret").output().unwrap();
    assert!(by_variable.status.success(), "{}", stderr(&by_variable));

    let plain = format!("http://{address}");
    for (output, reason) in [
        (with_password(wrong.to_str().unwrap()), "give the right --user, and its password"),
        (with_password("/missing"), "tallyd: /missing: cannot be read: No such file"),
        (ask(&url, &trusting), "give the right --user, and its password"),
        (
            ask(&url, &["series", "--user", "ann"]),
            "no password: give --password-file, or set TALLYD_PASSWORD",
        ),
        (ask(&url, &["series", "--ca-file", empty.to_str().unwrap()]), "has no certificate in PEM"),
        (ask(&plain, &["series"]), "refused with 400"),
    ] {
        assert_eq!(output.status.code(), Some(1));
        assert!(stderr(&output).contains(reason), "{reason}: {}", stderr(&output));
    }
}

/// The system connects 0.0.0.0 to itself, but it is no loopback address.
#[test]
fn a_password_that_others_can_read_causes_a_warning() {
    let server = documented();
    let [this, other] = [server.url(), server.url().replace("127.0.0.1", "0.0.0.0")];
    let warning = "tallyd: warning: the password travels unencrypted; use https:// in --url\n";
    let user = &["--user", "ann"][..];
    for (url, user, expected) in [(&other, user, warning), (&this, user, ""), (&other, &[], "")] {
        let mut command = asking(url, &["series", "--tags", "page.views"]);
        let output = command.args(user).env("TALLYD_PASSWORD", "secret").output().unwrap();
        assert!(output.status.success() && stdout(&output).starts_with("page.views: 900 series"));
        assert_eq!(stderr(&output), expected, "{url} {user:?}");
    }
}

/// A server with the documented answers.
fn documented() -> FakeServer {
    FakeServer::start(|request, connection| {
        let json = match request {
            "GET /api/v1/talkers" => {
                r#"{"time": "2026-12-01T00:39:30Z", "seconds": 10.0, "sampled": {"lines": 500000, "kept": 2048},
                "names": [{"name": "page.views", "samples": 120394.0, "error": 4000.0}],
                "series": [{"name": "page.views", "count": 900}], "new": [], "rejected": [{"name": "x\u001b", "count": 12}],
                "senders": [{"sender": {"pid": 812, "uid": 1000}, "listener": "unix_datagram", "lines": 50.0, "error": 0}]}"#
            }
            "GET /api/v1/tags?name=page.views" => {
                r#"{"name": "page.views", "series": 900, "tags": [{"key": "user", "values": 880, "series": 900},
                {"key": "zone", "values": 3, "series": 900}]}"#
            }
            "POST /api/v1/delete?match=page.*" => r#"{"deleted": 12}"#,
            "POST /api/v1/delete?match=page.*&type=gauge" => r#"{"deleted": 1}"#,
            _ => return respond(connection, "404 Not Found", "", "no series has this name\n"),
        };
        respond_json(connection, json);
    })
}

#[test]
fn talkers_tags_and_deletions_are_printed() {
    let server = documented();
    for (arguments, expected) in [
        (
            &["talkers"][..],
            "NAME        SAMPLES/S     ±  SERIES  NEW  REJECTED\n\
             page.views        12k  ±400     900    -         -\n\
             x\\u{1b}             -     -       -    -        12\n\
             \n\
             SENDER             LISTENER       LINES/S  ±\n\
             pid 812, uid 1000  unix_datagram        5\n",
        ),
        (
            &["series", "--tags", "page.views"],
            "page.views: 900 series\nTAG   VALUES  SERIES\nuser     880     900\nzone       3     900\n",
        ),
        (&["delete", "page.*"], "12 series deleted\n"),
        (&["delete", "page.*", "--type", "gauge", "--yes"], "1 series deleted\n"),
    ] {
        let output = ask(&server.url(), arguments);
        assert_eq!((stdout(&output), stderr(&output)), (expected, ""), "{:?}", server.requests());
    }
    let missing = ask(&server.url(), &["series", "--tags", "nothing"]);
    assert!(stderr(&missing).contains("no series has this name"), "{}", stderr(&missing));
    assert_eq!(ask(&server.url(), &["delete"]).status.code(), Some(2));
}

#[test]
fn a_real_tallyd_says_who_sends_and_forgets_series() {
    let daemon = Daemon::start(&[&HTTP[..], &["flush.interval=100ms"]].concat());
    let url = url_of(&daemon);
    daemon.send("page.views:1|c|#zone:a\npage.views:1|c|#zone:b\ndisk:7|g");
    let tags = "page.views: 2 series\nTAG   VALUES  SERIES\nzone       2       2\n";
    wait_until(|| stdout(&ask(&url, &["series", "--tags", "page.views"])) == tags);
    let mut command = asking(&url, &["tail", "disk"]);
    let mut tail = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    let mut result = String::new();
    BufReader::new(tail.0.stdout.take().unwrap()).read_line(&mut result).unwrap();
    assert!(result.ends_with("Z  gauge         disk  7\n"), "{result}");
    wait_until(|| {
        daemon.send("page.views:1|c|#zone:a");
        let talkers = ask(&url, &["talkers"]);
        stdout(&talkers).contains("\npage.views ") && stdout(&talkers).contains("\n127.0.0.1:")
    });
    assert_eq!(stdout(&ask(&url, &["delete", "disk", "--type", "counter"])), "0 series deleted\n");
    assert_eq!(stdout(&ask(&url, &["delete", "disk"])), "1 series deleted\n");
    wait_until(|| stdout(&ask(&url, &["series", "disk"])) == "no series matches\n");
}

/// The event of an interval with one result, as JSON.
fn interval(time: &str, value: f64) -> String {
    format!(
        "event: interval\ndata: {{\"time\": \"{time}\", \"seconds\": 10.0, \"series\": 1, \"lines\": 1, \"samples\": 1, \
         \"losses\": [], \"drops_known\": true, \"flush_seconds\": null, \"memory\": null, \"matched\": 3, \"results\": \
         [{{\"series\": \"a\\u001b|c\", \"name\": \"a\\u001b\", \"type\": \"counter\", \"tags\": {{}}, \"value\": {value}, \
         \"rate\": 0.5}}]}}\n\n"
    )
}

#[test]
fn tail_prints_the_results_and_connects_again() {
    let connections = AtomicUsize::new(0);
    let server = FakeServer::start(move |_, connection| match connections.fetch_add(1, Ordering::SeqCst) {
        0 => stream(connection, &format!(": alive\n\n{}", interval("T1", 5.0))),
        1 => respond(connection, "503 Service Unavailable", "", "stopping\n"),
        _ => {
            let lost = "event: lost\ndata: {\"events\": 3}\n\n";
            stream(
                connection,
                &[&interval("T1", 5.0), lost, &interval("T2", 7.0), "event: new\ndata: x\n\n"].concat(),
            );
            wait_for_end(connection);
        }
    });
    let mut command = asking(&server.url(), &["tail", "a*", "--limit", "1"]);
    let mut tail = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let lines = BufReader::new(tail.0.stdout.take().unwrap()).lines().take(2);
    let lines: Vec<_> = lines.map(Result::unwrap).collect();
    assert_eq!(lines, ["T1  counter       a\\u{1b}  5  0.5/s", "T2  counter       a\\u{1b}  7  0.5/s"]);
    let mut stderr = tail.0.stderr.take().unwrap();
    let status = tail.stop("INT");
    assert!(status.success(), "{status}");
    let mut said = String::new();
    stderr.read_to_string(&mut said).unwrap();
    let expected = [
        "2 more series match",
        "it closed the connection; retrying",
        "connected again",
        "3 intervals are missing here",
    ];
    let places: Vec<_> =
        expected.iter().map(|text| said.find(text).unwrap_or_else(|| panic!("{said}"))).collect();
    assert!(places.is_sorted(), "{said}");
    assert_eq!(server.requests()[0], "GET /api/v1/live?match=a*&limit=1");
}

#[test]
fn tail_ends_when_its_output_is_closed() {
    let server = FakeServer::start(|_, connection| {
        stream(connection, "");
        for second in 0.. {
            let event = interval(&format!("T{second}"), 1.0);
            if connection.write_all(event.as_bytes()).is_err() {
                return;
            }
        }
    });
    let mut command = asking(&server.url(), &["tail", "--json"]);
    let mut tail = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let mut first = String::new();
    BufReader::new(tail.0.stdout.take().unwrap()).read_line(&mut first).unwrap();
    let expected = "{\"time\":\"T0\",\"seconds\":10.0,\"name\":\"a\\u001b\",\"rate\":0.5,\"series\":\"a\\u001b|c\",\
                    \"tags\":{},\"type\":\"counter\",\"value\":1}\n";
    assert_eq!(first.replace("1.0}", "1}"), expected);
    let status = wait_for(|| tail.0.try_wait().unwrap());
    assert!(status.success(), "{status}");
}

#[test]
fn tail_without_results_ends_when_its_output_is_closed() {
    let server = FakeServer::start(|_, connection| {
        stream(connection, "");
        for second in 0.. {
            let data =
                format!("{{\"time\": \"T{second}\", \"seconds\": 1.0, \"matched\": 0, \"results\": []}}");
            if connection.write_all(format!("event: interval\ndata: {data}\n\n").as_bytes()).is_err() {
                return;
            }
        }
    });
    let mut command = asking(&server.url(), &["tail"]);
    let mut tail = Running::start(command.stdout(Stdio::piped()).stderr(Stdio::null()));
    drop(tail.0.stdout.take());
    let status = wait_for(|| tail.0.try_wait().unwrap());
    assert!(status.success(), "{status}");
}

#[test]
fn commands_ask_through_a_unix_socket() {
    let directory = TempDir::new().unwrap();
    let url = format!("unix:{}", directory.path().join("http.socket").display());
    let missing = ask(&url, &["series"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(stderr(&missing).contains("this path in exporters.prometheus.socket"), "{}", stderr(&missing));
    let socket = url.replace("unix:", "exporters.prometheus.socket=");
    let daemon = Daemon::start(&[&HTTP[..], &["flush.interval=100ms", &socket]].concat());
    daemon.send("page.size:7|g");
    wait_until(|| stdout(&ask(&url, &["series", "page.*"])).contains("page.size"));
    let mut tail = Running::start(asking(&url, &["tail"]).stdout(Stdio::piped()));
    let mut line = String::new();
    BufReader::new(tail.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("page.size  7"), "{line}");
    assert_eq!(stdout(&ask(&url, &["delete", "page.*"])), "1 series deleted\n");
}

#[test]
fn health_is_a_line_and_an_exit_code() {
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("http.socket").display().to_string();
    let setting = format!("exporters.prometheus.socket={socket}");
    // The first interval ends when tallyd stops.
    let mut daemon = Daemon::start(&[&HTTP[..], &[&setting]].concat());
    let by_path = format!("unix:{socket}");
    let urls = [url_of(&daemon), by_path];
    for url in &urls {
        let healthy = ask(url, &["health"]);
        let expected = (Some(0), "healthy\n", "");
        assert_eq!((healthy.status.code(), stdout(&healthy), stderr(&healthy)), expected);
        let unready = ask(url, &["health", "--ready"]);
        let said = format!("tallyd: {url} is not ready: the first interval has not ended yet\n");
        assert_eq!((unready.status.code(), stdout(&unready), stderr(&unready)), (Some(1), "", &*said));
    }
    daemon = Daemon::start(&[&HTTP[..], &["flush.interval=100ms"]].concat());
    wait_until(|| stdout(&ask(&url_of(&daemon), &["health", "--ready"])) == "ready\n");
}

/// Prometheus has a page at the same path.
#[test]
fn only_a_tallyd_is_healthy() {
    let server =
        FakeServer::start(|_, connection| respond(connection, "200 OK", "", "Prometheus\x1b is healthy.\n"));
    let output = ask(&server.url(), &["health"]);
    let reason =
        "is not the endpoint of a tallyd: it answered \"Prometheus\\\\u{1b} is healthy.\"; check --url\n";
    assert_eq!((output.status.code(), stdout(&output)), (Some(1), ""));
    assert!(stderr(&output).ends_with(reason), "{}", stderr(&output));
    assert_eq!(server.requests(), ["GET /-/healthy"]);
}

#[test]
fn commands_without_a_tallyd_fail_at_once_and_say_what_to_do() {
    let url = format!("http://{}", free_address());
    for command in ["series", "rejected", "talkers", "tail", "health", "delete x"] {
        let arguments: Vec<_> = command.split(' ').collect();
        let output = ask(&url, &arguments);
        assert_eq!(output.status.code(), Some(1));
        let expected = format!(
            "tallyd: no answer from {url}: Connection refused (os error 111); is tallyd running there, with \
             exporters.prometheus.start_http_server = true? --url or TALLYD_URL names another endpoint\n"
        );
        assert_eq!((stdout(&output), stderr(&output)), ("", expected.as_str()));
    }
    let top = asking(&url, &["top"]).stdin(Stdio::null()).output().unwrap();
    assert_eq!(top.status.code(), Some(1));
    assert!(
        stderr(&top).contains("needs a terminal") && stderr(&top).contains("tallyd series"),
        "{}",
        stderr(&top)
    );
}

#[test]
fn servers_that_are_no_tallyd_are_named_with_what_to_do() {
    type Serve = fn(&str, &mut TcpStream);
    let cases: [(&str, Serve, &str); 13] = [
        (
            "garbage",
            |_, connection| _ = connection.write_all(b"\x16\x03\x01\x00\x1b[31m\r\n\r\n"),
            "does not answer in HTTP",
        ),
        ("nothing", |_, _| {}, "no answer"),
        (
            "HTML",
            |_, connection| {
                respond(connection, "200 OK", "Content-Type: text/html\r\n", "<html>\x1b[31m</html>");
            },
            "is not the endpoint of a tallyd",
        ),
        (
            "other JSON",
            |_, connection| respond_json(connection, "{\"a\": 1}"),
            "its JSON is different (missing field",
        ),
        (
            "deep JSON",
            |_, connection| respond_json(connection, &"[".repeat(100_000)),
            "is not the endpoint of a tallyd",
        ),
        (
            "a body that ends early",
            |_, connection| {
                _ = connection.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 90\r\n\r\n{\"matched\"");
            },
            "http://",
        ),
        (
            "an endless body",
            |_, connection| {
                let piece = vec![b'['; 1 << 20];
                _ = connection.write_all(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
                while connection.write_all(&piece).is_ok() {}
            },
            "its answer is longer than 64 MiB",
        ),
        (
            "an endless header",
            |_, connection| {
                _ = connection.write_all(b"HTTP/1.1 200 OK\r\n");
                while connection.write_all(b"Name: value\r\n").is_ok() {}
            },
            "http://",
        ),
        (
            "silence",
            |_, connection| wait_for_end(connection),
            "it took more than 200ms; --timeout waits longer",
        ),
        (
            "a redirection",
            |_, connection| respond(connection, "302 Found", "Location: http://other/\r\n", ""),
            "redirects to http://other/",
        ),
        (
            "an error",
            |_, connection| respond(connection, "500 Internal Server Error", "", "broken\x1b[31m\n"),
            "refused with 500: broken\\u{1b}[31m",
        ),
        (
            "a closed API",
            |_, connection| {
                respond(connection, "403 Forbidden", "", "turned off: set exporters.prometheus.api\n");
            },
            "refused with 403: turned off: set exporters.prometheus.api",
        ),
        (
            "a long error",
            |_, connection| respond(connection, "400 Bad Request", "", &"x".repeat(1 << 20)),
            "refused with 400",
        ),
    ];
    for (name, serve, expected) in cases {
        let server = FakeServer::start(serve);
        for command in ["series", "tail", "health"] {
            let timeout = if name == "silence" { "200ms" } else { "50s" };
            let output = ask(&server.url(), &[command, "--timeout", timeout]);
            let said = stderr(&output);
            assert_eq!(output.status.code(), Some(1), "{name}: {said}");
            assert!(!said.trim_end().contains(char::is_control) && said.len() < 700, "{name}: {said:?}");
            // `tail` refuses what is no stream before it reads the content, and `health` expects no JSON.
            let is_of_command =
                ["it sent no stream of events", "it answered"].iter().any(|text| said.contains(text));
            if command == "series" || !is_of_command {
                assert!(said.contains(expected), "{name}: {said}");
            }
        }
    }
}

#[test]
fn options_are_checked_before_anything_is_asked() {
    for (arguments, problem) in [
        (&["series", "--url", "unix:tallyd.sock"][..], "give http://HOST:PORT"),
        (&["series", "--url", "http://ann:secret@localhost:9102"], "use --user and --password-file"),
        (&["series", "--timeout", "0s"], "at least 1ms"),
        (&["delete", "a", "--type", "c"], "possible values: counter"),
        (&["series", "--password-file", "x"], "--user"),
        (&["series", "--set", "flush.interval=1s"], "--url says which tallyd to ask"),
    ] {
        let output = ask("http://127.0.0.1:9", arguments);
        assert_eq!(output.status.code(), Some(2));
        assert!(stderr(&output).contains(problem), "{}", stderr(&output));
    }
}

#[test]
fn daemon_ignores_the_variables_of_these_commands() {
    let output = tallyd_command()
        .args(["check", "--strict"])
        .envs([("TALLYD_URL", "http://127.0.0.1:9102"), ("TALLYD_PASSWORD", "secret")])
        .output()
        .unwrap();
    assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""));
}

/// Sends the lines of the page, and compares the output of its commands. Times and ports differ from run to run.
#[test]
fn outputs_on_the_page_are_those_of_a_real_tallyd() {
    let page = Document::read("docs/commands.md");
    let daemon = Daemon::start(&[&HTTP[..], &["flush.interval=100ms"]].concat());
    let url = url_of(&daemon);
    let send = page.block("sh send").replace("/8125", &format!("/{}", daemon.address().port()));
    assert!(Command::new("bash").args(["-c", &send]).status().unwrap().success());
    let examples = page.block("text asked").trim_start_matches("$ ");
    for example in examples.split("\n$ ") {
        let (command, expected) = example.split_once('\n').unwrap();
        let run = || {
            let mut bash = Command::new("bash");
            without_variables(&mut bash).args(["-c", command]).env("PATH", path_with_tallyd());
            alike(stdout(&bash.env("TALLYD_URL", &url).output().unwrap()))
        };
        wait_until(|| run() == alike(expected));
    }
}

/// Returns an output without times, ports and percentiles, which are only of the latest interval.
fn alike(output: &str) -> String {
    let is_time = |word: &str| word.len() >= 20 && word.starts_with("20") && word.ends_with('Z');
    let word = |word: &str| match word.rsplit_once(':') {
        _ if is_time(word) => "TIME".to_owned(),
        Some((host, _)) if host == "127.0.0.1" => host.to_owned(),
        _ => word.to_owned(),
    };
    let line = |line: &str| {
        let line = line.split("  p50").next().unwrap();
        line.split(' ').map(word).collect::<Vec<_>>().join(" ")
    };
    output.lines().map(line).collect::<Vec<_>>().join("\n")
}
