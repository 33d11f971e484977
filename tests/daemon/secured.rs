//! The endpoint asks for TLS, certificates, users and passwords, as a web configuration file of exporter-toolkit says.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod harness;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use base64::prelude::{BASE64_STANDARD, Engine};
use harness::http::{Answer, connect, get, try_ask};
use harness::meanwhile::{End, count_on};
use harness::prometheus::{Page, Running, spawn, wait_for};
use harness::tls::{Authority, Client, Identity};
use harness::{Daemon, scraped};
use serde_json::Value;
use tempfile::TempDir;

/// Of the password `secret`, by `htpasswd -nbBC 4 ann secret`.
const SECRET: &str = "$2y$04$n59TvKzysibUZ5lJyc70cuJFxxO6ZZl5iCDGc5nhyHI6Zgy16DIPG";
/// With a cost of 8, which takes some 15 ms.
const SLOW_SECRET: &str = "$2y$08$CAtr/GZvFjFThrsVipSOBez91NZmP6VJxh7Q8pswqHbRvJIj9TcxG";

/// A tallyd with a web configuration file.
struct Secured {
    daemon: Daemon,
    address: SocketAddr,
    site: Site,
}

/// The files.
struct Site {
    folder: TempDir,
    authority: Authority,
}

const CONFIG_GAUGE: &str = "tallyd_web_config_last_reload_successful";
const EXPIRY_GAUGE: &str = "tallyd_tls_certificate_expiry_timestamp_seconds";

/// Asks for a certificate of the server that `Site` has.
const TLS: &str = "tls_server_config:\n  cert_file: server.crt\n  key_file: server.key\n";

impl Site {
    fn new() -> Self {
        let site = Self { folder: TempDir::new().unwrap(), authority: Authority::new("tests") };
        site.authority.issue("localhost").write(site.folder.path(), "server");
        fs::write(site.path("ca.crt"), &site.authority.pem).unwrap();
        site
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Replaces the web configuration file.
    fn configure(&self, yaml: &str) {
        fs::write(self.path("web.new"), yaml).unwrap();
        fs::rename(self.path("web.new"), self.path("web.yml")).unwrap();
    }

    /// A client that trusts the server.
    fn client(&self) -> Client {
        Client::new(&self.authority, None)
    }
}

/// Starts a tallyd that can be scraped, with this web configuration and further settings.
fn start(yaml: &str, settings: &[&str]) -> Secured {
    start_at(Site::new(), yaml, settings)
}

/// Likewise, with these files.
fn start_at(site: Site, yaml: &str, settings: &[&str]) -> Secured {
    site.configure(yaml);
    let own = [
        "flush.interval=100ms",
        "exporters.prometheus.start_http_server=true",
        "exporters.prometheus.port=0",
        &format!("exporters.prometheus.web_config_file={}", site.path("web.yml").display()),
    ];
    let daemon = Daemon::start(&[&own[..], settings].concat());
    let address = daemon.place("http").parse().unwrap();
    Secured { daemon, address, site }
}

/// The header by which a user shows a password.
fn shows(user: &str, password: &str) -> String {
    format!("Authorization: Basic {}", BASE64_STANDARD.encode(format!("{user}:{password}")))
}

/// Waits for a counter of tallyd's own in the rows, which is not 0.
fn wait_for_count(daemon: &mut Daemon, name: &str, tag: (&str, &str)) {
    let is_it = |row: &Value| row["name"] == name && row["tags"][tag.0] == tag.1;
    daemon.wait_for(|row| is_it(row) && row["value"].as_f64() > Some(0.0));
}

#[test]
fn over_tls_the_page_is_for_those_who_trust_the_certificate_and_plain_http_is_told_so() {
    let Secured { mut daemon, address, site } = start(TLS, &[]);
    let mut connection = site.client().connect(address).unwrap();
    wait_for(|| (connection.get("/-/ready", &[]).unwrap().code == 200).then_some(()));
    let page = connection.get("/metrics", &[]).unwrap();
    assert!(page.code == 200 && page.text().contains("tallyd_lines_total 0\n"), "{page:?}");

    let plain = get(address, "/metrics");
    assert_eq!(plain.code, 400);
    assert!(plain.text().contains("https"), "{}", plain.text());
    let stranger = Client::new(&Authority::new("another"), None);
    assert!(stranger.get(address, "/metrics", &[]).is_err());
    wait_for_count(&mut daemon, "tallyd.http_connections_closed", ("reason", "bad_handshake"));
    drop(connection);
    let finished = daemon.stop();
    assert!(finished.status.success());
    assert!(finished.log.contains("tls=true users=0"), "{}", finished.log);
}

#[test]
fn every_page_asks_for_a_user_and_a_right_password() {
    let yaml = format!("basic_auth_users:\n  ann: {SECRET}\n  ben: {SECRET}\n");
    let Secured { mut daemon, address, site: _site } =
        start(&yaml, &["exporters.prometheus.enable_reload=true"]);
    let ask = |path: &str, headers: &[&str]| {
        let method = if path == "/-/reload" { "POST" } else { "GET" };
        harness::http::ask(address, method, path, headers)
    };
    let ann = shows("ann", "secret");
    wait_for(|| (ask("/-/ready", &[&ann]).code == 200).then_some(()));
    for path in ["/", "/metrics", "/-/healthy", "/-/ready", "/-/reload", "/missing"] {
        let right = if path == "/missing" { 404 } else { 200 };
        assert_eq!(ask(path, &[&ann]).code, right, "{path}");
        assert_eq!(ask(path, &[&shows("ben", "secret")]).code, right, "{path}");
        let wrong = [shows("ann", "Secret"), shows("ann", ""), shows("eve", "secret"), shows("", "")];
        let wrong = wrong.iter().map(|header| vec![header.as_str()]);
        for headers in wrong.chain([vec![], vec!["Authorization: Bearer secret"]]) {
            let refused = ask(path, &headers);
            assert_eq!((refused.code, refused.header("www-authenticate")), (401, Some("basic")), "{path}");
        }
    }
    wait_for_count(&mut daemon, "tallyd.http_requests", ("code", "401"));
    assert!(daemon.stop().log.contains("tls=false users=2"));
}

#[test]
fn answers_have_the_headers_of_the_file_and_are_no_more_than_its_limit() {
    let headers = "http_server_config:\n  headers:\n    X-Frame-Options: deny\n";
    let limit = "rate_limit:\n  interval: 1h\n  burst: 3\n";
    let Secured { mut daemon, address, site: _site } =
        start(&format!("{headers}{limit}basic_auth_users:\n  ann: {SECRET}\n"), &[]);
    let answers = [
        harness::http::ask(address, "GET", "/metrics", &[&shows("ann", "secret")]),
        get(address, "/metrics"),
        get(address, "/missing"),
        get(address, "/metrics"),
    ];
    assert_eq!(answers.each_ref().map(|answer| answer.code), [200, 401, 401, 429]);
    assert!(answers.iter().all(|answer| answer.header("x-frame-options") == Some("deny")));
    wait_for_count(&mut daemon, "tallyd.http_requests", ("code", "429"));
}

#[test]
fn clients_need_a_certificate_that_is_verified_and_has_an_allowed_name() {
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
        wait_for(|| (all.map(gets_in) == expected).then_some(()));
    }
}

