//! Compares the results of the README's tour with those that the pages show.

use std::fs;
use std::process::Command;
use std::sync::LazyLock;

use serde_json::Value;
use tallyd_harness::process::without_variables;
use tallyd_harness::{Daemon, Document, Finished};
use tempfile::TempDir;

static README: LazyLock<Document> = LazyLock::new(|| Document::read("README.md"));
static OUTPUT: LazyLock<Document> = LazyLock::new(|| Document::read("docs/output.md"));

/// Runs the tour of the README against tallyd, and then stops tallyd to end its interval.
fn take_the_tour(settings: &[&str]) -> Finished {
    let daemon = Daemon::start(settings);
    let tour = README.block("sh tour").replace("8125", &daemon.address().port().to_string());
    let mut bash = Command::new("bash");
    assert!(without_variables(&mut bash).args(["-ec", &tour]).status().unwrap().success());
    daemon.stop()
}

/// Returns the first block of a document for which `is_match` returns true.
fn find_block(document: &Document, is_match: impl Fn(&str) -> bool) -> &str {
    let mut blocks = document.blocks().map(|(_, block)| block);
    blocks.find(|block| is_match(block)).unwrap_or_else(|| panic!("{} lacks the block", document.path))
}

#[test]
fn tour_of_the_readme_gives_the_results_that_the_documents_show() {
    let directory = TempDir::new().unwrap();
    let [console, page] = ["console.txt", "tallyd.prom"].map(|name| directory.path().join(name));
    let finished = take_the_tour(&[
        "exporters.console.format=text",
        &format!("exporters.console.path={}", console.display()),
        "exporters.textfile.enabled=true",
        &format!("exporters.textfile.path={}", page.display()),
    ]);
    assert!(finished.status.success(), "{}", finished.log);

    let console = fs::read_to_string(console).unwrap();
    // Rates and the widths of columns depend on the length of the interval, which differs here.
    let in_words = |line: &str| {
        let words = line.split_whitespace().filter(|word| !word.ends_with("/s"));
        words.collect::<Vec<_>>().join(" ")
    };
    let written: Vec<_> = console.lines().map(in_words).collect();
    for document in [&*README, &OUTPUT] {
        let shown = find_block(document, |block| block.contains(" 4 series "));
        for line in shown.lines() {
            let line = in_words(line);
            let line = line.find(" 4 series ").map_or(&*line, |start| &line[start..]);
            assert!(written.iter().any(|other| other.ends_with(line)), "{line} is not in\n{console}");
        }
    }

    let page = fs::read_to_string(page).unwrap();
    let shown = find_block(&README, |block| block.starts_with("$ curl "));
    for line in shown.lines().skip(1).filter(|line| *line != "…") {
        assert!(page.lines().any(|other| other == line), "{line} is not in\n{page}");
    }
}

#[test]
fn output_page_shows_the_objects_that_the_console_writes() {
    // Removes the time, the length of the interval, and the rate, which depends on that length.
    let without_time = |line: &str| {
        let mut object: Value = serde_json::from_str(line).unwrap();
        for field in ["time", "interval_s", "rate"] {
            object.as_object_mut().unwrap().remove(field);
        }
        object
    };
    let finished = take_the_tour(&["telemetry.enabled=false"]);
    let written: Vec<_> = finished.rows.iter().map(|row| without_time(&row.to_string())).collect();
    let shown: Vec<_> = OUTPUT.block("json results").lines().map(without_time).collect();
    assert_eq!(shown, written);

    let daemon = Daemon::start(&["telemetry.enabled=false"]);
    daemon.send("_e{6,12}:deploy|version 1.42|h:web-1|#env:prod");
    let finished = daemon.stop();
    let written: Vec<_> = finished.rows.iter().map(|row| without_time(&row.to_string())).collect();
    assert_eq!(vec![without_time(OUTPUT.block("json event").trim_end())], written);
}
