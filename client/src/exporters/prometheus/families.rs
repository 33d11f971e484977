//! Which series may be on the page: a family has one type, and no series stands there twice. Of a page on which that is not
//! so, Prometheus takes nothing.

use std::collections::{HashMap, HashSet};

use metrics::Key;

use crate::sample::Value;

/// What Prometheus records itself of each target, and of its alerts.
const OF_PROMETHEUS: [&str; 10] = [
    "ALERTS",
    "ALERTS_FOR_STATE",
    "scrape_body_size_bytes",
    "scrape_duration_seconds",
    "scrape_sample_limit",
    "scrape_samples_post_metric_relabeling",
    "scrape_samples_scraped",
    "scrape_series_added",
    "scrape_timeout_seconds",
    "up",
];

/// What is on the page.
#[derive(Debug, Default)]
pub(super) struct Families {
    /// The names that stand on lines, and the family to which each belongs.
    lines: HashMap<String, Family>,
    series: HashSet<Key>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Family {
    name: String,
    of_type: &'static str,
}

impl Families {
    /// Takes a series in, or says why not.
    pub(super) fn admit(&mut self, family: &str, key: &Key, value: Value<'_>) -> Result<(), &'static str> {
        if family.starts_with("tallyd_") || OF_PROMETHEUS.contains(&family) {
            return Err("tallyd and Prometheus have metrics of that name themselves");
        }
        // Only counters can be added up: percentiles of two series do not make one.
        if !matches!(value, Value::Counter(_)) && self.series.contains(key) {
            return Err("another series has the same name and the same labels in Prometheus");
        }
        let own = Family { name: family.to_owned(), of_type: value.type_name() };
        let suffixes: &[&str] = match value {
            Value::Timing(_) | Value::Histogram(_) | Value::Distribution(_) => &["", "_sum", "_count"],
            Value::Counter(_) | Value::Gauge(_) | Value::Set(_) => &[""],
        };
        let lines: Vec<_> = suffixes.iter().map(|suffix| format!("{family}{suffix}")).collect();
        if lines.iter().any(|line| self.lines.get(line).is_some_and(|other| *other != own)) {
            return Err("a metric of another type has that name in Prometheus");
        }
        self.lines.extend(lines.into_iter().map(|line| (line, own.clone())));
        self.series.insert(key.clone());
        Ok(())
    }
}
