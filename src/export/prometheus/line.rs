//! What both text formats write alike: lines, and what is said of a family.

use std::borrow::Cow;

use super::Totals;
use super::page::{Family, Shape};
use crate::model::{Kind, Policy};
use crate::text::number::push_number;

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

/// The values of the label that distributions have beside their own, for all with one policy.
pub(super) struct Extras {
    /// Of `quantile`.
    pub(super) quantiles: Vec<String>,
    /// Of `le`, but for the last.
    pub(super) bounds: Vec<String>,
}

impl Extras {
    /// Of each policy, with numbers as a format writes them.
    pub(super) fn of(totals: &Totals, number: impl Fn(f64) -> String) -> Vec<Self> {
        let extras = |Policy { statistics, .. }: &Policy| {
            let percentiles = statistics.percentiles.iter();
            Self {
                quantiles: percentiles.map(|percentile| number(quantile(percentile.percent()))).collect(),
                bounds: statistics.bounds.iter().map(|&bound| number(bound)).collect(),
            }
        };
        totals.policies.iter().map(extras).collect()
    }
}

/// What is told of a family, with an escape sequence for each of these characters. It is the same on every page:
/// node_exporter refuses two that differ.
pub(super) fn help<'a>(totals: &'a Totals, family: &Family, escaped: &[char]) -> Cow<'a, str> {
    let own = &*totals.policies.get(family.policy).help;
    if own.is_empty() {
        return Cow::Borrowed(help_of(family.kind));
    }
    if !own.contains(escaped) {
        return Cow::Borrowed(own);
    }
    let mut text = String::with_capacity(own.len() + 8);
    for character in own.chars() {
        match character {
            '\n' => text.push_str("\\n"),
            _ if escaped.contains(&character) => text.extend(['\\', character]),
            _ => text.push(character),
        }
    }
    Cow::Owned(text)
}

fn help_of(kind: Kind) -> &'static str {
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