#[test]
fn a_client_may_sign_its_certificate_itself_unless_it_is_verified_and_marked_as_that_of_an_authority() {
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
        wait_for(|| (clients.each_ref().map(gets_in) == expected).then_some(()));
    }
}

#[test]
fn a_renewed_certificate_and_changed_users_are_taken_up_and_what_is_wrong_is_not() {
    let users = |hash: &str| format!("{TLS}basic_auth_users:\n  ann: {hash}\n");
    let log = TempDir::new().unwrap();
    let log = log.path().join("log");
    let Secured { daemon, address, site } = start(
        &users(SECRET),
        &[&format!("logging.file_path={}", log.display()), "logging.output=[\"console\", \"file\"]"],
    );
    let client = site.client();
    let ann = shows("ann", "secret");
    let code = || client.get(address, "/-/healthy", &[&ann]).unwrap().code;
    let shown = || client.connect(address).unwrap().certificate();
    let refusals = || fs::read_to_string(&log).unwrap().matches("web configuration is refused").count();
    let mut open = client.connect(address).unwrap();
    assert_eq!(open.get("/-/healthy", &[&ann]).unwrap().code, 200);

    let renewed = site.authority.issue("localhost");
    renewed.write(site.folder.path(), "server");
    wait_for(|| (shown() == renewed.der()).then_some(()));
    assert_eq!(code(), 200);

    // A file that is empty, as one is that is just being written, is valid and asks for nothing.
    for (refused, yaml) in [(1, format!("{TLS}nonsense: 1\n")), (2, String::new()), (3, TLS.to_owned())] {
        let before = refusals();
        site.configure(&yaml);
        wait_for(|| {
            assert_eq!((shown(), code()), (renewed.der(), 200));
            (refusals() > before).then_some(())
        });
        assert!(refusals() >= refused, "{yaml}");
    }
    let refused = refusals();
    thread::sleep(Duration::from_millis(1500));
    assert_eq!((code(), refusals()), (200, refused), "it is logged once");

    site.configure(&users(&bcrypt::hash("other", 4).unwrap()));
    wait_for(|| (code() == 401).then_some(()));
    assert_eq!(open.get("/-/healthy", &[&ann]).unwrap().code, 401, "on connections that are open, too");
    assert_eq!(open.get("/-/healthy", &[&shows("ann", "other")]).unwrap().code, 200);
    let log = daemon.stop().log;
    assert!(log.contains("web.yml:4: unknown field `nonsense`"), "{log}");
    assert!(log.contains("without certificates") && log.contains("without users"), "{log}");
}

