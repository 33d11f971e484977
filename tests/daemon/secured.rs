//! Tests TLS, client certificates, users and passwords, which a web configuration file of exporter-toolkit sets.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::PermissionsExt;
use std::process::Output;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use tallyd_harness::http::{Response, connect, get, request};
use tallyd_harness::meanwhile::{SetOnDrop, send_until};
use tallyd_harness::process::{stderr, tallyd_command};
use tallyd_harness::secured::{SECRET, Secured, Site, TLS, authorization, start, start_at};
use tallyd_harness::tls::{Authority, Client, Identity};
use tallyd_harness::{Document, Page, longest_interval, scraped, wait_for, wait_until};
use tempfile::TempDir;

/// The hash of the password `secret` with a cost of 6, which takes about 4 ms. On a busy machine it takes much longer, because
/// tallyd checks passwords with the lowest priority.
const SLOW_SECRET: &str = "$2y$06$CAtr/GZvFjFThrsVipSOBeV2qPB1teR6PlFbDv422WM/kJKiEfRNK";

const CONFIG_GAUGE: &str = "tallyd_web_config_last_reload_successful";
const EXPIRY_GAUGE: &str = "tallyd_tls_certificate_expiry_timestamp_seconds";

#[test]
fn tls_page_needs_a_trusted_certificate_and_plain_http_gets_400() {
    let Secured { mut daemon, address, site } = start(TLS, &[]);
    let mut connection = site.client().connect(address).unwrap();
    wait_until(|| connection.get("/-/ready", &[]).unwrap().code == 200);
    let page = connection.get("/metrics", &[]).unwrap();
    assert!(page.code == 200 && page.text().contains("tallyd_lines_total 0\n"), "{page:?}");

    let plain = get(address, "/metrics");
    assert_eq!(plain.code, 400);
    assert!(plain.text().contains("https"), "{}", plain.text());
    let stranger = Client::new(&Authority::new("another"), None);
    assert!(stranger.get(address, "/metrics", &[]).is_err());
    daemon.wait_for_count("tallyd.http_connections_closed", ("reason", "bad_handshake"));
    drop(connection);
    let finished = daemon.stop();
    assert!(finished.status.success());
    assert!(finished.log.contains("tls=true users=0"), "{}", finished.log);
}

#[test]
fn every_page_asks_for_a_user_and_a_password() {
    let yaml = format!("basic_auth_users:\n  ann: {SECRET}\n  ben: {SECRET}\n");
    let Secured { mut daemon, address, site: _site } =
        start(&yaml, &["exporters.prometheus.enable_reload=true"]);
    let ask = |path: &str, headers: &[&str]| {
        let method = if path == "/-/reload" { "POST" } else { "GET" };
        request(address, method, path, headers)
    };
    let ann = authorization("ann", "secret");
    wait_until(|| ask("/-/ready", &[&ann]).code == 200);
    for path in ["/", "/metrics", "/-/healthy", "/-/ready", "/-/reload", "/missing"] {
        let right = if path == "/missing" { 404 } else { 200 };
        assert_eq!(ask(path, &[&ann]).code, right, "{path}");
        assert_eq!(ask(path, &[&authorization("ben", "secret")]).code, right, "{path}");
        let wrong = [
            authorization("ann", "Secret"),
            authorization("ann", ""),
            authorization("eve", "secret"),
            authorization("", ""),
        ];
        let wrong = wrong.iter().map(|header| vec![header.as_str()]);
        for headers in wrong.chain([vec![], vec!["Authorization: Bearer secret"]]) {
            let refused = ask(path, &headers);
            assert_eq!((refused.code, refused.header("www-authenticate")), (401, Some("basic")), "{path}");
        }
    }
    daemon.wait_for_count("tallyd.http_requests", ("code", "401"));
    assert!(daemon.stop().log.contains("tls=false users=2"));
}

#[test]
fn answers_have_the_configured_headers_and_obey_the_rate_limit() {
    let headers = "http_server_config:\n  headers:\n    X-Frame-Options: deny\n";
    let limit = "rate_limit:\n  interval: 1h\n  burst: 3\n";
    let Secured { mut daemon, address, site: _site } =
        start(&format!("{headers}{limit}basic_auth_users:\n  ann: {SECRET}\n"), &[]);
    let answers = [
        request(address, "GET", "/metrics", &[&authorization("ann", "secret")]),
        get(address, "/metrics"),
        get(address, "/missing"),
        get(address, "/metrics"),
    ];
    assert_eq!(answers.each_ref().map(|answer| answer.code), [200, 401, 401, 429]);
    assert!(answers.iter().all(|answer| answer.header("x-frame-options") == Some("deny")));
    daemon.wait_for_count("tallyd.http_requests", ("code", "429"));
}

