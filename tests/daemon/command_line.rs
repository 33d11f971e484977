//! Tests the command line, the environment, and the format of the log.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use tallyd_harness::Daemon;
use tallyd_harness::process::{ROOT, Running, stderr, stdout, tallyd, tallyd_command, tallyd_path};

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
fn help_has_examples_and_version_names_the_package_the_commit_and_the_features() {
    let help = tallyd(&["--help"]);
    assert!(
        stdout(&help).starts_with("A StatsD and DogStatsD server that accounts for every sample\n"),
        "{help:?}"
    );
    assert!(stdout(&help).contains("Examples:") && stdout(&help).contains("nc -u"));
    let short = concat!("tallyd ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(stdout(&tallyd(&["-V"])), short);
    let version = tallyd(&["--version"]);
    let rest = stdout(&version).strip_prefix(short).unwrap();
    let (commit, features) = rest.split_once('\n').unwrap();
    assert!(commit.starts_with("commit: "), "{rest}");
    assert_eq!(features, "features: jemalloc\n");
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

#[test]
fn check_says_where_each_value_comes_from() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("a.toml");
    let endpoint = "[[exporters.graphite]]\nname = \"a\"\naddress = \"127.0.0.1:2003\"\n";
    fs::write(&file, format!("[flush]\ninterval = \"2s\"\npercentiles = [50]\n{endpoint}")).unwrap();
    let mut command = tallyd_command();
    command.args(["check", "-c", file.to_str().unwrap(), "--set", "flush.percentiles=[90]"]);
    let output = command.env("TALLYD_AGGREGATION__DIGITS", "3").output().unwrap();
    let text = stdout(&output);
    let file = file.display();
    for line in [
        format!("interval = \"2s\" # {file}:2"),
        "percentiles = [90.0] # --set flush.percentiles=[90]".to_owned(),
        "digits = 3 # environment variable TALLYD_AGGREGATION__DIGITS".to_owned(),
        format!("[[exporters.graphite]] # {file}:4"),
        // A default has no remark.
        "max_series = 1000000".to_owned(),
    ] {
        assert!(text.lines().any(|found| found == line), "{line} is not in {text}");
    }
    // The output is a configuration itself.
    let copy = directory.path().join("copy.toml");
    fs::write(&copy, text).unwrap();
    assert_eq!(tallyd(&["check", "--config", copy.to_str().unwrap()]).status.code(), Some(0));
}

#[test]
fn the_default_configuration_can_be_printed() {
    let printed = tallyd(&["config", "default"]);
    assert_eq!(stdout(&printed), fs::read_to_string(format!("{ROOT}/config.toml")).unwrap());
    let refused = tallyd(&["config", "default", "--set", "flush.interval=1s"]);
    assert_eq!(refused.status.code(), Some(2));
}

#[test]
fn shells_complete_commands_and_options() {
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = tallyd(&["completions", shell]);
        assert!(stdout(&script).contains("explain") && stdout(&script).contains("strict"), "{shell}");
    }
    let completed = |words: &str, index: usize| {
        let script = "source <(\"$0\" completions bash); COMP_WORDS=($1); COMP_CWORD=$2; _tallyd tallyd \"${COMP_WORDS[$2]}\" \"${COMP_WORDS[$2-1]}\"; echo \"${COMPREPLY[@]}\"";
        let mut bash = std::process::Command::new("bash");
        let output = bash.args(["-c", script, &tallyd_path(), words, &index.to_string()]).output().unwrap();
        stdout(&output).trim().to_owned()
    };
    assert_eq!(completed("tallyd expl", 1), "explain");
    assert_eq!(completed("tallyd check --str", 2), "--strict");
}

#[test]
fn there_is_a_manual_page_for_each_command() {
    let directory = tempfile::tempdir().unwrap();
    let written = tallyd(&["man", "--to", directory.path().to_str().unwrap()]);
    assert!(written.status.success(), "{}", stderr(&written));
    let read = |name: &str| fs::read_to_string(directory.path().join(name)).unwrap();
    assert!(read("tallyd-check.1").contains("--dry") || read("tallyd-check.1").contains("dry\\-run"));
    assert_eq!(read("tallyd.1"), stdout(&tallyd(&["man"])));
    let help = tallyd(&["--help"]);
    let commands = stdout(&help).split_once("Commands:\n").unwrap().1.split_once("\n\n").unwrap().0;
    let names = commands.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    for name in names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help") {
        assert!(directory.path().join(format!("tallyd-{name}.1")).exists(), "{name}");
    }
}

#[test]
fn lines_in_the_journal_have_a_priority_and_no_time() {
    // systemd sets the variable like this.
    let journal = ["sh", "-c", "JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec \"$@\"", "sh"];
    let finished = Daemon::start_in(&journal, &["relay=[{to=[\"tcp://127.0.0.1:1\"]}]"]).stop();
    assert!(finished.log.starts_with("<6> INFO tallyd starts"), "{}", finished.log);
    assert!(finished.log.contains("\n<4> WARN cannot relay"), "{}", finished.log);
    // Standard error is another file, so the lines are as usual.
    let other = ["env", "JOURNAL_STREAM=1:2"];
    let finished = Daemon::start_in(&other, &[]).stop();
    assert!(finished.log.starts_with("20"), "{}", finished.log);
}
