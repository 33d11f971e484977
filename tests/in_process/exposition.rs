//! Tests names, labels, units and conflicts on the page with `naming = "statsd_exporter"`, with the cases of
//! `statsd_exporter`'s own tests.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value as Json;
use tallyd::aggregate::AggregationOptions;
use tallyd::export::prometheus::Naming;
use tallyd::mapping::HistogramOptions;
use tallyd::model::{Percentile, Policy, Statistics};

use crate::exporter::Exporter;
use crate::lines::line_of;
use crate::pipeline::settings;

fn exporter(rules: &str) -> Exporter {
    let percentiles = vec![Percentile::new(50.0).unwrap()];
    let statistics = Statistics { percentiles, ..Statistics::default() };
    let fallback = Policy { statistics, ..Policy::default() };
    let settings = settings(rules, &fallback, &HistogramOptions::default());
    Exporter::new(Naming::StatsdExporter, AggregationOptions::default(), settings)
}

/// Returns the name and the type of each family.
fn families(page: &str) -> BTreeMap<String, String> {
    let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
    types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
}

/// Returns the name of the only family of a line, and the labels and the value of its first sample.
fn only(line: &str) -> (String, String, String) {
    let mut exporter = exporter("");
    exporter.add(line);
    let page = exporter.text();
    let families = families(&page);
    let [name] = families.keys().collect::<Vec<_>>()[..] else { panic!("{line}: {families:?}") };
    let sample = page.lines().find(|line| !line.starts_with('#')).unwrap();
    let (series, value) = sample.rsplit_once(' ').unwrap();
    let labels = series.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
    (name.clone(), labels.to_owned(), value.to_owned())
}

#[derive(Deserialize)]
struct Event {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    value: u64,
    labels: BTreeMap<String, String>,
}

#[test]
fn page_equals_that_of_statsd_exporter_for_the_same_lines() {
    let mut checked = 0;
    for row in include_str!("../data/exposition.jsonl").lines() {
        let row: Json = serde_json::from_str(row).unwrap();
        let (id, given, expect) = (row["id"].as_str().unwrap(), &row["given"], &row["expect"]);
        checked += 1;
        let (got, expected) = match row["topic"].as_str().unwrap() {
            "metric_name_escape" => {
                let (name, _, _) = only(&format!("{}:1|g", given.as_str().unwrap()));
                (name, expect.as_str().unwrap().to_owned())
            }
            "label_name_escape" | "label_values" => {
                let (_, labels, _) = only(given["line"].as_str().unwrap());
                let expected = expect["labels"].as_object().unwrap().iter();
                let expected: Vec<_> = expected.map(|(label, value)| format!("{label}={value}")).collect();
                (labels, expected.join(","))
            }
            "unit" => (only(given["line"].as_str().unwrap()).2, expect["observation"].to_string()),
            "type_conflict" => {
                let mut exporter = exporter(given["mapping_yaml"].as_str().unwrap());
                let events: Vec<Event> = serde_json::from_value(given["events_in_order"].clone()).unwrap();
                for Event { kind, name, value, labels } in events {
                    exporter.add(line_of(&name, &kind, value, &labels));
                }
                let registered = serde_json::to_value(families(&exporter.text())).unwrap();
                (registered.to_string(), expect["registered"].to_string())
            }
            other => panic!("{other}"),
        };
        assert_eq!(got, expected, "{id}");
    }
    assert_eq!(checked, CHECKED);
}

/// The expected number of rows, so that none can get lost.
const CHECKED: usize = 34;