#[test]
fn clients_need_a_verified_certificate_with_an_allowed_name() {
    let require = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: clients.crt\n";
    let clients = Authority::new("clients");
    let Secured { daemon: _daemon, address, site } = start(TLS, &[]);
    fs::write(site.path("clients.crt"), &clients.pem).unwrap();
    let gets_in =
        |client: &Client| client.get(address, "/metrics", &[]).is_ok_and(|answer| answer.code == 200);
    let scraper = Client::new(&site.authority, Some(&clients.issue("scraper")));
    let other = Client::new(&site.authority, Some(&clients.issue("other")));
    let forged = Client::new(&site.authority, Some(&Authority::new("clients").issue("scraper")));
    let all = [&site.client(), &scraper, &other, &forged];
    for (rest, expected) in [
        (String::new(), [true, true, true, true]),
        (require.to_owned(), [false, true, true, false]),
        (format!("{require}  client_allowed_sans: [\"scraper\"]\n"), [false, true, false, false]),
        ("  client_auth_type: RequireAnyClientCert\n".to_owned(), [false, true, true, true]),
        (require.replace("RequireAndVerifyClientCert", "VerifyClientCertIfGiven"), [true, true, true, false]),
        ("  client_auth_type: RequestClientCert\n".to_owned(), [true, true, true, true]),
    ] {
        site.configure(&format!("{TLS}{rest}"));
        wait_until(|| all.map(gets_in) == expected);
    }
}

#[test]
fn self_signed_client_certificate_is_refused_only_if_verified_as_an_authority() {
    let Secured { daemon: _daemon, address, site } = start(TLS, &[]);
    let own = [false, true].map(|is_authority| Identity::self_signed("scraper", is_authority));
    fs::write(site.path("clients.crt"), own.each_ref().map(|own| own.certificate.as_str()).concat()).unwrap();
    let clients = own.each_ref().map(|own| Client::new(&site.authority, Some(own)));
    let gets_in = |client: &Client| client.get(address, "/metrics", &[]).is_ok();
    for (kind, authorities, expected) in [
        ("RequireAndVerifyClientCert", "clients.crt", [true, false]),
        ("RequireAnyClientCert", "\"\"", [true, true]),
        ("VerifyClientCertIfGiven", "clients.crt", [true, false]),
    ] {
        site.configure(&format!("{TLS}  client_auth_type: {kind}\n  client_ca_file: {authorities}\n"));
        wait_until(|| clients.each_ref().map(gets_in) == expected);
    }
}

#[test]
fn renewed_certificate_and_changed_users_take_effect_and_invalid_files_do_not() {
    let users = |hash: &str| format!("{TLS}basic_auth_users:\n  ann: {hash}\n");
    let log = TempDir::new().unwrap();
    let log = log.path().join("log");
    let Secured { daemon, address, site } = start(
        &users(SECRET),
        &[&format!("logging.file_path={}", log.display()), "logging.output=[\"console\", \"file\"]"],
    );
    let client = site.client();
    let ann = authorization("ann", "secret");
    let code = || client.get(address, "/-/healthy", &[&ann]).unwrap().code;
    let shown = || client.connect(address).unwrap().certificate();
    let refusals = || fs::read_to_string(&log).unwrap().matches("web configuration is refused").count();
    let mut open = client.connect(address).unwrap();
    assert_eq!(open.get("/-/healthy", &[&ann]).unwrap().code, 200);

    let renewed = site.authority.issue("localhost");
    renewed.write(site.directory(), "server");
    wait_until(|| shown() == renewed.der());
    assert_eq!(code(), 200);

    // An empty file is valid, but would remove TLS and the users. A file that is just being written may be empty.
    for yaml in [format!("{TLS}nonsense: 1\n"), String::new(), TLS.to_owned()] {
        let before = refusals();
        site.configure(&yaml);
        wait_until(|| {
            assert_eq!((shown(), code()), (renewed.der(), 200));
            refusals() > before
        });
    }
    let refused = refusals();
    // tallyd checks the file about once per second. A test cannot wait for the absence of a log line, so this one
    // sleeps.
    thread::sleep(Duration::from_millis(1500));
    assert_eq!((code(), refusals()), (200, refused), "a refused file is logged once");

    site.configure(&users(&bcrypt::hash("other", 4).unwrap()));
    wait_until(|| code() == 401);
    assert_eq!(
        open.get("/-/healthy", &[&ann]).unwrap().code,
        401,
        "new users apply to open connections, too"
    );
    assert_eq!(open.get("/-/healthy", &[&authorization("ann", "other")]).unwrap().code, 200);
    let log = daemon.stop().log;
    assert!(log.contains("web.yml:4: nonsense: unknown; known here: "), "{log}");
    assert!(log.contains("the certificates (") && log.contains("the users ("), "{log}");
}

