//! Compares the page about moving from statsd with the real statsd: its keys, and the lines that it reads differently.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::Value;
use tallyd_harness::{Document, wait_for_ok};

use crate::admin::{Server, Statsd, Tallyd, all_values};
use crate::shop::CLIENTS;

/// Returns the keys that exampleConfig.js of statsd documents. A key of a section begins with the section and a dot.
fn keys_of_statsd() -> BTreeSet<String> {
    let text = fs::read_to_string(Path::new(CLIENTS).join("node_modules/statsd/exampleConfig.js"))
        .expect("statsd is missing; run make install-test-tools");
    let mut section = "";
    let mut keys = BTreeSet::new();
    for line in text.split("*/").next().unwrap().lines() {
        let Some((key, _)) = line.trim_start().split_once(':') else { continue };
        if !key.chars().all(|letter| letter.is_alphanumeric() || letter == '_') {
            continue;
        }
        // More deeply indented lines go on with the description of a key.
        match line.len() - line.trim_start().len() {
            2 => {
                section = key;
                keys.insert(key.to_owned());
            }
            4 => _ = keys.insert(format!("{section}.{key}")),
            _ => {}
        }
    }
    keys
}

#[test]
#[ignore = "needs statsd; run make test"]
fn statsd_page_has_each_documented_key_of_statsd() {
    let documented = keys_of_statsd();
    assert!(documented.len() > 45, "{documented:?}");
    let page = Document::read("docs/migrate/statsd.md");
    let rows = page.table("| statsd | tallyd | what differs |");
    let listed: BTreeSet<_> =
        rows.iter().flat_map(|row| row[0].split('`').skip(1).step_by(2)).map(str::to_owned).collect();
    let missing: Vec<_> = documented.difference(&listed).collect();
    assert!(missing.is_empty(), "{missing:?}");
    // statsd without `servers` takes the keys of a server at the top.
    let of_a_server = documented.iter().filter_map(|key| key.strip_prefix("servers."));
    let at_the_top: BTreeSet<_> = of_a_server.map(str::to_owned).collect();
    let unknown: Vec<_> = listed.difference(&documented).filter(|key| !at_the_top.contains(*key)).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

/// Says what is wrong with a cell about a line, given the answers to `counters`, `gauges` and `timers`.
fn check_cell(line: &str, cell: &str, values: &[Value; 3]) -> Result<(), String> {
    let [counters, gauges, timers] = values;
    let is_right = match cell.split_once(' ') {
        Some(("counter", name)) => counters.get(name.trim_matches('`')).is_some(),
        Some(("gauge", name)) => gauges.get(name.trim_matches('`')).is_some(),
        Some(("timer", name)) => timers.get(name.trim_matches('`')).is_some(),
        _ => {
            assert_eq!(cell, "bad line");
            let name = line.split([':', '|']).next().unwrap();
            let mut all = values.iter().flat_map(|values| values.as_object().unwrap().keys());
            all.all(|key| !key.starts_with(name))
        }
    };
    if is_right { Ok(()) } else { Err(format!("{line} is no {cell}: {values:?}")) }
}

/// Sends the lines of the rows to a server, until its values are those in this column.
fn assert_column<P>(server: &Server<P>, rows: &[Vec<String>], column: usize) {
    let lines: Vec<_> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
    wait_for_ok(|| {
        server.send(&lines.join("\n"));
        let values = all_values(server);
        lines.iter().zip(rows).try_for_each(|(line, row)| check_cell(line, &row[column], &values))
    });
}

#[test]
#[ignore = "needs statsd; run make test"]
fn statsd_and_tallyd_read_lines_as_the_page_says() {
    let rows = Document::read("docs/migrate/statsd.md").table("| line | statsd | tallyd |");
    assert_column(&Statsd::start(3_600_000), &rows, 1);
    assert_column(&Tallyd::start(), &rows, 2);
}
