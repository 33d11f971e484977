//! Decodes a page of messages for the tests that compare the formats.

use prost::Message;

use super::messages::{Bucket, Metric, MetricFamily, MetricType, Quantile};
use crate::export::prometheus::encode::lines::{FamilyName, push_line};
use crate::text::number::push_number;

/// Reads the families of a page.
pub(super) fn families(mut page: &[u8]) -> Vec<MetricFamily> {
    let mut families = Vec::new();
    while !page.is_empty() {
        families.push(MetricFamily::decode_length_delimited(&mut page).unwrap());
    }
    families
}

/// Converts a page to the text format, where names that are not legal are in quotes. A count in a float field takes
/// precedence over the same count in an integer field.
pub(in crate::export::prometheus) fn as_text(page: &[u8]) -> String {
    let mut text = String::new();
    for MetricFamily { name, help, r#type, metric } in families(page) {
        let type_name = ["counter", "gauge", "summary", "untyped", "histogram"][r#type as usize];
        let is_quoted = !is_legal(&name, ":");
        let escaped = escape(&name);
        let shown = quoted_unless_legal(&name, ":");
        text.extend(["# HELP ", &shown, " ", &help, "\n# TYPE ", &shown, " ", type_name, "\n"]);
        for Metric { label, gauge, counter, summary, histogram } in metric {
            let labels = label.iter().map(|label| {
                format!("{}=\"{}\"", quoted_unless_legal(&label.name, ""), escape(&label.value))
            });
            let labels: Vec<_> = labels.collect();
            let labels = labels.join(",");
            let mut push = |suffix, label: Option<(&str, f64)>, value: f64| {
                let mut number = String::new();
                label.inspect(|(_, bound)| push_number(&mut number, *bound));
                let number = if number == "inf" { "+Inf" } else { &number };
                let label = label.map(|(name, _)| (name, number));
                let name = FamilyName { text: &escaped, is_quoted };
                push_line(&mut text, (name, suffix), &labels, label, value);
            };
            counter.into_iter().for_each(|counter| push("", None, counter.value));
            gauge.into_iter().for_each(|gauge| push("", None, gauge.value));
            let either = |whole: u64, float: f64| if float > 0.0 { float } else { whole as f64 };
            let (sum, count) = match (summary, histogram) {
                (Some(summary), _) => {
                    for Quantile { quantile, value } in summary.quantile {
                        push("", Some(("quantile", quantile)), value);
                    }
                    (summary.sample_sum, summary.sample_count as f64)
                }
                (_, Some(histogram)) => {
                    for Bucket { upper_bound, cumulative_count, cumulative_count_float } in histogram.bucket {
                        let count = either(cumulative_count, cumulative_count_float);
                        push("_bucket", Some(("le", upper_bound)), count);
                    }
                    let count = either(histogram.sample_count, histogram.sample_count_float);
                    push("_bucket", Some(("le", f64::INFINITY)), count);
                    (histogram.sample_sum, count)
                }
                _ => continue,
            };
            push("_sum", None, sum);
            push("_count", None, count);
        }
    }
    text
}

fn escape(text: &str) -> String {
    text.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n")
}

fn quoted_unless_legal(name: &str, others: &str) -> String {
    if is_legal(name, others) { name.to_owned() } else { format!("\"{}\"", escape(name)) }
}

fn is_legal(name: &str, others: &str) -> bool {
    let is_legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || others.contains(c);
    name.chars().all(is_legal) && !name.starts_with(|c: char| c.is_ascii_digit())
}

/// Returns the name of each histogram, and the schemas of its members. The schema of a classic histogram is `None`.
pub(in crate::export::prometheus) fn schemas(page: &[u8]) -> Vec<(String, Vec<Option<i32>>)> {
    let schema = |metric: &Metric| {
        let histogram = metric.histogram.as_ref()?;
        // Prometheus recognizes native histograms in the same way.
        let is_native = histogram.zero_threshold > 0.0
            || !histogram.positive_span.is_empty()
            || !histogram.negative_span.is_empty();
        is_native.then_some(histogram.schema)
    };
    let histograms = families(page).into_iter().filter(|family| family.r#type() == MetricType::Histogram);
    histograms.map(|family| (family.name, family.metric.iter().map(schema).collect())).collect()
}