#[test]
fn telemetry_has_the_state_of_the_file_and_the_certificate() {
    // Printed by `date -d 2041-01-01T00:00Z +%s`.
    const YEAR_2041: f64 = 2_240_611_200.0;
    const YEAR_2042: f64 = 2_272_147_200.0;
    let Secured { daemon: _daemon, address, site } = start(TLS, &[]);
    let client = site.client();
    let renew = |year| site.authority.issue_until("localhost", year).write(site.directory(), "server");
    let wait_for_gauges = |in_force, expiry| {
        wait_until(|| {
            let page = Page::parse(client.get(address, "/metrics", &[]).unwrap().text());
            [CONFIG_GAUGE, EXPIRY_GAUGE].map(|name| page.value(name, &[])) == [Some(in_force), Some(expiry)]
        });
    };
    renew(2041);
    wait_for_gauges(1.0, YEAR_2041);
    site.configure(&format!("{TLS}nonsense: 1\n"));
    wait_for_gauges(0.0, YEAR_2041);
    site.configure(TLS);
    wait_for_gauges(1.0, YEAR_2041);
    fs::write(site.path("server.crt"), "no certificate").unwrap();
    wait_for_gauges(0.0, YEAR_2041);
    renew(2042);
    wait_for_gauges(1.0, YEAR_2042);
}

#[test]
fn telemetry_has_no_gauge_of_a_certificate_or_file_that_is_not_configured() {
    let scrape = |address| {
        wait_for(|| {
            let page = scraped::scrape(address);
            page.value("tallyd_datagrams_total", &[]).map(|_| page)
        })
    };
    let Secured { daemon: _daemon, address, site: _site } = start("", &[]);
    let page = scrape(address);
    assert_eq!([CONFIG_GAUGE, EXPIRY_GAUGE].map(|name| page.value(name, &[])), [Some(1.0), None]);
    let (_daemon, address) = scraped::start(&["flush.interval=100ms"]);
    let page = scrape(address);
    assert_eq!([CONFIG_GAUGE, EXPIRY_GAUGE].map(|name| page.value(name, &[])), [None, None]);
}

/// Returns the series in the tables of the telemetry page, as `family{tag keys}` on the Prometheus page.
fn documented() -> BTreeSet<String> {
    let rows = Document::read("docs/telemetry.md").table("| series |");
    let family = |row: Vec<String>| {
        let series = row[0].trim_matches('`');
        let (name, tags) = series.split_at(series.find('{').unwrap_or(series.len()));
        format!("{}{}{tags}", name.replace('.', "_"), if row[1] == "counter" { "_total" } else { "" })
    };
    rows.into_iter().map(family).collect()
}

#[test]
fn telemetry_page_lists_every_series_with_its_tags_and_no_other() {
    let directory = TempDir::new().unwrap();
    let path = |key: &str, name: &str| format!("{key}={}", directory.path().join(name).display());
    let Secured { daemon, site: _site, .. } = start(
        TLS,
        &[
            // The names are those of the interval in which the samples arrive, and that must be the last one.
            &format!("flush.interval={}s", longest_interval()),
            "admin.enabled=true",
            "admin.bind=127.0.0.1:0",
            "listeners.tcp.enabled=true",
            "listeners.tcp.bind=127.0.0.1:0",
            "exporters.textfile.enabled=true",
            &path("exporters.textfile.path", "tallyd.prom"),
            "exporters.hdr_log.enabled=true",
            &path("exporters.hdr_log.path", "tallyd.hlog"),
            "aggregation.max_series_per_metric=2",
            &path("state.path", "state"),
            &path("exporters.prometheus.socket", "http"),
            "exporters.remote_write=[{ name = \"a\", url = \"http://127.0.0.1:1\" }]",
            &path("delivery.path", "queue"),
            "relay=[{ to = [\"udp://127.0.0.1:1\"] }]",
        ],
    );
    // Names are reported only if they have several series, samples, samples beyond a limit, or rejected lines.
    daemon.send("a:1|c|#t:1\na:1|c|#t:2\na:1|c|#t:3\na:1");
    daemon.stop();
    // The text file has all series, even those with the value 0. Its own time is no series of a snapshot.
    let page = fs::read_to_string(directory.path().join("tallyd.prom")).unwrap();
    let own =
        page.lines().filter(|line| line.starts_with("tallyd_") && !line.starts_with("tallyd_textfile_"));
    let exported = own.map(|line| {
        let (series, _) = line.rsplit_once(' ').unwrap();
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        // The page has tags in alphabetical order, except that `exporter` comes first.
        let mut keys: Vec<_> = labels.split(',').filter_map(|label| Some(label.split_once('=')?.0)).collect();
        keys.sort_by_key(|key| (*key != "exporter", *key));
        let tags = if keys.is_empty() { String::new() } else { format!("{{{}}}", keys.join(",")) };
        format!("{name}{tags}")
    });
    assert_eq!(exported.collect::<BTreeSet<_>>(), documented());
}

