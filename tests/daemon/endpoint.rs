//! Tests the HTTP endpoint: pages, formats, encodings, and hostile clients.

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use flate2::read::GzDecoder;
use socket2::{Domain, Socket, Type};
use tallyd_harness::http::{Response, connect, exchange, get, request, try_get};
use tallyd_harness::meanwhile::{SetOnDrop, send_until};
use tallyd_harness::process::{stderr, tallyd_command};
use tallyd_harness::scraped::{scrape, start, wait_for_value};
use tallyd_harness::{Daemon, HTTP, Page, TIMEOUT, strict, wait_for, wait_until};
use tempfile::TempDir;

const OPENMETRICS: &str = "Accept: application/openmetrics-text; version=1.0.0";
const PROTOBUF: &str =
    "Accept: application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited";

/// The header of Prometheus 2.42.
const PROMETHEUS_2: &str = "Accept: application/openmetrics-text;version=1.0.0,\
                            application/openmetrics-text;version=0.0.1;q=0.75,\
                            text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

/// The header of Prometheus 3.9.
const PROMETHEUS_3: &str = "Accept: application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
                            application/openmetrics-text;version=0.0.1;q=0.5,\
                            text/plain;version=1.0.0;escaping=allow-utf-8;q=0.4,\
                            text/plain;version=0.0.4;q=0.3,*/*;q=0.2";

#[test]
fn page_is_empty_and_not_ready_before_the_first_interval_ends() {
    let (_daemon, address) = start(&[]);
    let page = get(address, "/metrics");
    assert_eq!((page.code, page.text()), (200, ""));
    assert_eq!(request(address, "GET", "/metrics", &[OPENMETRICS]).text(), "# EOF\n");
    assert_eq!(request(address, "GET", "/metrics", &[PROTOBUF]).body, b"");
    assert_eq!(get(address, "/-/healthy").code, 200);
    let ready = get(address, "/-/ready");
    assert_eq!(ready.code, 503);
    assert!(ready.text().contains("first interval"), "{}", ready.text());

    let (_daemon, address) = start(&["flush.interval=100ms"]);
    wait_until(|| get(address, "/-/ready").code == 200);
    assert!(scrape(address).value("tallyd_lines_total", &[]).is_some());
}

#[test]
fn percentiles_cover_the_configured_window() {
    let window = "exporters.prometheus.percentile_window=1h";
    let (mut daemon, address) = start(&["flush.interval=100ms", window]);
    for value in [1, 100, 3] {
        daemon.send(format!("t:{value}|ms").as_bytes());
        // Each value is in an interval of its own.
        daemon.wait_for(|row| row["name"] == "t" && row["max"] == f64::from(value));
    }
    let percentile = |page: &Page, quantile| page.value("t_seconds", &[("quantile", quantile)]);
    wait_until(|| scrape(address).value("t_seconds_count", &[]) == Some(3.0));
    let page = scrape(address);
    assert_eq!(percentile(&page, "0.99"), Some(0.1));
    let median = percentile(&page, "0.5").unwrap();
    assert!((median / 0.003 - 1.0).abs() < 0.01, "{median}");
    let covered = |page: &Page| page.value("tallyd_percentile_window_seconds", &[]);
    wait_until(|| covered(&scrape(address)) == Some(3600.0));
}

#[test]
fn each_request_is_answered_and_counted() {
    let (mut daemon, address) = start(&["flush.interval=100ms", "exporters.prometheus.utf8_names=true"]);
    wait_until(|| get(address, "/-/ready").code == 200);
    let landing = get(address, "/");
    assert_eq!(landing.header("content-type"), Some("text/html; charset=utf-8"));
    for link in ["metrics", "-/healthy", "-/ready"] {
        assert!(landing.text().contains(&format!("href=\"{link}\"")), "{}", landing.text());
        let head = request(address, "HEAD", &format!("/{link}?query"), &[]);
        assert_eq!((head.code, head.text()), (200, ""), "{link}");
        assert!(head.header("content-length") > Some("0"), "{}", head.head);
    }
    assert!(landing.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    assert_eq!(get(address, "/favicon.ico").code, 404);
    let refused = request(address, "POST", "/metrics", &["Content-Length: 1000000"]);
    assert_eq!((refused.code, refused.header("allow")), (405, Some("get, head")));
    request(address, "GET", "/metrics", &[OPENMETRICS]);
    request(address, "GET", "/metrics", &[PROTOBUF]);
    for accept in [
        "Accept: text/plain;version=1.0.0;escaping=allow-utf-8",
        PROMETHEUS_3,
        &format!("{PROTOBUF};escaping=allow-utf-8"),
    ] {
        request(address, "GET", "/metrics", &[accept]);
    }
    for code in ["200", "404", "405"] {
        daemon.wait_for_count("tallyd.http_requests", ("code", code));
    }
    for format in ["text", "openmetrics", "protobuf", "text_utf8", "openmetrics_utf8", "protobuf_utf8"] {
        daemon.wait_for_count("tallyd.scrapes", ("format", format));
    }
}

#[test]
fn scraper_gets_the_format_and_the_encoding_it_asks_for() {
    let (daemon, address) = start(&["flush.interval=100ms", "telemetry.enabled=false"]);
    daemon.send("orders:5|c|#region:eu\nstock:-1.5|g");
    wait_for_value(address, "stock", -1.5);
    let text = "# HELP orders_total StatsD counter.\n# TYPE orders_total counter\norders_total{region=\"eu\"} 5\n\
                # HELP stock StatsD gauge.\n# TYPE stock gauge\nstock -1.5\n";
    let plain = "text/plain; version=0.0.4; charset=utf-8";
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    let protobuf =
        "application/vnd.google.protobuf; proto=io.prometheus.client.metricfamily; encoding=delimited";
    let cases: [(&[&str], _, bool); 7] = [
        (&[], plain, false),
        (&["Accept: */*", "Accept-Encoding: gzip"], plain, true),
        (&["Accept: application/openmetrics-text;q=0.5,text/plain;q=0.6"], plain, false),
        (&[OPENMETRICS, "Accept-Encoding: br, gzip;q=0"], openmetrics, false),
        (&["Accept: text/plain;q=0.1", OPENMETRICS, "Accept-Encoding: gzip;q=0.5"], openmetrics, true),
        (&[PROTOBUF], protobuf, false),
        (&["Accept: text/plain;q=0.1", PROTOBUF, "Accept-Encoding: gzip"], protobuf, true),
    ];
    for (headers, content_type, compressed) in cases {
        let response = request(address, "GET", "/metrics", headers);
        assert_eq!(response.code, 200);
        assert_eq!(response.header("content-type"), Some(content_type), "{headers:?}");
        assert_eq!(response.header("content-encoding"), compressed.then_some("gzip"), "{headers:?}");
        assert_eq!(response.header("vary"), Some("accept, accept-encoding"));
        let length = response.header("content-length").map(str::to_owned);
        assert_eq!(length, Some(response.body.len().to_string()));
        let page = if compressed { unzip(&response) } else { response.body };
        if content_type == protobuf {
            let stock = [
                &b"\x25\x0a\x05stock\x12\x0dStatsD gauge.\x18\x01\x22\x0b\x12\x09\x09"[..],
                &(-1.5_f64).to_le_bytes(),
            ];
            assert!(page.ends_with(&stock.concat()), "{page:?}");
            assert!(page[1..].starts_with(b"\x0a\x0corders_total\x12\x0fStatsD counter."), "{page:?}");
        } else if content_type == plain {
            assert_eq!(String::from_utf8(page).unwrap(), text);
        } else {
            let page = String::from_utf8(page).unwrap();
            assert!(
                page.starts_with("# TYPE orders counter\n") && page.ends_with("stock -1.5\n# EOF\n"),
                "{page}"
            );
            let created = Page::parse(&page).value("orders_created", &[("region", "eu")]).unwrap();
            let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
            assert!((now - TIMEOUT.as_secs_f64()..now).contains(&created), "{created}");
        }
        let head = request(address, "HEAD", "/metrics", headers);
        assert_eq!(head.header("content-length").map(str::to_owned), length);
        assert_eq!(head.body, b"");
    }
}

