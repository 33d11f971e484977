//! Compares the pages about moving from other servers with the keys of tallyd and of Telegraf.

use std::collections::BTreeSet;

use tallyd_harness::process::{stderr, tallyd_command, without_variables};
use tallyd_harness::{Document, cells};

/// The keys in plugins/inputs/statsd/sample.conf of Telegraf 1.40.0 in development (commit b27263146617).
const TELEGRAF: [&str; 26] = [
    "allowed_pending_messages",
    "convert_names",
    "datadog_distributions",
    "datadog_extensions",
    "datadog_keep_container_tag",
    "delete_counters",
    "delete_gauges",
    "delete_sets",
    "delete_timings",
    "enable_aggregation_temporality",
    "float_counters",
    "float_sets",
    "float_timings",
    "max_tcp_connections",
    "max_ttl",
    "metric_separator",
    "number_workers_threads",
    "percentile_limit",
    "percentiles",
    "protocol",
    "read_buffer_size",
    "sanitize_name_method",
    "service_address",
    "tcp_keep_alive",
    "tcp_keep_alive_period",
    "templates",
];

/// Returns the rows of the table of keys: the keys of the other server, those of tallyd, and what differs.
fn rows(page: &str) -> Vec<[String; 3]> {
    let document = Document::read(&format!("docs/migrate/{page}.md"));
    let section = document.text.split("\n## ").find(|section| section.starts_with("Keys\n")).unwrap();
    let rows = section.lines().filter(|line| line.starts_with("| `"));
    rows.map(|row| cells(row).try_into().unwrap_or_else(|_| panic!("{row}"))).collect()
}

/// Returns the texts between backquotes.
fn code(cell: &str) -> impl Iterator<Item = &str> {
    cell.split('`').skip(1).step_by(2)
}

/// Adds all keys and sections of a configuration to `keys`, in dotted form. An entry of a list has the keys of the list.
fn flatten(value: &toml::Value, key: &str, keys: &mut BTreeSet<String>) {
    keys.insert(key.to_owned());
    match value {
        toml::Value::Table(table) => {
            for (name, value) in table {
                flatten(value, format!("{key}.{name}").trim_start_matches('.'), keys);
            }
        }
        toml::Value::Array(entries) => entries.iter().for_each(|entry| flatten(entry, key, keys)),
        _ => {}
    }
}

/// Runs `tallyd check` with these settings, and returns the configuration that it prints.
fn checked(settings: &[&str]) -> String {
    let mut tallyd = tallyd_command();
    without_variables(&mut tallyd).arg("check");
    settings.iter().for_each(|setting| _ = tallyd.args(["--set", setting]));
    let output = tallyd.output().unwrap();
    assert!(output.status.success(), "{settings:?}: {}", stderr(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Returns all keys of tallyd, also those of entries in lists.
fn keys_of_tallyd() -> BTreeSet<String> {
    let configuration = checked(&[
        "relay=[{ to = [\"udp://127.0.0.1:1\"] }]",
        "mapping.mappings=[{ match = \"a.*\", name = \"a\" }]",
        "exporters.graphite=[{ name = \"a\", address = \"127.0.0.1:1\" }]",
        "exporters.influxdb=[{ name = \"a\", url = \"http://127.0.0.1:1\" }]",
        "exporters.otlp=[{ name = \"a\", url = \"http://127.0.0.1:1\" }]",
    ]);
    let mut keys = BTreeSet::new();
    flatten(&toml::from_str(&configuration).unwrap(), "", &mut keys);
    keys
}

#[test]
fn keys_that_replace_those_of_another_server_exist_in_tallyd() {
    let keys = keys_of_tallyd();
    for page in ["statsd", "statsd_exporter", "datadog", "telegraf"] {
        for [other, own, differs] in rows(page) {
            for key in code(&own) {
                match key.split_once(" = ") {
                    Some((key, value)) => _ = checked(&[&format!("{key}={value}")]),
                    None => assert!(keys.contains(key), "{page}, {other}: {key}"),
                }
            }
            // A key without a counterpart has a reason.
            assert!(own.contains('`') != (own == "none"), "{page}, {other}: {own}");
            assert!(own != "none" || !differs.is_empty(), "{page}, {other}");
        }
    }
}

#[test]
fn telegraf_page_has_each_key_of_the_statsd_input_and_no_other() {
    let rows = rows("telegraf");
    let mut keys: Vec<_> = rows.iter().flat_map(|[key, ..]| code(key)).collect();
    keys.sort_unstable();
    assert_eq!(keys, TELEGRAF);
}
