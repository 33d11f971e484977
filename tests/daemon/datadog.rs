//! Tests `--datadog`: the settings of DogStatsD in a `datadog.yaml`.

use std::fs;

use tallyd_harness::process::{stderr, stdout, tallyd_command};
use tallyd_harness::{Document, cells};
use tempfile::TempDir;

/// Runs a command of tallyd with a `datadog.yaml`. Returns the exit code, the output and the errors.
fn tallyd(yaml: &str, arguments: &[&str]) -> (Option<i32>, String, String) {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("datadog.yaml");
    fs::write(&file, yaml).unwrap();
    let output = tallyd_command().arg("--datadog").arg(&file).args(arguments).output().unwrap();
    let without_path = |text: &str| text.replace(&format!("{}/", directory.path().display()), "");
    (output.status.code(), without_path(stdout(&output)), without_path(stderr(&output)))
}

/// Returns the rows of `tallyd explain` that begin with a field.
fn explained(yaml: &str, line: &str, field: &str) -> Vec<String> {
    let (code, text, errors) = tallyd(yaml, &["explain", line]);
    assert_eq!(code, Some(0), "{errors}");
    let rows = text.lines().filter_map(|row| row.strip_prefix(&format!("  {field} ")));
    rows.map(|row| row.trim().to_owned()).collect()
}

fn series(yaml: &str, line: &str) -> String {
    let series = explained(yaml, line, "series");
    if series.is_empty() { explained(yaml, line, "refused").join(" ") } else { series.join(" ") }
}

const AGENT: &str = r#"
api_key: secret
logs_enabled: true
dogstatsd_port: 8135
dogstatsd_non_local_traffic: true
dogstatsd_socket: /tmp/dsd.socket
dogstatsd_tags:
  - team:web
  - env:prod
dogstatsd_buffer_size: 16384
statsd_metric_namespace: shop
statsd_metric_blocklist: [shop.noise, shop.job.dropped]
metric_tag_filterlist:
  - metric_name: shop.hits
    action: exclude
    tags: [pod, user]
  - metric_name: shop.job.duration
    action: include
    tags: [job_type]
histogram_percentiles: ["0.95", 0.99]
histogram_aggregates: [max, median]
dogstatsd_expiry_seconds: 300
dogstatsd_capture_depth: 5
dogstatsd_new_key: 1
statsd_forward_host: 127.0.0.1
statsd_forward_port: 9125
log_level: WARN
dogstatsd_mapper_profiles:
  - name: jobs
    prefix: "job."
    mappings:
      - match: "job.duration.*.*"
        name: "job.duration"
        tags: {job_type: "$1", job_name: "$2"}
      - match: "job\\.(lost|dropped)"
        match_type: regex
        name: "job.$1"
      - match: "job.gone.*"
        name: "job.dropped"
"#;

#[test]
fn settings_of_the_agent_become_those_of_tallyd() {
    let (code, config, warnings) = tallyd(AGENT, &["check"]);
    assert_eq!(code, Some(0), "{warnings}");
    for line in [
        "path = \"/tmp/dsd.socket\" # datadog.yaml: dogstatsd_socket",
        "prefix = \"shop.\" # datadog.yaml: statsd_metric_namespace",
        "tags = [\"team:web\", \"env:prod\"] # datadog.yaml: dogstatsd_tags",
        "percentiles = [50.0, 95.0, 99.0] # datadog.yaml: histogram_percentiles",
        "level = \"warn\" # datadog.yaml: log_level",
        "counters = \"zero\" # datadog.yaml: dogstatsd_expiry_seconds",
        "signed = \"absolute\" # the default of the Datadog agent",
        "librato = false # the default of the Datadog agent",
    ] {
        assert!(config.contains(&format!("\n{line}\n")), "{line}\n{config}");
    }
    assert!(config.contains("to = [\"udp://127.0.0.1:9125\"]"), "{config}");
    let all = ["[::]", "0.0.0.0"]
        .map(|all| format!("\nbind = \"{all}:8135\" # datadog.yaml: dogstatsd_non_local_traffic\n"));
    assert!(all.iter().any(|all| config.contains(all)), "{config}");
    let warnings: Vec<_> = warnings.lines().collect();
    assert_eq!(
        warnings,
        [
            "tallyd: warning: datadog.yaml: dogstatsd_capture_depth: no effect: tallyd captures no traffic; a [[relay]] sends it on",
            "tallyd: warning: datadog.yaml: dogstatsd_new_key: no effect: tallyd does not know it",
        ]
    );
}

#[test]
fn names_and_tags_are_those_of_the_agent() {
    let with = "env:prod,team:web";
    for (line, expected) in [
        ("hits:1|c|#pod:a,zone:b", format!("shop.hits|c|#{with},zone:b")),
        ("hits:1|d|#user:a", format!("shop.hits|d|#{with}")),
        ("hits:1|g|#pod:a", "shop.hits|g|#env:prod,pod:a,team:web".to_owned()),
        ("kafka.lag:1|g|#env:test", "kafka.lag|g|#env:test,team:web".to_owned()),
        (
            "job.duration.etl.daily:1|ms|#pod:a",
            "shop.job.duration|ms|#env:prod,job_type:etl,team:web".to_owned(),
        ),
        ("job.lost:1|c", format!("shop.job.lost|c|#{with}")),
        (
            "job.duration.etl.daily:1|g|#pod:a",
            "shop.job.duration|g|#env:prod,job_name:daily,job_type:etl,pod:a,team:web".to_owned(),
        ),
        ("other.job.duration:1|c", format!("shop.other.job.duration|c|#{with}")),
        ("jobs#1:1|c", format!("shop.jobs#1|c|#{with}")),
    ] {
        assert_eq!(series(AGENT, line), expected, "{line}");
    }
    for line in ["noise:1|c", "job.gone.x:1|c"] {
        assert!(series(AGENT, line).starts_with("mapping_drop"), "{line}: {}", series(AGENT, line));
    }
}

