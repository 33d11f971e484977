//! Names, labels, units and conflicts on the page, with `naming = "statsd_exporter"`, as statsd_exporter's own tests have
//! them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use serde_json::Value as Json;
use tallyd::aggregate::{AggregationOptions, Shard, SharedState};
use tallyd::export::prometheus::{Format, Naming, Totals};
use tallyd::flush::{IdleReporting, Rotator};
use tallyd::mapping::Mapping;
use tallyd::model::{Overview, Percentile, Snapshot, Statistics};

/// Where tallyd means to differ, and why.
const DEVIATIONS: [(&str, &str); 3] =
    [("exp-fact-050", GIVES_WAY), ("exp-fact-054", GIVES_WAY), ("exp-fact-055", GIVES_WAY)];
const GIVES_WAY: &str = "a counter x_sum or x_count gives way to the timing x, also where it came first: otherwise one line \
                         could keep the timings of another client off the page";

/// Lines become intervals, intervals become a page.
struct Exporter {
    shard: Arc<Mutex<Shard>>,
    cutter: Rotator,
    totals: Totals,
}

impl Exporter {
    fn new(mapping: &str) -> Self {
        let shared = SharedState::mapped(AggregationOptions::default(), Mapping::from_yaml(mapping).unwrap());
        let shard = Arc::new(Mutex::new(Shard::new(Arc::clone(&shared))));
        let percentiles = vec![Percentile::new(50.0).unwrap()];
        let statistics = Statistics { percentiles, ..Statistics::default() };
        let cutter =
            Rotator::new(shared, vec![Arc::clone(&shard)], statistics.into(), IdleReporting::default());
        Self { shard, cutter, totals: Totals::new(Naming::StatsdExporter) }
    }

    /// An interval with one line.
    fn add(&mut self, line: &str) {
        self.shard.lock().record(line.as_bytes());
        self.totals.add(&Snapshot {
            time: SystemTime::UNIX_EPOCH,
            interval: Duration::from_secs(10),
            policies: self.cutter.policies(),
            rows: self.cutter.cut(Duration::ZERO).rows().clone(),
            events: Vec::new(),
            overview: Overview::default(),
        });
    }

    fn page(&self) -> String {
        let mut page = Vec::new();
        let written = Format::Text.render(&self.totals, |piece| {
            page.extend_from_slice(piece);
            Ok::<_, std::convert::Infallible>(())
        });
        written.unwrap();
        String::from_utf8(page).unwrap()
    }

    /// Name and type of each family.
    fn families(&self) -> BTreeMap<String, String> {
        let page = self.page();
        let types = page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '));
        types.map(|(name, kind)| (name.to_owned(), kind.to_owned())).collect()
    }
}

/// The only family of a page with one line, and what that line has between its braces and behind them.
fn only(line: &str) -> (String, String, String) {
    let mut exporter = Exporter::new("");
    exporter.add(line);
    let families = exporter.families();
    let [name] = families.keys().collect::<Vec<_>>()[..] else { panic!("{line}: {families:?}") };
    let page = exporter.page();
    let sample = page.lines().find(|line| !line.starts_with('#')).unwrap();
    let (series, value) = sample.rsplit_once(' ').unwrap();
    let labels = series.split_once('{').map_or("", |(_, labels)| labels.trim_end_matches('}'));
    (name.clone(), labels.to_owned(), value.to_owned())
}

fn line_of(event: &Json) -> String {
    let wire_type = match event["type"].as_str().unwrap() {
        "counter" => "c",
        "gauge" => "g",
        "observer" => "ms",
        other => panic!("{other}"),
    };
    let tags: Vec<_> = event["labels"].as_object().unwrap().iter().collect();
    let tags: Vec<_> =
        tags.into_iter().map(|(key, value)| format!("{key}:{}", value.as_str().unwrap())).collect();
    let tags = if tags.is_empty() { String::new() } else { format!("|#{}", tags.join(",")) };
    format!("{}:{}|{wire_type}{tags}", event["name"].as_str().unwrap(), event["value"])
}

#[test]
fn the_page_is_what_statsd_exporter_makes_of_the_same_lines() {
    let mut checked = 0;
    for row in include_str!("data/exposition.jsonl").lines() {
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
                let mut exporter = Exporter::new(given["mapping_yaml"].as_str().unwrap());
                for event in given["events_in_order"].as_array().unwrap() {
                    exporter.add(&line_of(event));
                }
                let registered = serde_json::to_value(exporter.families()).unwrap();
                (registered.to_string(), expect["registered"].to_string())
            }
            other => panic!("{other}"),
        };
        let deviates = DEVIATIONS.iter().any(|(deviating, _)| *deviating == id);
        assert_eq!(got != expected, deviates, "{id}: got {got}, expected {expected}");
    }
    assert_eq!(checked, CHECKED);
}

/// Rows; one that is lost from the file shows here.
const CHECKED: usize = 34;