#[test]
fn prometheus_3_gets_the_names_of_clients_if_the_operator_wants_that() {
    const LEGAL: &str = "# TYPE page_views counter\n# HELP page_views StatsD counter.\n\
                         page_views_total{zone_id=\"b\"} 1\n# TYPE stock gauge\n# HELP stock StatsD gauge.\n\
                         stock 2\n# EOF\n";
    const UTF8: &str = "# TYPE \"page.views\" counter\n# HELP \"page.views\" StatsD counter.\n\
                        {\"page.views_total\",\"zone.id\"=\"b\"} 1\n# TYPE stock gauge\n\
                        # HELP stock StatsD gauge.\nstock 2\n# EOF\n";
    let plain = "text/plain; version=0.0.4; charset=utf-8";
    let openmetrics = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    for (setting, is_on) in [
        ("exporters.prometheus.api=local", false),
        ("exporters.prometheus.utf8_names=false", false),
        ("exporters.prometheus.utf8_names=true", true),
    ] {
        let created = "exporters.prometheus.openmetrics_created=false";
        let (daemon, address) = start(&["flush.interval=100ms", "telemetry.enabled=false", created, setting]);
        daemon.send("page.views:1|c|#zone.id:b\nstock:2|g");
        wait_for_value(address, "stock", 2.0);
        let got = |accept: &str| {
            let response = request(address, "GET", "/metrics", &[accept]);
            let content_type = response.header("content-type").unwrap().to_owned();
            (content_type, response.body)
        };
        let shown =
            |(content_type, body): (String, Vec<u8>)| (content_type, String::from_utf8(body).unwrap());

        assert_eq!(shown(got(PROMETHEUS_2)), (openmetrics.to_owned(), LEGAL.to_owned()));
        let page = get(address, "/metrics");
        assert_eq!(page.header("content-type"), Some(plain));
        assert!(page.text().contains("\npage_views_total{zone_id=\"b\"} 1\n"), "{}", page.text());

        let stated = if is_on { "; escaping=allow-utf-8" } else { "" };
        let expected = (format!("{openmetrics}{stated}"), if is_on { UTF8 } else { LEGAL }.to_owned());
        assert_eq!(shown(got(PROMETHEUS_3)), expected);
        let (content_type, text) = shown(got("Accept: text/plain;version=1.0.0;escaping=allow-utf-8"));
        if is_on {
            assert_eq!(content_type, "text/plain; version=1.0.0; charset=utf-8; escaping=allow-utf-8");
            assert_eq!(strict::check_utf8(&text), Ok(()), "{text}");
            assert!(text.contains("\n{\"page.views_total\",\"zone.id\"=\"b\"} 1\n"), "{text}");
        } else {
            assert_eq!((&*content_type, &*text), (plain, page.text()));
        }
        let (content_type, messages) = got(&format!("{PROTOBUF};escaping=allow-utf-8"));
        assert_eq!(content_type.ends_with("; escaping=allow-utf-8"), is_on, "{content_type}");
        let name: &[u8] = if is_on { b"\x0a\x10page.views_total" } else { b"\x0a\x10page_views_total" };
        assert!(messages[1..].starts_with(name), "{}", messages.escape_ascii());
    }
}

