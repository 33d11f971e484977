//! Runs the commands and checks the configurations on the pages.

use std::path::Path;
use std::process::Command;

use tallyd_harness::Document;
use tallyd_harness::process::{path_with_tallyd, stderr, tallyd_command, without_variables};
use tempfile::TempDir;

fn pages() -> Vec<Document> {
    let mut pages: Vec<_> = ["docs", "docs/migrate"].into_iter().flat_map(Document::read_directory).collect();
    pages.insert(0, Document::read("README.md"));
    pages
}

/// The arguments of the commands that the tests do not run. The first command runs until it is stopped, and the second
/// needs a free port 8125.
const NOT_RUN: [&str; 2] =
    ["--set 'flush.percentiles=[50, 99]' --set telemetry.enabled=false 2>tallyd.log &", "send a 1"];

/// Runs each `$ tallyd` command in a text block, and compares its output with the lines after it.
#[test]
fn commands_on_the_pages_print_what_the_pages_show() {
    let mut not_run = Vec::new();
    for page in pages() {
        let directory = TempDir::new().unwrap();
        page.write_files(directory.path());
        for (_, block) in page.blocks().filter(|(info, _)| *info == "text") {
            for part in format!("\n{block}").split("\n$ tallyd ").skip(1) {
                let (arguments, expected) = part.split_once('\n').unwrap_or((part, ""));
                // Other commands may follow.
                let expected = expected.split("\n$ ").next().unwrap().trim_end();
                if NOT_RUN.contains(&arguments) {
                    not_run.push(arguments.to_owned());
                } else {
                    assert_eq!(printed(directory.path(), arguments), expected, "{}: {arguments}", page.path);
                }
            }
        }
    }
    assert_eq!(not_run, NOT_RUN);
}

/// Runs tallyd in bash, with these arguments. Returns its standard output, followed by its standard error.
fn printed(directory: &Path, arguments: &str) -> String {
    let mut bash = Command::new("bash");
    without_variables(&mut bash)
        .args(["-c", &format!("tallyd {arguments}")])
        .current_dir(directory)
        .env("PATH", path_with_tallyd());
    let output = bash.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    String::from_utf8(said).unwrap().trim_end().to_owned()
}

#[test]
fn configurations_on_the_pages_are_valid_except_one() {
    let mut errors = Vec::new();
    for page in pages() {
        let directory = TempDir::new().unwrap();
        page.write_files(directory.path());
        for (info, block) in page.blocks().filter(|(info, _)| info.split(' ').next() == Some("toml")) {
            std::fs::write(directory.path().join("checked.toml"), block).unwrap();
            let mut tallyd = tallyd_command();
            tallyd.args(["check", "--config", "checked.toml"]).current_dir(directory.path());
            let output = tallyd.output().unwrap();
            if !output.status.success() {
                errors.push(format!("{}, {info}: {}", page.path, stderr(&output).trim_end()));
            }
        }
    }
    let expected = "tallyd: checked.toml:5: listeners.udp.reciever: unknown; did you mean `receivers`?";
    assert_eq!(errors, [format!("docs/configuration.md, toml bad.toml: {expected}")]);
}
