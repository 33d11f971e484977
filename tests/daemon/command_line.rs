//! Tests the command line, the environment, and the format of the log.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use tallyd_harness::process::{Running, stderr, stdout, tallyd, tallyd_command};

#[test]
fn check_prints_the_settings_and_refuses_invalid_ones_with_exit_code_78() {
    let good = tallyd(&["check", "--set", "flush.interval=3s"]);
    assert_eq!(good.status.code(), Some(0));
    assert!(stdout(&good).contains("interval = \"3s\""), "{}", stdout(&good));

    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("bad.toml");
    fs::write(&path, "[flush]\n# a comment\ninterval = \"0s\"\n").unwrap();
    for command in ["check", "run"] {
        let bad = tallyd(&[command, "--config", path.to_str().unwrap()]);
        assert_eq!(bad.status.code(), Some(78));
        let expected = format!(
            "tallyd: {}:3: flush.interval: \"0s\" is not between \"100ms\" and \"1h\"\n",
            path.display()
        );
        assert_eq!(stderr(&bad), expected);
    }
}

#[test]
fn environment_variables_configure_sections_and_the_log() {
    let output = tallyd_command()
        .arg("check")
        .envs([("TALLYD_FLUSH__INTERVAL", "4s"), ("LOG_LEVEL", "WARN"), ("LOG_FILE_PATH", "/tmp/some.log")])
        .output()
        .unwrap();
    let shown = stdout(&output);
    for expected in ["interval = \"4s\"", "level = \"warn\"", "file_path = \"/tmp/some.log\""] {
        assert!(shown.contains(expected), "{shown}");
    }
}

#[test]
fn help_has_examples_and_version_matches_the_package() {
    let help = tallyd(&["--help"]);
    assert!(stdout(&help).contains("Examples:") && stdout(&help).contains("nc -u"));
    let version = tallyd(&["--version"]);
    assert_eq!(stdout(&version), concat!("tallyd ", env!("CARGO_PKG_VERSION"), "\n"));
}

#[test]
fn log_lines_in_json_format_are_json() {
    let settings = ["listeners.udp.bind=127.0.0.1:0", "logging.format=json", "shutdown.timeout=1s"];
    let mut command = tallyd_command();
    command.args(settings.iter().flat_map(|setting| ["--set", setting]));
    let mut tallyd = Running::start(command.stdout(Stdio::null()).stderr(Stdio::piped()));
    let mut line = String::new();
    BufReader::new(tallyd.0.stderr.take().unwrap()).read_line(&mut line).unwrap();
    let record: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(record["message"], "tallyd starts");
}
