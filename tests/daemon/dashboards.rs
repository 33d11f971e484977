//! Checks the alerts and the dashboard against the telemetry page and the grid of Grafana.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use tallyd_harness::Document;

fn read(path: &str) -> String {
    Document::read(path).text
}

#[test]
fn telemetry_and_operations_pages_list_every_alert() {
    let alerts = read("dashboards/alerts.yml");
    let alerts: BTreeSet<_> =
        alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    let pages = [
        ("docs/telemetry.md", "| alert | fires when |"),
        ("docs/operations.md", "| alert | at once | then |"),
    ];
    for (page, header) in pages {
        let rows = Document::read(page).table(header);
        let documented: BTreeSet<_> = rows.iter().map(|row| row[0].trim_matches('`')).collect();
        assert_eq!(documented, alerts, "{page}");
    }
}

/// Another test compares the telemetry page with a real run.
#[test]
fn alerts_use_telemetry_that_exists() {
    let [alerts, page] = ["dashboards/alerts.yml", "docs/telemetry.md"].map(read);
    let words = alerts.split(|character: char| !(character.is_ascii_alphanumeric() || character == '_'));
    let names =
        words.filter_map(|word| word.strip_prefix("tallyd_")).map(|name| name.trim_end_matches("_total"));
    let mut count = 0;
    for name in names.filter(|name| *name != "textfile_timestamp_seconds") {
        assert!(page.contains(&format!("tallyd.{name}")), "{name}");
        count += 1;
    }
    assert!(count > 10, "{count}");
}

#[test]
fn every_panel_of_the_dashboard_has_a_place_and_a_description() {
    const WIDTH: usize = 24;
    let dashboard: Value = serde_json::from_str(&read("dashboards/tallyd.json")).unwrap();
    let mut taken: BTreeMap<(usize, usize), &Value> = BTreeMap::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        let title = &panel["title"];
        let [x, y, width, height] =
            ["x", "y", "w", "h"].map(|side| panel["gridPos"][side].as_u64().unwrap() as usize);
        assert!(x + width <= WIDTH, "{title}");
        for place in (y..y + height).flat_map(|y| (x..x + width).map(move |x| (y, x))) {
            let other = taken.insert(place, title);
            assert_eq!(other, None, "{title} overlaps another panel");
        }
        if panel["type"] == "row" {
            continue;
        }
        let description = panel["description"].as_str().unwrap();
        assert!(
            description.contains("If ") || description.contains("Near "),
            "{title} does not say what to do"
        );
        if panel["type"] == "timeseries" {
            let legend = &panel["options"]["legend"];
            assert_eq!(legend["showLegend"], true, "{title}");
            assert_eq!(legend["calcs"], Value::Array(Vec::new()), "{title}");
        }
    }
    // The panels leave no gap in the grid.
    let (&(last, _), _) = taken.last_key_value().unwrap();
    assert_eq!(taken.len(), (last + 1) * WIDTH);
}