#[test]
fn expired_certificate_is_served_with_one_warning() {
    let site = Site::create();
    let client = site.client();
    let renew =
        |site: &Site, year| site.authority.issue_until("localhost", year).write(site.directory(), "server");
    renew(&site, 2001);
    let Secured { daemon, address, site } = start_at(site, TLS, &[]);
    let gets_in = || client.get(address, "/-/healthy", &[]).is_ok();
    assert!(!gets_in());
    renew(&site, 2041);
    wait_until(gets_in);
    renew(&site, 2002);
    wait_until(|| !gets_in());
    let log = daemon.stop().log;
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("has expired")).collect();
    assert_eq!(warnings.len(), 2, "{log}");
    for (warning, date) in warnings.iter().zip(["2001-01-01T00:00:00Z", "2002-01-01T00:00:00Z"]) {
        assert!(warning.contains("WARN") && warning.contains(date), "{warning}");
        assert!(warning.contains(site.path("server.crt").to_str().unwrap()), "{warning}");
    }
}

#[test]
fn run_and_check_refuse_an_invalid_web_configuration_with_its_line() {
    let site = Site::create();
    let run = |command: &str, rest: &[&str]| -> Output {
        let web = format!("exporters.prometheus.web_config_file={}", site.path("web.yml").display());
        tallyd_command()
            .arg(command)
            .args(rest)
            .args(["--set", &web, "--set", "exporters.prometheus.start_http_server=true"])
            .args(["--set", "listeners.udp.bind=127.0.0.1:0", "--set", "exporters.prometheus.port=0"])
            .output()
            .unwrap()
    };
    site.configure(&format!("{TLS}  min_version: TLS9\n"));
    for command in ["run", "check"] {
        let refused = run(command, &[]);
        assert_eq!(refused.status.code(), Some(78));
        let said = stderr(&refused);
        let expected = format!("tallyd: {}:4: min_version: \"TLS9\"", site.path("web.yml").display());
        assert!(said.starts_with(&expected), "{said}");
    }
    assert!(run("explain", &["orders:1|c"]).status.success(), "explain needs no certificates");
    site.configure(TLS);
    assert!(run("check", &[]).status.success());
}

#[test]
fn check_warns_of_a_key_that_all_users_can_read_and_of_a_reload_without_users() {
    let site = Site::create();
    let check = |yaml: &str, mode: u32| {
        site.configure(yaml);
        fs::set_permissions(site.path("server.key"), Permissions::from_mode(mode)).unwrap();
        let web = format!("web_config_file={}", site.path("web.yml").display());
        let settings = [&*web, "start_http_server=true", "address=0.0.0.0", "enable_reload=true"];
        let settings = settings.map(|setting| format!("exporters.prometheus.{setting}"));
        let arguments = settings.iter().flat_map(|setting| ["--set", setting]);
        let output = tallyd_command().arg("check").args(arguments).output().unwrap();
        assert!(output.status.success());
        stderr(&output).replace(&site.directory().display().to_string(), "D")
    };
    let users = format!("{TLS}basic_auth_users:\n  ann: {SECRET}\n");
    let verified = format!("{TLS}  client_ca_file: ca.crt\n  client_auth_type: RequireAndVerifyClientCert\n");
    let exposed = "tallyd: warning: D/web.yml:3: key_file: D/server.key: every user of this machine can read the private \
                   key; run `chmod o-r`\n";
    let open = "tallyd: warning: D/web.yml: neither users nor verified client certificates, so everyone who can connect \
                can reload tallyd; add basic_auth_users, or turn exporters.prometheus.enable_reload off\n";
    for (yaml, mode, expected) in [
        (&*users, 0o640, String::new()),
        (&verified, 0o600, String::new()),
        (&users, 0o644, exposed.to_owned()),
        (TLS, 0o604, format!("{exposed}{open}")),
        (&format!("{TLS}  client_auth_type: RequireAnyClientCert\n"), 0o600, open.to_owned()),
    ] {
        assert_eq!(check(yaml, mode), expected, "{yaml}");
    }
}

