//! Writes the lines that both text formats share.

use std::borrow::Cow;

use crate::export::exporter::PIECE;
use crate::export::prometheus::families::{Distribution, Family, Member, Total};
use crate::export::prometheus::family_type::LineKind;
use crate::export::prometheus::totals::Totals;
use crate::model::{Kind, Percentile, Policies, Policy};
use crate::text::number::push_number;

/// Writes the lines of members.
pub(super) struct LineWriter {
    /// The text written so far.
    pub(super) text: String,
    /// The values of labels, by policy.
    label_values: Vec<LabelValues>,
}

/// The quantiles and bounds of the distributions with one policy, as values of labels.
struct LabelValues {
    /// The values of `quantile`.
    quantiles: Vec<String>,
    /// The values of `le`. The last one is `+Inf`.
    bounds: Vec<String>,
}

impl LineWriter {
    /// Creates a writer. `format` turns quantiles and bounds into text.
    pub(super) fn new(totals: &Totals, format: impl Fn(f64) -> String) -> Self {
        let label_values = |Policy { statistics, .. }: &Policy| {
            let bounds = statistics.bounds.iter().map(|&bound| format(bound));
            LabelValues {
                quantiles: statistics.percentiles.iter().map(|&p| format(quantile(p))).collect(),
                bounds: bounds.chain(["+Inf".to_owned()]).collect(),
            }
        };
        Self {
            text: String::with_capacity(2 * PIECE),
            label_values: totals.policies.iter().map(label_values).collect(),
        }
    }

    /// Writes the lines of a member that have one of these kinds.
    pub(super) fn push_member(&mut self, family: &Family, lines: &[LineKind], member: &Member) {
        match &member.total {
            Total::Counter(value) | Total::Gauge(value) => {
                push_line(&mut self.text, [&family.name, ""], &member.labels, None, *value);
            }
            Total::Distribution(total) => self.push_distribution(&family.name, lines, member, total),
        }
    }

    fn push_distribution(&mut self, name: &str, lines: &[LineKind], member: &Member, total: &Distribution) {
        let Self { text, label_values } = self;
        let LabelValues { quantiles, bounds } = &label_values[member.policy.id().index()];
        let Distribution { count, sum, quantiles: values, buckets, .. } = total;
        let labels = &*member.labels;
        for line in lines {
            let name = [name, line.suffix()];
            match line {
                LineKind::Value => {
                    for (quantile, value) in quantiles.iter().zip(values) {
                        push_line(text, name, labels, Some(("quantile", quantile)), *value);
                    }
                }
                LineKind::Buckets => {
                    for (bound, value) in bounds.iter().zip(buckets.iter().chain([count])) {
                        push_line(text, name, labels, Some(("le", bound)), *value);
                    }
                }
                LineKind::Sum => push_line(text, name, labels, None, *sum),
                LineKind::Count => push_line(text, name, labels, None, *count),
            }
        }
    }
}

/// Writes one line. `name` consists of the name of the family and a suffix. `label` is an additional label.
pub(super) fn push_line(
    text: &mut String,
    name: [&str; 2],
    labels: &str,
    label: Option<(&str, &str)>,
    value: f64,
) {
    text.extend(name);
    if !labels.is_empty() || label.is_some() {
        text.push('{');
        text.push_str(labels);
        if let Some((name, value)) = label {
            text.push_str(if labels.is_empty() { "" } else { "," });
            text.extend([name, "=\"", value, "\""]);
        }
        text.push('}');
    }
    text.push(' ');
    push_number(text, value);
    text.push('\n');
}

/// Returns the HELP text of a family, with a backslash before each character of `escaped`. Every page has the same
/// text, because node_exporter refuses two pages that differ.
pub(super) fn help<'a>(policies: &'a Policies, family: &Family, escaped: &[char]) -> Cow<'a, str> {
    let own = &*policies.get(family.policy.id()).help;
    if own.is_empty() {
        return Cow::Borrowed(help_of_kind(family.kind));
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

fn help_of_kind(kind: Kind) -> &'static str {
    match kind {
        Kind::Counter => "StatsD counter.",
        Kind::Gauge => "StatsD gauge.",
        Kind::Set => "Distinct members of a StatsD set in the latest interval.",
        Kind::Timing => "StatsD timing in seconds.",
        Kind::Histogram => "StatsD histogram.",
        Kind::Distribution => "StatsD distribution.",
    }
}

/// Returns a percentile as a quantile, for example 99.9 as 0.999. A plain division would give more digits.
pub(super) fn quantile(percentile: Percentile) -> f64 {
    (percentile.percent() * 1e10).round() / 1e12
}