fn unzip(response: &Response) -> Vec<u8> {
    let mut page = Vec::new();
    GzDecoder::new(&response.body[..]).read_to_end(&mut page).unwrap();
    page
}

#[test]
fn endpoint_and_text_file_show_the_same_page() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("tallyd.prom");
    let (daemon, address) = start(&[
        "flush.interval=100ms",
        "telemetry.enabled=false",
        "exporters.textfile.enabled=true",
        &format!("exporters.textfile.path={}", file.display()),
        "exporters.prometheus.timings=histogram",
        "exporters.prometheus.buckets=[0.1, 1]",
    ]);
    daemon.send("latency:250|ms\nhits:1|c\nqueue:5|g");
    wait_for_value(address, "queue", 5.0);
    let page = wait_for(|| {
        let page = fs::read_to_string(&file).ok()?;
        let (page, _heartbeat) = page.split_once("# HELP tallyd_textfile_timestamp_seconds")?;
        page.contains("queue 5\n").then(|| page.to_owned())
    });
    assert!(page.contains("latency_seconds_bucket{le=\"1\"} 1\n"), "{page}");
    assert_eq!(get(address, "/metrics").text(), page);
}

#[test]
fn endpoint_shows_new_values_while_the_disk_of_the_text_file_hangs() {
    let directory = TempDir::new().unwrap();
    // tallyd first writes the page to this path. Here it is a pipe without a reader, so even opening it hangs.
    let pipe = directory.path().join("tallyd.prom.new");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let (daemon, address) = start(&[
        "flush.interval=100ms",
        "exporters.textfile.enabled=true",
        &format!("exporters.textfile.path={}", pipe.with_extension("").display()),
    ]);
    for value in [1.0, 2.0, 3.0] {
        daemon.send(format!("queue:{value}|g"));
        wait_for_value(address, "queue", value);
    }
}

