//! Tests `tallyd statsd-exporter` with the cases of `statsd_exporter`'s own tests, and its flags.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Command, Stdio};

use serde_json::Value as Json;
use tallyd_harness::http::{free_address, get, request, try_get};
use tallyd_harness::process::{Running, stderr, stdout, tallyd_command};
use tallyd_harness::{Document, wait_for, wait_until};
use tempfile::TempDir;

/// A tallyd with the command line of `statsd_exporter`.
struct StatsdExporter {
    _running: Running,
    sender: UdpSocket,
    page: SocketAddr,
}

impl StatsdExporter {
    /// Starts tallyd with these flags, and with intervals that are shorter than the default.
    fn start(flags: &[&str]) -> Self {
        let (udp, page) = (free_address(), free_address());
        let mut command = tallyd_command();
        command.arg("statsd-exporter").args(flags).args(["--set", "flush.interval=100ms"]);
        command.arg(format!("--statsd.listen-udp={udp}")).arg(format!("--web.listen-address={page}"));
        command.args(["--statsd.listen-tcp=", "--set", "telemetry.enabled=false"]);
        let running = Running::start(command.stdin(Stdio::null()).stderr(Stdio::null()));
        wait_until(|| try_get(page, "/-/ready").is_some_and(|response| response.code == 200));
        let sender = UdpSocket::bind("127.0.0.1:0").unwrap();
        sender.connect(udp).unwrap();
        Self { _running: running, sender, page }
    }

    fn send(&self, line: &str) {
        self.sender.send(line.as_bytes()).unwrap();
    }

    fn page(&self) -> String {
        get(self.page, "/metrics").text().to_owned()
    }

    /// Sends a line, and returns the page as soon as it has this text.
    fn page_with(&self, text: &str, line: &str) -> String {
        self.send(line);
        wait_for(|| Some(self.page()).filter(|page| page.contains(text)))
    }
}

/// Returns the name and the type of each family.
fn families(page: &str) -> BTreeMap<String, String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

/// Returns the name of the only family of a line, and the labels and the value of its first sample.
fn only(line: &str) -> (String, String, String) {
    let page = StatsdExporter::start(&[]).page_with("# TYPE", line);
    let families = families(&page);
    let [name] = families.keys().collect::<Vec<_>>()[..] else { panic!("{line}: {families:?}") };
    let sample = page.lines().find(|line| !line.starts_with('#')).unwrap();
    let (series, value) = sample.rsplit_once(' ').unwrap();
    let labels = series.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
    (name.clone(), labels.to_owned(), value.to_owned())
}

/// Returns the line of an event, whose type is in the words of `statsd_exporter`.
fn line_of(event: &Json) -> String {
    let wire_type = match event["type"].as_str().unwrap() {
        "counter" => "c",
        "gauge" => "g",
        "observer" => "ms",
        other => panic!("{other}"),
    };
    let labels = event["labels"].as_object().unwrap().iter();
    let tags: Vec<_> = labels.map(|(key, value)| format!("{key}:{}", value.as_str().unwrap())).collect();
    format!("{}:{}|{wire_type}|#{}", event["name"].as_str().unwrap(), event["value"], tags.join(","))
}

#[test]
fn page_equals_that_of_statsd_exporter_for_the_same_lines() {
    let mut checked = 0;
    for row in include_str!("../data/exposition.jsonl").lines() {
        let row: Json = serde_json::from_str(row).unwrap();
        let (id, given, expect) = (row["id"].as_str().unwrap(), &row["given"], &row["expect"]);
        checked += 1;
        let (got, expected) = match row["topic"].as_str().unwrap() {
            "metric_name_escape" => {
                let (name, _, _) = only(&format!("{}:1|g", given.as_str().unwrap()));
                (name, expect.as_str().unwrap().to_owned())
            }
            "label_name_escape" | "label_values" => {
                let (_, labels, _) = only(given["line"].as_str().unwrap());
                let expected = expect["labels"].as_object().unwrap().iter();
                let expected: Vec<_> = expected.map(|(label, value)| format!("{label}={value}")).collect();
                (labels, expected.join(","))
            }
            "unit" => {
                let (_, _, value) = only(given["line"].as_str().unwrap());
                (value, expect["observation"].to_string())
            }
            "type_conflict" => {
                let rules = TempDir::new().unwrap();
                let file = rules.path().join("mapping.yml");
                fs::write(&file, given["mapping_yaml"].as_str().unwrap()).unwrap();
                let tallyd = StatsdExporter::start(&[&format!("--statsd.mapping-config={}", file.display())]);
                let events = given["events_in_order"].as_array().unwrap();
                // The first of two conflicting families is that of an earlier interval.
                let mut page = String::new();
                for (event, number) in events.iter().zip(1..) {
                    page = tallyd
                        .page_with(&format!("\nlast {number}\n"), &format!("{}\nlast:1|c", line_of(event)));
                }
                let mut registered = families(&page);
                assert_eq!(registered.remove("last").as_deref(), Some("counter"), "{page}");
                let registered = serde_json::to_value(registered).unwrap();
                (registered.to_string(), expect["registered"].to_string())
            }
            other => panic!("{other}"),
        };
        assert_eq!(got, expected, "{id}");
    }
    assert_eq!(checked, CHECKED);
}

