//! Tests that tallyd notices what people get wrong: `check` warns, `check --strict` fails, and the daemon logs it.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use tallyd_harness::process::{Running, stderr, stdout, tallyd, tallyd_command};

/// Each row has settings, and the warning about them.
#[test]
fn check_warns_of_settings_that_are_probably_mistakes() {
    #[rustfmt::skip]
    let cases: [(&[&str], &str); 10] = [
        (&["exporters.prometheus.buckets=[5, 10, 100, 1000]"], "exporters.prometheus.buckets: buckets look like milliseconds, but those of timings are in seconds; for 1000 ms write 1"),
        (&["flush.percentiles=[0.5, 99]"], "flush.percentiles: 0.5 means that 0.5 % of the values are lower; for the quantile 0.5 write 50"),
        (&["exporters.textfile.enabled=true", "exporters.textfile.path=/nonexistent/a.prom"], "exporters.textfile.path: the directory /nonexistent does not exist; create it"),
        (&["exporters.console.path=/nonexistent/out"], "exporters.console.path: the directory /nonexistent does not exist; create it"),
        (&["exporters.console.path=/tmp"], "exporters.console.path: /tmp is a directory; give the path of a file"),
        (&["logging.output=[\"file\"]", "logging.file_path=/nonexistent/log"], "logging.file_path: the directory /nonexistent does not exist; create it"),
        (&["listeners.unix_stream.enabled=true", "listeners.unix_stream.path=/nonexistent/s"], "listeners.unix_stream.path: the directory /nonexistent does not exist; create it"),
        (&["exporters.prometheus.port=9200"], "exporters.prometheus.port: has no effect, because exporters.prometheus.start_http_server is not set; set it to true"),
        (&["exporters.prometheus.start_http_server=true", "exporters.prometheus.address=0.0.0.0", "exporters.prometheus.enable_reload=true"], "exporters.prometheus.enable_reload: everyone who can connect to \"0.0.0.0\" can reload tallyd; set web_config_file to a file with users, or permitted_networks"),
        (&["mapping.mappings=[{ match = \"a.*.*.*\", name = \"a_$9\" }]"], "mapping.mappings: rule 1 (\"a.*.*.*\"): $9 is always empty, because match has only 3 \"*\""),
    ];
    for (settings, expected) in cases {
        let arguments: Vec<_> = settings.iter().flat_map(|setting| ["--set", setting]).collect();
        let output = tallyd(&[&["check"], &*arguments].concat());
        assert_eq!(output.status.code(), Some(0), "{settings:?}");
        assert!(stdout(&output).contains("[flush]"), "{settings:?}");
        let said = stderr(&output);
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.starts_with("tallyd: warning: --set ") && said.trim_end().ends_with(expected), "{said}");
        let strict = tallyd(&[&["check", "--strict"], &*arguments].concat());
        assert_eq!((strict.status.code(), stderr(&strict)), (Some(1), said));
    }
    let clean = tallyd(&["check", "--strict", "--set", "exporters.prometheus.start_http_server=true"]);
    assert_eq!((clean.status.code(), stderr(&clean)), (Some(0), ""));
    // Only clients of permitted networks can reload tallyd.
    for [key, value] in [["address", "::1"], ["permitted_networks", "[\"10.0.0.0/8\"]"]] {
        let reload =
            ["start_http_server=true", "enable_reload=true", "address=::", &format!("{key}={value}")];
        let reload = reload.map(|setting| format!("exporters.prometheus.{setting}"));
        let reload: Vec<_> = reload.iter().flat_map(|setting| ["--set", setting]).collect();
        assert_eq!(stderr(&tallyd(&[&["check"], &reload[..]].concat())), "");
    }
    // A section that was turned off on purpose may keep its keys.
    let off = ["--set", "listeners.tcp.enabled=false", "--set", "listeners.tcp.max_connections=5"];
    assert_eq!(stderr(&tallyd(&[&["check"], &off[..]].concat())), "");
}

