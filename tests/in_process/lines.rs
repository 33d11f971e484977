//! Lines of the metrics in the tables of cases.

use std::collections::BTreeMap;

/// Returns a line with one value, of a type in the words of `statsd_exporter`.
pub(crate) fn line_of(name: &str, kind: &str, value: u64, tags: &BTreeMap<String, String>) -> String {
    let wire_type = match kind {
        "counter" => "c",
        "gauge" => "g",
        "observer" => "ms",
        other => panic!("{other}"),
    };
    let tags: Vec<_> = tags.iter().map(|(key, value)| format!("{key}:{value}")).collect();
    let tags = if tags.is_empty() { String::new() } else { format!("|#{}", tags.join(",")) };
    format!("{name}:{value}|{wire_type}{tags}")
}