/// The expected number of rows, so that none can get lost.
const CHECKED: usize = 34;

/// Returns the configuration into which tallyd translates flags, and the warnings.
fn translated(flags: &[&str]) -> (toml::Table, String) {
    let output = tallyd_command().args(["statsd-exporter", "--check-config"]).args(flags).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    (toml::from_str(stdout(&output)).unwrap(), stderr(&output).to_owned())
}

/// Returns the value of a dotted key as TOML.
fn value(table: &toml::Table, key: &str) -> String {
    let mut value = &toml::Value::Table(table.clone());
    for part in key.split('.') {
        value = &value[part];
    }
    value.to_string()
}

/// The flags of statsd_exporter 0.29, without those that every program of Prometheus has.
const FLAGS: [&str; 24] = [
    "check-config",
    "debug.dump-fsm",
    "log.format",
    "log.level",
    "statsd.cache-size",
    "statsd.cache-type",
    "statsd.event-flush-interval",
    "statsd.event-flush-threshold",
    "statsd.event-queue-size",
    "statsd.listen-tcp",
    "statsd.listen-udp",
    "statsd.listen-unixgram",
    "statsd.mapping-config",
    "statsd.parse-dogstatsd-tags",
    "statsd.parse-influxdb-tags",
    "statsd.parse-librato-tags",
    "statsd.parse-signalfx-tags",
    "statsd.read-buffer",
    "statsd.relay.address",
    "statsd.relay.packet-length",
    "statsd.udp-packet-queue-size",
    "statsd.unixsocket-mode",
    "web.enable-lifecycle",
    "web.listen-address",
];

#[test]
fn each_flag_is_in_the_table_and_has_the_effect_that_the_table_names() {
    let page = Document::read("docs/migrate/statsd_exporter.md");
    let rows = page.table("| statsd_exporter | tallyd | what differs |");
    let listed: Vec<_> = rows.iter().map(|row| row[0].trim_matches('`').split('=').next().unwrap()).collect();
    let mut names: Vec<_> =
        listed.iter().map(|flag| flag.trim_start_matches("--").trim_start_matches("no-")).collect();
    names.sort_unstable();
    let mut expected = FLAGS.to_vec();
    expected.push("web.telemetry-path");
    expected.sort_unstable();
    assert_eq!(names, expected);
    let (defaults, _) = translated(&[]);
    for row in &rows {
        let flag = row[0].trim_matches('`');
        if flag == "--check-config" {
            continue;
        }
        let socket = ["--statsd.listen-unixgram=/tmp/x.sock"];
        let needs_socket = flag.starts_with("--statsd.unixsocket");
        let (changed, warnings) = translated(&[&[flag][..], &socket[..usize::from(needs_socket)]].concat());
        match row[1].split('`').nth(1) {
            Some(key) => {
                assert_ne!(value(&changed, key), value(&defaults, key), "{flag}: {key}");
            }
            None => assert!(warnings.contains(flag.split('=').next().unwrap()), "{flag}: {warnings}"),
        }
    }
}