#[test]
fn former_spellings_in_a_mapping_file_get_a_warning_with_their_line() {
    let directory = tempfile::tempdir().unwrap();
    let rules = directory.path().join("rules.yml");
    fs::write(&rules, "mappings:\n- match: a.*\n  name: a\n  timer_type: histogram\n  buckets: [0.1, 1]\n")
        .unwrap();
    let file = format!("mapping.mapping_file={}", rules.display());
    let warning = format!(
        "{}:2: rule 1 (\"a.*\"): buckets is a former spelling; write histogram_options: {{buckets: [0.1, 1]}}",
        rules.display()
    );
    let output = tallyd(&["check", "--set", &file]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(stderr(&output), format!("tallyd: warning: {warning}\n"));

    let config = directory.path().join("tallyd.toml");
    fs::write(&config, format!("[mapping]\nmapping_file = \"{}\"\n", rules.display())).unwrap();
    let mut command = tallyd_command();
    command.args(["--config", config.to_str().unwrap(), "--set", "listeners.udp.bind=127.0.0.1:0"]);
    let mut tallyd = Running::start(command.stdout(Stdio::null()).stderr(Stdio::piped()));
    let mut log = BufReader::new(tallyd.0.stderr.take().unwrap()).lines().map(Result::unwrap);
    let first = log.next().unwrap();
    let expected =
        format!("tallyd starts version=\"{}\" config=\"{}\"", env!("CARGO_PKG_VERSION"), config.display());
    assert!(first.ends_with(&expected), "{first}");
    let second = log.next().unwrap();
    assert!(second.contains("WARN") && second.ends_with(&warning), "{second}");
}

#[test]
fn foreign_variables_that_are_not_utf8_are_ignored() {
    for variable in
        ["FOO=$'a\\xff'", "$'FO\\xff=a'", "NO_COLOR=$'\\xff'", "LOG_LEVEL=", "TALLYD_FLUSH__INTERVAL="]
    {
        let mut bash = std::process::Command::new("bash");
        let script = format!("env {variable} {} check", tallyd_harness::process::tallyd_path());
        let output = bash.args(["-c", &script]).output().unwrap();
        assert_eq!((output.status.code(), stderr(&output)), (Some(0), ""), "{variable}");
    }
}

#[test]
fn variable_with_one_underscore_too_few_is_refused_with_its_right_name() {
    let output = tallyd_command().arg("check").env("TALLYD_FLUSH_INTERVAL", "1s").output().unwrap();
    assert_eq!(output.status.code(), Some(78));
    let expected =
        "tallyd: environment variable TALLYD_FLUSH_INTERVAL: unknown; did you mean TALLYD_FLUSH__INTERVAL?\n";
    assert_eq!(stderr(&output), expected);
}

#[test]
fn explain_and_dry_run_name_the_lines_that_go_wrong_and_exit_with_2() {
    let directory = tempfile::tempdir().unwrap();
    let lines = directory.path().join("lines");
    fs::write(&lines, "a:1|c\n\nb:x|c\r\nc:1|c\nd\n").unwrap();
    let lines = lines.to_str().unwrap();
    let report = tallyd(&["check", "--dry-run", lines]);
    assert_eq!(report.status.code(), Some(2));
    let expected = "      line  rejected\n         3  bad_value at column 3: b:x|c\n         5  missing_type at column 2: d\n";
    assert!(stdout(&report).contains(expected), "{}", stdout(&report));
    fs::write(lines, "a:1|c\n").unwrap();
    assert_eq!(tallyd(&["check", "--dry-run", lines]).status.code(), Some(0));

    fs::write(lines, "a:-3|c\na:1|c\nb:-3:4|c\n").unwrap();
    let report = tallyd(&["check", "--dry-run", lines]);
    let expected = "\nkept off the Prometheus page\n   negative_increase  a|c\n";
    assert!(stdout(&report).ends_with(expected), "{}", stdout(&report));

    let text = tallyd(&["explain", "a:1|c", "b:x|c"]);
    assert_eq!(text.status.code(), Some(2));
    assert!(stdout(&text).contains("rejected        bad_value at line 2, column 3"), "{}", stdout(&text));
    let json = tallyd(&["explain", "--format", "json", "a:1|c", "b:x|c"]);
    assert!(stdout(&json).ends_with("\"column\":3,\"line\":2}\n"), "{}", stdout(&json));
    assert_eq!(tallyd(&["explain", "a:1|c"]).status.code(), Some(0));
}

#[test]
fn shaping_that_would_harm_series_is_refused() {
    for (setting, words) in [
        ("shaping.prefix=tallyd.", "tallyd's own"),
        ("shaping.prefix_except=[\"\"]", "has an empty text"),
        ("shaping.rename_tags={ \"a*\" = \"b\" }", "\"a*\" is not the key of a tag"),
        ("shaping.map_values={ a = { b = \"x\\ny\" } }", "control character"),
        ("shaping.tags=[\"x:${TWO_LINES}\"]", "control character"),
        ("shaping.tags=[\"${TWO_LINES}\"]", "has a variable in its key"),
        ("shaping.tags=[\"x:${MISSING}\"]", "there is no environment variable \"MISSING\""),
        ("shaping.tags=[\"x:${HOSTNAME\"]", "has no \"}\" after"),
    ] {
        let output =
            tallyd_command().args(["check", "--set", setting]).env("TWO_LINES", "a\nb").output().unwrap();
        assert_eq!(output.status.code(), Some(78), "{setting}: {output:?}");
        assert!(stderr(&output).contains(words), "{setting}: {output:?}");
    }
}