#[test]
fn start_fails_with_advice_if_the_port_is_in_use() {
    let (_first, address) = start(&[]);
    let second = tallyd_command()
        .args(["--set", "listeners.udp.bind=127.0.0.1:0"])
        .args(["--set", "exporters.prometheus.start_http_server=true"])
        .args(["--set", &format!("exporters.prometheus.port={}", address.port())])
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(1));
    let said = stderr(&second);
    assert!(said.contains(&address.to_string()) && said.contains("exporters.prometheus.port"), "{said}");
}

/// Bytes that are not a valid request.
const NONSENSE: [&[u8]; 6] = [
    b"\x00\xff\xfe\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
    b"GET /metrics HTTP/9.9\r\n\r\n",
    b"GET /metrics HTTP/1.1\r\nContent-Length: x\r\n\r\n",
    b"orders:1|c\n\n",
];

#[test]
fn hostile_http_clients_are_bounded_and_counted_and_cost_no_sample() {
    const MAX_CONNECTIONS: usize = 64;
    let (mut daemon, address, _directory, path) = start_with_large_page(&[
        &format!("exporters.prometheus.max_connections={MAX_CONNECTIONS}"),
        "exporters.prometheus.timeout=2s",
    ]);
    let finished = AtomicBool::new(false);
    let sent = thread::scope(|scope| {
        let stream = scope.spawn(|| send_until(&path, &finished));
        let end = SetOnDrop(&finished);
        for bytes in NONSENSE {
            let mut connection = connect(address);
            connection.write_all(bytes).unwrap();
            assert_ends(&mut connection);
        }
        // The server may close the connection while the client still sends the header.
        let mut connection = connect(address);
        _ = connection.write_all(format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(1 << 20)).as_bytes());
        assert_ends(&mut connection);

        let mut silent = [connect(address), connect(address)];
        silent[1].write_all(b"GET /metrics HTTP/1.1\r\nHost: ").unwrap();
        silent.iter_mut().for_each(assert_ends);

        let unread = request_and_do_not_read(address);
        daemon.wait_for_count("tallyd.http_connections_closed", ("reason", "answer_timeout"));
        drop(unread);

        let crowd: Vec<_> = (0..1000).map(|_| connect(address)).collect();
        daemon.wait_for(|row| {
            row["name"] == "tallyd.http_connections" && row["value"] == MAX_CONNECTIONS as f64
        });
        crowd.into_iter().for_each(|mut connection| assert_ends(&mut connection));

        for reason in ["bad_request", "header_timeout"] {
            daemon.wait_for_count("tallyd.http_connections_closed", ("reason", reason));
        }
        assert_eq!(wait_for(|| try_get(address, "/-/ready")).code, 200, "an ordinary client is served");
        drop(end);
        stream.join().unwrap()
    });
    let finished = daemon.stop();
    assert!(finished.status.success(), "{}", finished.log);
    assert_eq!(finished.sum("meanwhile", "value"), sent);
    assert!(sent > 100.0, "{sent}");
    let [opened, closed] =
        ["opened", "closed"].map(|what| finished.sum(&format!("tallyd.http_connections_{what}"), "value"));
    let evicted = finished.sum_of("tallyd.http_connections_closed", ("reason", "evicted"));
    assert!(evicted >= (1000 - MAX_CONNECTIONS) as f64, "{evicted}");
    // Connections that the stop closed are not reported.
    assert!((opened - closed).abs() <= 1.0, "{opened} opened, {closed} closed");
    assert!(finished.log.contains("exporters.prometheus.max_connections"), "{}", finished.log);
}

