//! What both text formats write alike: lines, and what is said of a family.

use super::page::Shape;
use crate::export::number::push_number;
use crate::protocol::Kind;

/// A line of the family or, with a suffix behind its name, of a part of it. `extra` is one more label.
pub(super) fn push_line(
    text: &mut String,
    name: [&str; 2],
    labels: &str,
    extra: Option<(&str, &str)>,
    value: f64,
) {
    text.extend(name);
    if !labels.is_empty() || extra.is_some() {
        text.push('{');
        text.push_str(labels);
        if let Some((label, value)) = extra {
            text.push_str(if labels.is_empty() { "" } else { "," });
            text.extend([label, "=\"", value, "\""]);
        }
        text.push('}');
    }
    text.push(' ');
    push_number(text, value);
    text.push('\n');
}

/// The type of a family that is known as what it is.
pub(super) fn type_name(shape: Shape) -> &'static str {
    match shape {
        Shape::Counter => "counter",
        Shape::Gauge => "gauge",
        Shape::Summary => "summary",
        Shape::Histogram => "histogram",
    }
}

/// A HELP that is the same on every page: node_exporter refuses two that differ.
pub(super) fn help(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "StatsD counter.",
        Kind::Gauge => "StatsD gauge.",
        Kind::Set => "Distinct members of a StatsD set in the latest interval.",
        Kind::Timing => "StatsD timing in seconds.",
        Kind::Histogram => "StatsD histogram.",
        Kind::Distribution => "StatsD distribution.",
    }
}

/// A percentile as a quantile: 99.9 as 0.999, not as the quotient of two f64, which has more digits.
pub(super) fn quantile(percent: f64) -> f64 {
    (percent * 1e10).round() / 1e12
}