#[test]
fn telemetry_says_whether_the_file_is_in_force_and_when_the_certificate_expires() {
    // By `date -d 2041-01-01T00:00Z +%s`.
    const YEAR_2041: f64 = 2_240_611_200.0;
    const YEAR_2042: f64 = 2_272_147_200.0;
    let Secured { daemon: _daemon, address, site } = start(TLS, &[]);
    let client = site.client();
    let renew = |year| site.authority.issue_until("localhost", year).write(site.folder.path(), "server");
    let wait_until = |in_force, expiry| {
        wait_for(|| {
            let page = Page::parse(client.get(address, "/metrics", &[]).unwrap().text());
            let gauges = [CONFIG_GAUGE, EXPIRY_GAUGE].map(|name| page.value(name, &[]));
            (gauges == [Some(in_force), Some(expiry)]).then_some(())
        });
    };
    renew(2041);
    wait_until(1.0, YEAR_2041);
    site.configure(&format!("{TLS}nonsense: 1\n"));
    wait_until(0.0, YEAR_2041);
    site.configure(TLS);
    wait_until(1.0, YEAR_2041);
    fs::write(site.path("server.crt"), "no certificate").unwrap();
    wait_until(0.0, YEAR_2041);
    renew(2042);
    wait_until(1.0, YEAR_2042);
}

#[test]
fn telemetry_has_no_certificate_without_tls_and_no_web_configuration_where_none_is_named() {
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

/// Returns the series in the tables of the telemetry page, as `name{keys of tags}`.
fn documented() -> BTreeSet<String> {
    let page = include_str!("../docs/telemetry.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `tallyd."));
    rows.map(|row| format!("tallyd.{}", row.split_once('`').unwrap().0)).collect()
}

#[test]
fn telemetry_page_lists_every_series_with_its_tags_and_no_other() {
    let folder = TempDir::new().unwrap();
    let path = |key: &str, name: &str| format!("{key}={}", folder.path().join(name).display());
    let Secured { daemon, site: _site, .. } = start(
        TLS,
        &[
            "listeners.tcp.enabled=true",
            "listeners.tcp.bind=127.0.0.1:0",
            "exporters.textfile.enabled=true",
            &path("exporters.textfile.path", "tallyd.prom"),
        ],
    );
    let finished = daemon.stop();
    let is_own = |row: &&Value| row["name"].as_str().is_some_and(|name| name.starts_with("tallyd."));
    let exported = finished.rows.iter().filter(is_own).map(|row| {
        // In the order of the alphabet, but for what an exporter did, where the exporter comes first.
        let mut keys: Vec<_> = row["tags"].as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_by_key(|key| (*key != "exporter", *key));
        let tags = if keys.is_empty() { String::new() } else { format!("{{{}}}", keys.join(",")) };
        format!("{}{tags}", row["name"].as_str().unwrap())
    });
    assert_eq!(exported.collect::<BTreeSet<_>>(), documented());
}

#[test]
fn a_certificate_that_is_expired_is_served_and_warned_of_once_at_the_start_and_when_it_is_taken_up() {
    let site = Site::new();
    let client = site.client();
    let renew =
        |site: &Site, year| site.authority.issue_until("localhost", year).write(site.folder.path(), "server");
    renew(&site, 2001);
    let Secured { daemon, address, site } = start_at(site, TLS, &[]);
    let gets_in = || client.get(address, "/-/healthy", &[]).is_ok();
    assert!(!gets_in());
    renew(&site, 2041);
    wait_for(|| gets_in().then_some(()));
    renew(&site, 2002);
    wait_for(|| (!gets_in()).then_some(()));
    let log = daemon.stop().log;
    let warnings: Vec<_> = log.lines().filter(|line| line.contains("is expired")).collect();
    assert_eq!(warnings.len(), 2, "{log}");
    for (warning, date) in warnings.iter().zip(["2001-01-01T00:00:00Z", "2002-01-01T00:00:00Z"]) {
        assert!(warning.contains("WARN") && warning.contains(date), "{warning}");
        assert!(warning.contains(site.path("server.crt").to_str().unwrap()), "{warning}");
    }
}