#[test]
fn flags_have_the_forms_and_defaults_of_statsd_exporter() {
    let (config, warnings) = translated(&[]);
    assert_eq!(warnings, "");
    let all = value(&config, "listeners.udp.bind").replace(":9125", "");
    assert!(["\"[::]\"", "\"0.0.0.0\""].contains(&&*all), "{all}");
    for (key, expected) in [
        ("exporters.prometheus.port", "9102"),
        ("exporters.prometheus.naming", "\"statsd_exporter\""),
        ("exporters.prometheus.percentile_window", "\"10m\""),
        ("exporters.console.enabled", "false"),
        ("listeners.tcp.enabled", "true"),
        ("flush.percentiles", "[50.0, 90.0, 99.0]"),
        ("aggregation.expire_after.gauge", "\"never\""),
    ] {
        assert_eq!(value(&config, key), expected, "{key}");
    }
    let (config, _) = translated(&[
        "--statsd.listen-udp",
        "127.0.0.1:1",
        "--statsd.listen-tcp=",
        "--statsd.listen-unixgram=/run/statsd.sock",
        "--statsd.read-buffer=1048576",
        "--web.listen-address=localhost:2",
        "--no-statsd.parse-librato-tags",
        "--statsd.parse-influxdb-tags",
        "--statsd.relay.address=127.0.0.1:3",
        "--log.level=DEBUG",
        "--log.format=json",
        "--set",
        "flush.interval=5s",
    ]);
    for (key, expected) in [
        ("listeners.udp.bind", "\"127.0.0.1:1\""),
        ("listeners.udp.receive_buffer", "\"1MiB\""),
        ("listeners.tcp.enabled", "false"),
        ("listeners.unix_datagram.path", "\"/run/statsd.sock\""),
        ("listeners.unix_datagram.mode", "\"0755\""),
        ("exporters.prometheus.address", "\"127.0.0.1\""),
        ("exporters.prometheus.port", "2"),
        ("protocol.dialects.librato", "false"),
        ("protocol.dialects.influxdb", "true"),
        ("logging.level", "\"debug\""),
        ("logging.format", "\"json\""),
        ("flush.interval", "\"5s\""),
    ] {
        assert_eq!(value(&config, key), expected, "{key}");
    }
    assert_eq!(config["relay"][0]["to"].to_string(), "[\"udp://127.0.0.1:3\"]");
}

#[test]
fn tallyd_named_statsd_exporter_takes_its_arguments() {
    let directory = TempDir::new().unwrap();
    let program = directory.path().join("statsd_exporter");
    std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_tallyd"), &program).unwrap();
    let output = Command::new(program).args(["--check-config", "--statsd.listen-tcp="]).output().unwrap();
    let config: toml::Table = toml::from_str(stdout(&output)).unwrap();
    assert_eq!(value(&config, "listeners.tcp.enabled"), "false", "{output:?}");
}

#[test]
fn flags_and_their_defaults_override_variables_and_set_overrides_all() {
    let mut tallyd = tallyd_command();
    tallyd.args(["statsd-exporter", "--check-config", "--set", "flush.interval=3s"]);
    // The image for containers sets the first one.
    tallyd.env("TALLYD_LISTENERS__UDP__BIND", "0.0.0.0:8125").env("TALLYD_STATE__PATH", "/tmp/state");
    let output = tallyd.env("TALLYD_FLUSH__INTERVAL", "2s").output().unwrap();
    let config: toml::Table = toml::from_str(stdout(&output)).unwrap();
    assert!(value(&config, "listeners.udp.bind").ends_with(":9125\""), "{output:?}");
    assert_eq!(value(&config, "flush.interval"), "\"3s\"");
    assert_eq!(value(&config, "state.path"), "\"/tmp/state\"");
}

#[test]
fn two_other_servers_at_once_are_refused() {
    let output = tallyd_command().args(["statsd-exporter", "--datadog", "/dev/null"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    assert!(stderr(&output).contains("do not go together"), "{output:?}");
}

#[test]
fn wrong_flags_are_refused_with_their_name() {
    for (flag, words) in [
        ("--statsd.listen-udp=9125", "--statsd.listen-udp: \"9125\" is not an address"),
        (
            "--web.telemetry-path=metrics",
            "--web.telemetry-path: exporters.prometheus.path: must begin with \"/\"",
        ),
        ("--statsd.mapping-config=/none.yml", "/none.yml"),
        ("--log.level=loud", "--log.level: logging.level"),
    ] {
        let output = tallyd_command().args(["statsd-exporter", flag]).output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{output:?}");
        assert!(stderr(&output).contains(words), "{output:?}");
    }
}

#[test]
fn lifecycle_flag_lets_clients_reload_the_mapping() {
    let rules = TempDir::new().unwrap();
    let file = rules.path().join("mapping.yml");
    fs::write(&file, "mappings: [{match: a.*, name: first}]").unwrap();
    let file_flag = format!("--statsd.mapping-config={}", file.display());
    let tallyd =
        StatsdExporter::start(&[&file_flag, "--web.enable-lifecycle", "--web.telemetry-path=/other"]);
    // New rules take effect with the next interval.
    let has = |name: &str| {
        wait_until(|| {
            tallyd.send("a.b:1|c");
            get(tallyd.page, "/other").text().contains(name)
        });
    };
    has("first");
    assert_eq!(get(tallyd.page, "/metrics").code, 404);
    fs::write(&file, "mappings: [{match: a.*, name: second}]").unwrap();
    assert_eq!(request(tallyd.page, "POST", "/-/reload", &[]).code, 200);
    has("second");
}