#[test]
fn password_guessing_and_endless_handshakes_delay_no_scraper_and_no_sample() {
    const CROWD: u64 = 50;
    let directory = TempDir::new().unwrap();
    let socket = directory.path().join("tallyd.sock");
    let Secured { mut daemon, address, site } = start(
        &format!("{TLS}basic_auth_users:\n  ann: {SLOW_SECRET}\n"),
        &[
            "exporters.prometheus.timeout=10s",
            "exporters.prometheus.max_connections=200",
            "listeners.unix_datagram.enabled=true",
            &format!("listeners.unix_datagram.path={}", socket.display()),
        ],
    );
    let finished = AtomicBool::new(false);
    let refused: Vec<_> = (0..CROWD).map(|_| AtomicU64::new(0)).collect();
    let all_refused = || refused.iter().map(|count| count.load(Ordering::SeqCst)).sum::<u64>();
    let sent = thread::scope(|scope| {
        let stream = scope.spawn(|| send_until(&socket, &finished));
        for (number, count) in refused.iter().enumerate() {
            let (client, finished) = (site.client(), &finished);
            scope.spawn(move || guess(&client, address, number, finished, count));
        }
        let end = SetOnDrop(&finished);
        let mut silent: Vec<_> = (0..40).map(|_| connect(address)).collect();
        silent.iter_mut().skip(20).for_each(|half| half.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap());
        wait_until(|| refused.iter().all(|count| count.load(Ordering::SeqCst) > 0));

        // tallyd has not seen the password from this address yet.
        let scraper = site.client().at(Ipv4Addr::new(127, 0, 0, 2));
        let mut scraper = scraper.connect(address).unwrap();
        let before = all_refused();
        let ann = authorization("ann", "secret");
        assert_eq!(scraper.get("/metrics", &[&ann]).unwrap().code, 200);
        let meanwhile = all_refused() - before;
        assert!(meanwhile < CROWD / 2, "the scraper waited for {meanwhile} others");
        for _ in 0..100 {
            assert_eq!(scraper.get("/metrics", &[&ann]).unwrap().code, 200);
        }
        // This client has the address of the crowd, and a password that tallyd accepted before.
        assert_eq!(site.client().get(address, "/metrics", &[&ann]).unwrap().code, 200);

        silent.iter_mut().for_each(|connection| _ = connection.read_to_end(&mut Vec::new()));
        daemon.wait_for_count("tallyd.http_connections_closed", ("reason", "handshake_timeout"));
        daemon.wait_for_count("tallyd.http_requests", ("code", "401"));
        drop(end);
        stream.join().unwrap()
    });
    let finished = daemon.stop();
    assert!(finished.status.success(), "{}", finished.log);
    assert_eq!(finished.sum("meanwhile", "value"), sent);
}

/// Requests the page with wrong passwords until `finished` is set, and counts the refusals in `refused`.
fn guess(client: &Client, address: SocketAddr, number: usize, finished: &AtomicBool, refused: &AtomicU64) {
    while !finished.load(Ordering::SeqCst) {
        let Ok(mut connection) = client.connect(address) else { continue };
        for guess in 0.. {
            let header = authorization("ann", &format!("{number}/{guess}"));
            match connection.get("/metrics", &[&header]) {
                Ok(Response { code: 401, .. }) => refused.fetch_add(1, Ordering::SeqCst),
                Ok(response) => panic!("{response:?}"),
                // The response did not come in time. The client connects again.
                Err(_) => break,
            };
            if finished.load(Ordering::SeqCst) {
                break;
            }
        }
    }
}

#[test]
fn connections_with_any_bytes_on_a_tls_port_end_and_are_counted() {
    let Secured { mut daemon, address, site: _site } = start(TLS, &["exporters.prometheus.timeout=500ms"]);
    for bytes in
        [&b"\x00\xff"[..], b"\x16\x16\x16\x16\x16\x16\x16", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"]
    {
        let mut connection = connect(address);
        connection.write_all(bytes).unwrap();
        _ = connection.read_to_end(&mut Vec::new());
    }
    assert_eq!(get(address, "/metrics").code, 400);
    for reason in ["bad_handshake", "handshake_timeout", "end"] {
        drop(connect(address));
        connect(address).read_to_end(&mut Vec::new()).unwrap();
        daemon.wait_for_count("tallyd.http_connections_closed", ("reason", reason));
    }
    let mut open = connect(address);
    let finished = daemon.stop();
    open.read_to_end(&mut Vec::new()).unwrap();
    assert!(finished.status.success(), "{}", finished.log);
}
