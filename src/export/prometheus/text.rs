//! The text format, version 0.0.4.

use super::totals::{FamilyType, Total, Totals};
use crate::export::number::push_number;
use crate::protocol::Kind;

/// Appends all families, sorted, each with its HELP and TYPE, and a final line feed.
pub fn render(text: &mut String, totals: &Totals) {
    let percentiles = &totals.statistics.percentiles;
    let quantiles: Vec<String> =
        percentiles.iter().map(|percentile| quantile(percentile.percent())).collect();
    let bounds: Vec<String> = totals.statistics.bounds.iter().map(|&bound| number(bound)).collect();
    for (name, family) in &totals.families {
        let (family_type, help) = describe(family.family_type, family.kind);
        text.extend(["# HELP ", name, " ", help, "\n# TYPE ", name, " ", family_type, "\n"]);
        for (labels, member) in &family.members {
            match &member.total {
                Total::Counter(value) | Total::Gauge(value) => line(text, [name, ""], labels, None, *value),
                Total::Distribution { count, sum, quantiles: values, buckets } => {
                    if family.family_type == FamilyType::Histogram {
                        for (bound, value) in bounds.iter().zip(buckets) {
                            line(text, [name, "_bucket"], labels, Some(("le", bound)), *value);
                        }
                        line(text, [name, "_bucket"], labels, Some(("le", "+Inf")), *count);
                    } else {
                        for (quantile, value) in quantiles.iter().zip(values.iter().flatten()) {
                            line(text, [name, ""], labels, Some(("quantile", quantile)), *value);
                        }
                    }
                    line(text, [name, "_sum"], labels, None, *sum);
                    line(text, [name, "_count"], labels, None, *count);
                }
            }
        }
    }
}

fn line(text: &mut String, name: [&str; 2], labels: &str, extra: Option<(&str, &str)>, value: f64) {
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

/// TYPE, and a HELP that is the same in every file: node_exporter refuses two that differ.
fn describe(family_type: FamilyType, kind: Kind) -> (&'static str, &'static str) {
    let help = match kind {
        Kind::Counter => "StatsD counter.",
        Kind::Gauge => "StatsD gauge.",
        Kind::Set => "Distinct members of a StatsD set in the latest interval.",
        Kind::Timing => "StatsD timing in seconds.",
        Kind::Histogram => "StatsD histogram.",
        Kind::Distribution => "StatsD distribution.",
    };
    let name = match family_type {
        FamilyType::Counter => "counter",
        FamilyType::Gauge => "gauge",
        FamilyType::Summary => "summary",
        FamilyType::Histogram => "histogram",
    };
    (name, help)
}

/// A percentile as a quantile: 99.9 as 0.999, not as the quotient of two f64, which has more digits.
fn quantile(percent: f64) -> String {
    number((percent * 1e10).round() / 1e12)
}

fn number(value: f64) -> String {
    let mut text = String::new();
    push_number(&mut text, value);
    text
}
