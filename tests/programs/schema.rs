//! Tests that a validator of JSON schemas accepts what tallyd accepts, and refuses what tallyd refuses.

use std::fs;
use std::process::Stdio;

use tallyd_harness::process::{ROOT, stdout, tallyd};

use crate::shop::CLIENTS;

/// Returns whether the validator accepts a configuration, and its remark.
fn validate(schema: &std::path::Path, configuration: &str) -> (bool, String) {
    let mut command = std::process::Command::new(format!("{CLIENTS}/.venv/bin/python"));
    command.arg(format!("{CLIENTS}/check_schema.py")).arg(schema);
    let mut child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    std::io::Write::write_all(&mut child.stdin.take().unwrap(), configuration.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.success(), String::from_utf8(output.stderr).unwrap())
}

#[test]
#[ignore = "needs fastjsonschema; run make test"]
fn the_schema_accepts_and_refuses_what_tallyd_does() {
    let directory = tempfile::tempdir().unwrap();
    let schema = directory.path().join("schema.json");
    fs::write(&schema, stdout(&tallyd(&["config", "schema"]))).unwrap();
    let shipped = fs::read_to_string(format!("{ROOT}/config.toml")).unwrap();
    let examples = "[listeners.udp]\nbind = [\"127.0.0.1:8125\", \"[::1]:8125\"]\n[[relay]]\nto = [\"udp://127.0.0.1:9125\"]\n\
        [[mapping.mappings]]\nmatch = \"a.*\"\nname = \"a\"\nlabels = { b = \"$1\" }\nttl = \"1m\"\n\
        [[exporters.otlp]]\nname = \"c\"\nurl = \"http://127.0.0.1:4318\"\nheaders = { A = \"b\" }\n";
    for configuration in ["", &*shipped, examples] {
        assert_eq!(validate(&schema, configuration), (true, String::new()));
        assert!(is_accepted(directory.path(), configuration));
    }
    for (configuration, remark) in [
        ("[flush]\ninterval = 3", "flush.interval must be string"),
        ("[flush]\nintervall = \"3s\"", "intervall"),
        ("[logging]\nlevel = \"loud\"", "must be one of ['error', 'warn', 'info', 'debug', 'trace']"),
        ("[[exporters.otlp]]\nname = \"c\"\nurl = \"http://h\"\ntemporality = \"x\"", "otlp[0].temporality"),
        ("[[mapping.mappings]]\nmatch = \"a\"\nnames = \"b\"", "names"),
    ] {
        let (is_valid, words) = validate(&schema, configuration);
        assert!(!is_valid && words.contains(remark), "{configuration}: {words}");
        assert!(!is_accepted(directory.path(), configuration), "{configuration}");
    }
}

/// Returns whether tallyd accepts a configuration.
fn is_accepted(directory: &std::path::Path, configuration: &str) -> bool {
    let file = directory.join("tallyd.toml");
    fs::write(&file, configuration).unwrap();
    tallyd(&["check", "--config", file.to_str().unwrap()]).status.success()
}