#[test]
fn filtered_names_get_their_namespace_as_in_the_agent() {
    let filtered = |prefix: bool, name: &str, line: &str| {
        let yaml = format!(
            "statsd_metric_namespace: shop\nstatsd_metric_blocklist: [{name}]\nstatsd_metric_blocklist_match_prefix: {prefix}\n"
        );
        series(&yaml, line).starts_with("mapping_drop")
    };
    for (prefix, name, line, is_dropped) in [
        (false, "shop.a", "a:1|c", true),
        (false, "a", "a:1|c", false),
        (false, "shop.a", "a.b:1|c", false),
        (true, "shop.a", "a.b:1|c", true),
        (true, "sho", "a:1|c", true),
        (false, "kafka.x", "kafka.x:1|c", true),
        (false, "shop.kafka.x", "kafka.x:1|c", false),
        (false, "shop.9-a", "9-a:1|c", true),
    ] {
        assert_eq!(filtered(prefix, name, line), is_dropped, "{prefix} {name} {line}");
    }
}

#[test]
fn lists_of_names_without_effect_are_named() {
    let yaml = "statsd_metric_namespace: acme\nstatsd_metric_blocklist: [noise]\nmetric_filterlist: [old.metric, acme.older]\n";
    let (code, config, warnings) = tallyd(yaml, &["check"]);
    assert_eq!(code, Some(0), "{warnings}");
    let warnings: Vec<_> = warnings.lines().collect();
    assert_eq!(
        warnings,
        [
            "tallyd: warning: datadog.yaml: statsd_metric_blocklist: no effect: metric_filterlist replaces it",
            "tallyd: warning: datadog.yaml: metric_filterlist: no effect for old.metric: with statsd_metric_namespace, no sample gets such a name",
        ]
    );
    assert!(config.contains("# datadog.yaml: metric_filterlist\n"), "{config}");
    let (_, config, _) = tallyd("statsd_metric_namespace: a\nmetric_filterlist: [b]\n", &["check"]);
    assert!(!config.contains("# datadog.yaml: metric_filterlist"), "{config}");
}

#[test]
fn parts_of_the_file_that_tallyd_does_not_read_can_be_anything() {
    let yaml = "other: {x: [1, ~], ~: b}\n\"dogstatsd_mapper_profiles\" : [{name: a, prefix: a., mappings: [{match: a.*, name: b}]}]\n";
    assert_eq!(series(yaml, "a.c:1|c"), "b|c");
    let (code, _, warnings) = tallyd("histogram_percentiles: [0.95, abc]\n", &["check"]);
    assert_eq!(code, Some(0));
    assert!(warnings.contains("\"abc\" is not a quantile"), "{warnings}");
}

#[test]
fn a_wrong_file_is_refused_with_its_line() {
    for (yaml, words) in [
        ("metric_tag_filterlist: [{metric_nam: a}]\n", "datadog.yaml:1: "),
        ("dogstatsd_port: many\n", "datadog.yaml:1: "),
        (
            "a: 1\ndogstatsd_mapper_profiles:\n  - prefix: a\n    mappings: []\n",
            "datadog.yaml:3: rule 1 (\"\"): the profile has no name",
        ),
        ("a: [\n", "datadog.yaml:"),
    ] {
        let (code, _, errors) = tallyd(yaml, &["check"]);
        assert_eq!(code, Some(78), "{yaml}: {errors}");
        assert!(errors.contains(words), "{errors}");
    }
}

#[test]
fn tallyds_own_sources_override_the_file() {
    let (_, config, _) =
        tallyd("dogstatsd_port: 8135\n", &["--set", "listeners.udp.bind=127.0.0.1:1", "check"]);
    assert!(config.contains("bind = \"127.0.0.1:1\" # --set listeners.udp.bind=127.0.0.1:1\n"), "{config}");
}

#[test]
fn each_key_of_the_page_is_read_or_named() {
    let page = Document::read("docs/migrate/datadog.md");
    let rows: Vec<_> = page.text.lines().filter(|line| line.starts_with("| `")).map(cells).collect();
    let mut checked = 0;
    for row in rows
        .iter()
        .filter(|row| row.len() == 3 && row[0].contains("statsd_") || row[0].contains("histogram_"))
    {
        let key = row[0].trim_matches(['`', '{']).split(':').next().unwrap();
        let example = row[0].trim_matches('`');
        let yaml = if example.contains(':') { example.to_owned() } else { format!("{example}: 1") };
        let (code, config, warnings) = tallyd(&yaml, &["check"]);
        assert_eq!(code, Some(0), "{yaml}: {warnings}");
        checked += 1;
        if row[1] == "none" {
            assert!(warnings.contains(&format!("{key}: no effect")), "{key}: {warnings}");
        } else {
            assert!(config.contains(&format!("# datadog.yaml: {key}")), "{key}: {config}");
            assert!(!warnings.contains(key), "{warnings}");
        }
    }
    assert!(checked > 25, "{checked}");
}
