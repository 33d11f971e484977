//! Legal names of families and labels. They are the same as tallyd's.

use metrics::Label;

use crate::exporters::text::{Part, push};
use crate::sample::{Sample, Value};

/// Returns the name of a metric's family. For example, the counter `cv.ResumeParser.resumes` becomes
/// `cv_ResumeParser_resumes_total`.
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

/// Returns the tags of a sample as they are written in lines, sorted by key.
pub(super) fn sorted_tags(sample: &Sample<'_>) -> Vec<(String, String)> {
    let mut tags = Vec::new();
    sample.for_each_tag(|key, value| {
        let (mut legal_key, mut legal_value) = (String::new(), String::new());
        push(&mut legal_key, key, Part::Key);
        push(&mut legal_value, value, Part::Value);
        // A label needs a name. tallyd skips such tags, too.
        if !legal_key.is_empty() {
            tags.push((legal_key, legal_value));
        }
    });
    tags.sort();
    tags
}

/// Returns the labels of sorted tags, sorted by name. If several tags become the same label, the last tag counts.
pub(super) fn labels(sorted_tags: Vec<(String, String)>, value: Value<'_>) -> Vec<Label> {
    let has_quantiles = matches!(value, Value::Timing(_) | Value::Histogram(_) | Value::Distribution(_));
    // Prometheus treats a label with an empty value as absent.
    let tags = sorted_tags.into_iter().filter(|(_, value)| !value.is_empty());
    let mut labels: Vec<_> = tags.map(|(key, value)| (label_name(&key, has_quantiles), value)).collect();
    labels.sort_by(|a, b| a.0.cmp(&b.0));
    let last_of_each = labels.chunk_by(|a, b| a.0 == b.0).filter_map(<[_]>::last);
    last_of_each.map(|(name, value)| Label::new(name.clone(), value.clone())).collect()
}

/// Replaces each illegal character with `_`, and puts `_` before a leading digit.
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

/// Returns the label name of a tag. A name that Prometheus reserves gets the prefix `exported_`.
fn label_name(key: &str, has_quantiles: bool) -> String {
    let name = legal(key).replace(':', "_");
    if name.starts_with("__") || (has_quantiles && (name == "le" || name == "quantile")) {
        return format!("exported_{name}");
    }
    name
}