#[test]
fn a_wrong_file_is_refused_at_the_start_and_by_check_with_its_line() {
    let site = Site::new();
    let run = |command: &str, rest: &[&str]| -> Output {
        let web = format!("exporters.prometheus.web_config_file={}", site.path("web.yml").display());
        Command::new(env!("CARGO_BIN_EXE_tallyd"))
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
        let said = String::from_utf8(refused.stderr).unwrap();
        let expected = format!("tallyd: {}:4: min_version: \"TLS9\"", site.path("web.yml").display());
        assert!(said.starts_with(&expected), "{said}");
    }
    assert!(run("explain", &["orders:1|c"]).status.success(), "it needs no certificates");
    site.configure(TLS);
    assert!(run("check", &[]).status.success());
}

#[test]
fn wrong_passwords_and_handshakes_that_never_end_keep_no_scraper_from_its_page_and_lose_no_sample() {
    const CROWD: u64 = 100;
    let folder = TempDir::new().unwrap();
    let socket = folder.path().join("tallyd.sock");
    let Secured { mut daemon, address, site } = start(
        &format!("{TLS}basic_auth_users:\n  ann: {SLOW_SECRET}\n"),
        &[
            "exporters.prometheus.timeout=5s",
            "exporters.prometheus.max_connections=200",
            "listeners.unix_datagram.enabled=true",
            &format!("listeners.unix_datagram.path={}", socket.display()),
        ],
    );
    let finished = AtomicBool::new(false);
    let refused: Vec<_> = (0..CROWD).map(|_| AtomicU64::new(0)).collect();
    let all_refused = || refused.iter().map(|count| count.load(Ordering::SeqCst)).sum::<u64>();
    let sent = thread::scope(|scope| {
        let stream = scope.spawn(|| count_on(&socket, &finished));
        for (number, count) in refused.iter().enumerate() {
            let (client, finished) = (site.client(), &finished);
            scope.spawn(move || guess(&client, address, number, finished, count));
        }
        let end = End(&finished);
        let mut silent: Vec<_> = (0..40).map(|_| connect(address)).collect();
        silent.iter_mut().skip(20).for_each(|half| half.write_all(b"\x16\x03\x01\x02\x00\x01").unwrap());
        wait_for(|| refused.iter().all(|count| count.load(Ordering::SeqCst) > 0).then_some(()));

        // Nobody has seen this one's password yet.
        let scraper = site.client().at(Ipv4Addr::new(127, 0, 0, 2));
        let mut scraper = scraper.connect(address).unwrap();
        let before = all_refused();
        let ann = shows("ann", "secret");
        assert_eq!(scraper.get("/metrics", &[&ann]).unwrap().code, 200);
        let meanwhile = all_refused() - before;
        assert!(meanwhile < CROWD / 2, "it waited for {meanwhile} others");
        for _ in 0..100 {
            assert_eq!(scraper.get("/metrics", &[&ann]).unwrap().code, 200);
        }
        // From the address of the crowd, with a password that was right before.
        assert_eq!(site.client().get(address, "/metrics", &[&ann]).unwrap().code, 200);

        silent.iter_mut().for_each(|connection| _ = connection.read_to_end(&mut Vec::new()));
        wait_for_count(&mut daemon, "tallyd.http_connections_closed", ("reason", "handshake_timeout"));
        wait_for_count(&mut daemon, "tallyd.http_requests", ("code", "401"));
        drop(end);
        stream.join().unwrap()
    });
    let finished = daemon.stop();
    assert!(finished.status.success(), "{}", finished.log);
    assert_eq!(finished.sum("meanwhile", "value"), sent);
}

/// Asks with wrong passwords until it is to end, and counts how often it is refused.
fn guess(client: &Client, address: SocketAddr, number: usize, finished: &AtomicBool, refused: &AtomicU64) {
    while !finished.load(Ordering::SeqCst) {
        let Ok(mut connection) = client.connect(address) else { continue };
        for guess in 0.. {
            let header = shows("ann", &format!("{number}/{guess}"));
            match connection.get("/metrics", &[&header]) {
                Ok(Answer { code: 401, .. }) => refused.fetch_add(1, Ordering::SeqCst),
                Ok(answer) => panic!("{answer:?}"),
                // It did not get its answer in time, and connects again.
                Err(_) => break,
            };
            if finished.load(Ordering::SeqCst) {
                break;
            }
        }
    }
}