/// The number of connections during an attack, and of attackers.
const ATTACKED: u8 = 64;

/// The attackers share the address of the scraper, or each has one of its own.
const SOURCES: [fn(u8) -> [u8; 4]; 2] = [|_| [127, 0, 0, 1], |attacker| [127, 0, 1, attacker]];

#[test]
fn scrapes_are_answered_while_idle_or_slow_connections_take_all_places() {
    let limit = format!("exporters.prometheus.max_connections={ATTACKED}");
    let (mut daemon, address) = start(&["flush.interval=100ms", "exporters.prometheus.timeout=10m", &limit]);
    for (first, again) in [(&b""[..], &b""[..]), (b"GET /metrics HTTP/1.1\r\nHost: ", b"x")] {
        for source_of in SOURCES {
            assert_eq!(answers_during_attack(address, source_of, first, again, 100), 100);
        }
    }
    daemon.wait_for_count("tallyd.http_connections_closed", ("reason", "evicted"));
    let finished = daemon.stop();
    assert!(finished.log.contains("gave way") && finished.log.contains("address=127.0."), "{}", finished.log);
}

#[test]
fn scrapes_are_answered_while_scrapers_that_do_not_read_take_all_places() {
    let limit = format!("exporters.prometheus.max_connections={ATTACKED}");
    let (_daemon, address, _directory, _) =
        start_with_large_page(&[&limit, "exporters.prometheus.timeout=10m"]);
    let request = b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n";
    assert_eq!(answers_during_attack(address, SOURCES[0], request, b"", 10), 10);
}

/// Keeps as many connections open as tallyd permits, and returns the number of answers to this many scrapes. Each attacker
/// sends `first` when it connects, and `again` from time to time. It connects again when tallyd closes its connection.
fn answers_during_attack(
    address: SocketAddr,
    source_of: fn(u8) -> [u8; 4],
    first: &[u8],
    again: &[u8],
    scrapes: usize,
) -> usize {
    let attacker = |number| attack(address, source_of(number), first);
    let mut attackers: Vec<_> = (0..ATTACKED).map(attacker).collect();
    let finished = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !finished.load(Ordering::SeqCst) {
                for (number, connection) in (0..).zip(&mut attackers) {
                    if has_ended(connection) || connection.write_all(again).is_err() {
                        *connection = attacker(number);
                    }
                }
                thread::sleep(Duration::from_millis(10));
            }
        });
        let _end = SetOnDrop(&finished);
        (0..scrapes).filter(|_| try_get(address, "/metrics").is_some_and(|page| page.code == 200)).count()
    })
}

/// Connects from the address `source`, over a socket with a small receive buffer, and sends `first`.
fn attack(address: SocketAddr, source: [u8; 4], first: &[u8]) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind(&SocketAddr::from((source, 0)).into()).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut connection = TcpStream::from(socket);
    // tallyd may have closed the connection already.
    _ = connection.write_all(first);
    connection.set_nonblocking(true).unwrap();
    connection
}

/// Returns true if tallyd has closed or reset the connection.
fn has_ended(connection: &TcpStream) -> bool {
    match connection.peek(&mut [0]) {
        Ok(length) => length == 0,
        Err(error) => error.kind() != ErrorKind::WouldBlock,
    }
}

