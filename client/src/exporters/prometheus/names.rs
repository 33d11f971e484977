//! Legal names of metrics and labels, as tallyd makes them.

use metrics::Label;

use crate::exporters::text::{push_key, push_value};
use crate::sample::{Sample, Value};

/// The name of the family to which a metric belongs: `cv_ResumeParser_resumes_total` of `cv.ResumeParser.resumes`.
pub(super) fn family(metric: &str, value: Value<'_>) -> String {
    let suffix = match value {
        Value::Counter(_) => "_total",
        Value::Timing(_) => "_seconds",
        _ => "",
    };
    let mut name = legal(metric);
    if !name.ends_with(suffix) {
        name.push_str(suffix);
    }
    name
}

/// The tags of a sample as they are on the wire, in the order of their keys.
pub(super) fn sorted_tags(sample: &Sample<'_>) -> Vec<(String, String)> {
    let mut tags = Vec::new();
    sample.each_tag(|key, value| {
        let (mut own_key, mut own_value) = (String::new(), String::new());
        push_key(&mut own_key, key);
        push_value(&mut own_value, value);
        tags.push((own_key, own_value));
    });
    tags.sort();
    tags
}

/// Sorted, and each name once: of several tags that become one label, the last of the sorted ones counts.
pub(super) fn labels(sorted_tags: Vec<(String, String)>, value: Value<'_>) -> Vec<Label> {
    let has_quantiles = matches!(value, Value::Timing(_) | Value::Histogram(_) | Value::Distribution(_));
    let mut labels: Vec<_> =
        sorted_tags.into_iter().map(|(key, value)| (label(&key, has_quantiles), value)).collect();
    labels.sort_by(|a, b| a.0.cmp(&b.0));
    let last_of_each = labels.chunk_by(|a, b| a.0 == b.0).filter_map(<[_]>::last);
    // A label without a value is no label.
    let shown = |value: &String| if value.is_empty() { "true".to_owned() } else { value.clone() };
    last_of_each.map(|(name, value)| Label::new(name.clone(), shown(value))).collect()
}

/// `_` stands for each character that is not legal, and before a digit that begins.
fn legal(name: &str) -> String {
    let mut legal = String::with_capacity(name.len() + 1);
    if name.chars().next().is_none_or(|first| first.is_ascii_digit()) {
        legal.push('_');
    }
    let is_legal =
        |character: char| character.is_ascii_alphanumeric() || character == '_' || character == ':';
    legal.extend(name.chars().map(|character| if is_legal(character) { character } else { '_' }));
    legal
}

/// A tag's key as a label's name. What Prometheus keeps for itself becomes `exported_…`.
fn label(key: &str, has_quantiles: bool) -> String {
    let name = legal(key).replace(':', "_");
    if name.starts_with("__") || (has_quantiles && (name == "le" || name == "quantile")) {
        return format!("exported_{name}");
    }
    name
}