#[test]
fn whatever_comes_to_a_port_of_tls_ends_and_is_counted() {
    let Secured { mut daemon, address, site: _site } = start(TLS, &["exporters.prometheus.timeout=500ms"]);
    for bytes in
        [&b"\x00\xff"[..], b"\x16\x16\x16\x16\x16\x16\x16", b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00"]
    {
        let mut connection = connect(address);
        connection.write_all(bytes).unwrap();
        _ = connection.read_to_end(&mut Vec::new());
    }
    assert_eq!(try_ask(address, "GET", "/metrics", &[]).unwrap()[9..12], *b"400");
    for reason in ["bad_handshake", "handshake_timeout", "end"] {
        drop(connect(address));
        connect(address).read_to_end(&mut Vec::new()).unwrap();
        wait_for_count(&mut daemon, "tallyd.http_connections_closed", ("reason", reason));
    }
    let mut open = connect(address);
    let finished = daemon.stop();
    open.read_to_end(&mut Vec::new()).unwrap();
    assert!(finished.status.success(), "{}", finished.log);
}

#[test]
#[ignore = "needs curl; run make test"]
fn curl_gets_the_page_with_the_authority_a_password_and_a_certificate_of_its_own() {
    let require = "  client_auth_type: RequireAndVerifyClientCert\n  client_ca_file: ca.crt\n";
    let Secured { daemon: _daemon, address, site } =
        start(&format!("{TLS}{require}basic_auth_users:\n  ann: {SECRET}\n"), &[]);
    let [certificate, key] = site.authority.issue("curl").write(site.folder.path(), "curl");
    let curl = |options: &[&str]| {
        let mut command = Command::new("curl");
        command.args(["-sS", "-o", "/dev/null", "-w", "%{http_code}"]).args(options);
        let output = spawn(
            command.arg(format!("https://{address}/metrics")).stdout(Stdio::piped()).stderr(Stdio::null()),
        );
        String::from_utf8(output.wait_with_output().unwrap().stdout).unwrap()
    };
    let ca = site.path("ca.crt");
    let trusting = ["--cacert", ca.to_str().unwrap()];
    let known = ["--cert", certificate.to_str().unwrap(), "--key", key.to_str().unwrap()];
    let all = [&trusting[..], &known, &["-u", "ann:secret"]].concat();
    assert_eq!(curl(&all), "200");
    assert_eq!(curl(&[&all[..], &["--http2"]].concat()), "200");
    assert_eq!(curl(&[&all[..], &["--tls-max", "1.2"]].concat()), "200");
    assert_eq!(curl(&[&trusting[..], &known, &["-u", "ann:wrong"]].concat()), "401");
    assert_eq!(curl(&[&trusting[..], &["-u", "ann:secret"]].concat()), "000");
    assert_eq!(curl(&[&known[..], &["-u", "ann:secret"]].concat()), "000");
}

#[test]
#[ignore = "needs prometheus; run make test"]
fn prometheus_scrapes_over_tls_as_a_user() {
    let Secured { mut daemon, address, site } =
        start(&format!("{TLS}basic_auth_users:\n  ann: {SECRET}\n"), &[]);
    let config = format!(
        "global: {{scrape_interval: 1s}}\nscrape_configs:\n- job_name: tallyd\n  scheme: https\n  \
         tls_config: {{ca_file: ca.crt}}\n  basic_auth: {{username: ann, password: secret}}\n  \
         static_configs:\n  - targets: ['{address}']\n"
    );
    fs::write(site.path("prometheus.yml"), config).unwrap();
    let mut command = Command::new("prometheus");
    command
        .args(["--web.listen-address=127.0.0.1:0", "--log.level=error"])
        .arg(format!("--config.file={}", site.path("prometheus.yml").display()))
        .arg(format!("--storage.tsdb.path={}", site.path("data").display()))
        .stdin(Stdio::null());
    let prometheus = Running(spawn(&mut command));
    for _ in 0..3 {
        daemon.wait_for_next(|row| {
            row["name"] == "tallyd.scrapes"
                && row["tags"]["format"] == "openmetrics"
                && row["value"].as_f64() > Some(0.0)
        });
    }
    drop(prometheus);
    let finished = daemon.stop();
    let refused = finished.named("tallyd.http_requests").filter(|row| row["tags"]["code"] != "200");
    assert_eq!(refused.map(|row| row["value"].as_f64().unwrap()).sum::<f64>(), 0.0);
    assert_eq!(finished.sum("tallyd.http_connections_opened", "value"), 1.0, "it keeps its connection");
}