/// Starts a tallyd whose page is too large for the buffers of the kernel. The last result is the path of its Unix
/// socket.
fn start_with_large_page(settings: &[&str]) -> (Daemon, SocketAddr, TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("tallyd.sock");
    let address = format!("listeners.unix_datagram.path={}", path.display());
    let own = ["listeners.unix_datagram.enabled=true", &address, "flush.interval=200ms"];
    let (mut daemon, address) = start(&[&own[..], settings].concat());
    fill(&path);
    // A busy machine may lose the interval of the last counter before the console, but not this gauge.
    daemon.wait_for(|row| row["name"] == "tallyd.series" && row["value"].as_f64() > Some(15_000.0));
    // This line is near the start of the page. A busy machine may not receive the whole page in time.
    wait_until(|| {
        let page = try_get(address, "/metrics");
        page.is_some_and(|page| memchr::memmem::find(&page.body, b"\nfiller_last_total 1\n").is_some())
    });
    (daemon, address, directory, path)
}

/// Sends counters that make a page of about 13 MB. By default, the kernel buffers up to 4 MB for a client that does not read.
/// Counters stay on the page without further samples.
fn fill(path: &Path) {
    let socket = UnixDatagram::unbound().unwrap();
    let name = "x".repeat(400);
    for hundred in 0..150 {
        let lines: Vec<_> = (0..100).map(|n| format!("filler.{name}.{hundred:03}{n:02}:1|c")).collect();
        socket.send_to(lines.join("\n").as_bytes(), path).unwrap();
    }
    socket.send_to(b"filler.last:1|c", path).unwrap();
}

/// Waits until tallyd closes or resets a connection.
fn assert_ends(connection: &mut TcpStream) {
    let mut rest = Vec::new();
    if let Err(error) = connection.read_to_end(&mut rest) {
        assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    }
}

/// Requests the page over a socket with a small receive buffer, and does not read the response.
fn request_and_do_not_read(address: SocketAddr) -> TcpStream {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.connect(&address.into()).unwrap();
    let mut connection = TcpStream::from(socket);
    connection.set_read_timeout(Some(TIMEOUT)).unwrap();
    connection.write_all(b"GET /metrics HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    connection
}

#[test]
fn stop_waits_for_an_answer_in_progress_and_not_for_idle_connections() {
    let (daemon, address, _directory, _) =
        start_with_large_page(&["shutdown.timeout=10m", "exporters.prometheus.timeout=10m"]);
    let mut idle = [(); 3].map(|()| connect(address));
    idle[1].write_all(b"GET /metrics HTTP/1.1\r\nHost: ").unwrap();
    idle[2].write_all(b"GET /-/healthy HTTP/1.1\r\nHost: test\r\n\r\n").unwrap();
    let mut slow = request_and_do_not_read(address);
    let mut response = vec![0; 100];
    slow.read_exact(&mut response).unwrap();
    daemon.signal("TERM");
    idle.iter_mut().for_each(assert_ends);
    slow.read_to_end(&mut response).unwrap();
    let response = Response::parse(&response);
    assert_eq!(response.header("content-length"), Some(response.body.len().to_string().as_str()));
    assert!(daemon.wait().status.success());
}

#[test]
fn scraper_that_does_not_read_does_not_prevent_a_stop() {
    let (daemon, address, _directory, _) =
        start_with_large_page(&["shutdown.timeout=3s", "exporters.prometheus.timeout=10m"]);
    let mut unread = request_and_do_not_read(address);
    unread.read_exact(&mut [0; 100]).unwrap();
    let finished = daemon.stop();
    assert!(finished.status.success(), "{}", finished.log);
    assert!(finished.log.contains("scrapers did not take their answers"), "{}", finished.log);
}

#[test]
fn a_unix_socket_serves_the_same_and_its_mode_says_who_may_connect() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("http.socket");
    let socket = format!("exporters.prometheus.socket={}", path.display());
    let daemon = Daemon::start(&[&HTTP[..], &["flush.interval=100ms", &socket]].concat());
    daemon.send("a.b:1|c");
    let ask = |path_of_page: &str| {
        let connection = UnixStream::connect(&path).unwrap();
        let request = format!("GET {path_of_page} HTTP/1.0\r\n\r\n");
        String::from_utf8(exchange(connection, &request).unwrap()).unwrap()
    };
    wait_until(|| ask("/metrics").contains("\na_b_total 1\n"));
    assert!(ask("/api/v1/status").starts_with("HTTP/1.0 200"), "a client of the socket is local");
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
    daemon.stop();
    assert!(!path.exists());
}
