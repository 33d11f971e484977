//! Prometheus' protobuf format, which is the only one that has native histograms.
//!
//! A page is its families, one behind the other, each with its length before it. Names are those of the text format, and nothing
//! keeps a family from its type: Prometheus makes lines of what it reads, and those of two families never have one name
//! ([`admission`](super::admission)).
//!
//! A family may have a million members, and its length comes first. So the members beyond the first piece are walked through
//! twice, to be measured and to be written, in one message that is used for all of them, and no family is in memory as a whole.
//!
//! Where sample rates make parts of one, a summary's count is rounded, since it has no field but for integers, and so are a
//! histogram's for Prometheus before 2.45, which knows no others; later ones find them as they are beside.

mod messages;
mod native;

use prost::Message;

use self::messages::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType, Quantile, Summary,
    Timestamp,
};
use super::Totals;
use super::line::{help, quantile};
use super::names::pairs;
use super::page::{Distribution, Member, Shape, Total};
use crate::export::PIECE;
use crate::model::{NativeHistogram, Policies, Policy};

/// Writes all families, sorted; piece by piece, as the text format is written.
///
/// # Errors
///
/// The first one of `write`.
pub(super) fn render<E>(totals: &Totals, mut write: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
    let mut bytes = Vec::with_capacity(3 * PIECE);
    let mut start = Vec::with_capacity(2 * PIECE);
    let mut head = MetricFamily::default();
    let mut entry = Entry::new(totals);
    for (family, mut members) in totals.page.families() {
        head.name.clear();
        head.name.push_str(&family.name);
        head.help.clear();
        head.help.push_str(&help(totals, family, &[]));
        head.set_type(match family.shape {
            Shape::Counter => MetricType::Counter,
            Shape::Gauge => MetricType::Gauge,
            Shape::Summary => MetricType::Summary,
            Shape::Histogram => MetricType::Histogram,
        });
        // Most families are no more than this piece.
        start.clear();
        for member in members.by_ref() {
            entry.of(family.shape, member).encode(&mut start).expect(GROWS);
            if start.len() >= PIECE {
                break;
            }
        }
        let measure = |member| entry.of(family.shape, member).encoded_len();
        let length = head.encoded_len() + start.len() + members.clone().map(measure).sum::<usize>();
        if bytes.len() >= PIECE {
            write(&bytes)?;
            bytes.clear();
        }
        prost::encode_length_delimiter(length, &mut bytes).expect(GROWS);
        head.encode(&mut bytes).expect(GROWS);
        bytes.extend_from_slice(&start);
        for member in members {
            if bytes.len() >= PIECE {
                write(&bytes)?;
                bytes.clear();
            }
            entry.of(family.shape, member).encode(&mut bytes).expect(GROWS);
        }
    }
    write(&bytes)
}

const GROWS: &str = "a Vec has room for all";

/// A member of a family, as a message that is used for one after the other.
struct Entry<'a> {
    /// Of each policy.
    quantiles: Vec<Vec<f64>>,
    policies: &'a Policies,
    /// It has nothing but the one member: messages that stand one behind the other are read as one that has what all of them
    /// have, so a family is one without members and then one for each.
    family: MetricFamily,
}

impl<'a> Entry<'a> {
    fn new(totals: &'a Totals) -> Self {
        let quantiles = |policy: &Policy| {
            let percentiles = policy.statistics.percentiles.iter();
            percentiles.map(|percentile| quantile(percentile.percent())).collect()
        };
        Self {
            quantiles: totals.policies.iter().map(quantiles).collect(),
            policies: &totals.policies,
            family: MetricFamily { metric: vec![Metric::default()], ..MetricFamily::default() },
        }
    }

    fn of(&mut self, shape: Shape, member: &Member) -> &MetricFamily {
        let Self { quantiles, policies, family } = self;
        let metric = &mut family.metric[0];
        set_labels(&mut metric.label, &member.labels);
        // Theirs is the memory of lists.
        let summary = metric.summary.take();
        let histogram = metric.histogram.take();
        (metric.counter, metric.gauge) = (None, None);
        let began = Some(timestamp(member.began));
        match &member.total {
            Total::Counter(value) => {
                metric.counter = Some(Counter { value: *value, created_timestamp: began });
            }
            Total::Gauge(value) => metric.gauge = Some(Gauge { value: *value }),
            Total::Distribution(total) => {
                let Distribution { count, sum, quantiles: values, buckets, native } = &**total;
                if shape == Shape::Histogram {
                    let Histogram { mut bucket, .. } = histogram.unwrap_or_default();
                    bucket.clear();
                    let bounds = &policies.get(member.policy).statistics.bounds;
                    bucket.extend(bounds.iter().zip(buckets).map(|(&upper_bound, &weight)| Bucket {
                        cumulative_count: rounded(weight),
                        cumulative_count_float: unless_whole(weight),
                        upper_bound,
                    }));
                    let counted = match native.as_deref() {
                        Some(NativeHistogram { schema, zero, positive, negative }) => {
                            native::histogram(*schema, *zero, positive, negative, *sum)
                        }
                        None => Histogram {
                            sample_count: rounded(*count),
                            sample_count_float: unless_whole(*count),
                            sample_sum: *sum,
                            ..Histogram::default()
                        },
                    };
                    metric.histogram = Some(Histogram { bucket, created_timestamp: began, ..counted });
                } else {
                    let Summary { mut quantile, .. } = summary.unwrap_or_default();
                    quantile.clear();
                    let pairs = quantiles[member.policy.index()].iter().zip(values);
                    quantile.extend(pairs.map(|(&quantile, &value)| Quantile { quantile, value }));
                    metric.summary = Some(Summary {
                        sample_count: rounded(*count),
                        sample_sum: *sum,
                        quantile,
                        created_timestamp: began,
                    });
                }
            }
        }
        family
    }
}

/// Writes labels into those of another member, whose memory they take over.
fn set_labels(labels: &mut Vec<LabelPair>, text: &str) {
    let mut count = 0;
    for (name, value) in pairs(text) {
        if count == labels.len() {
            labels.push(LabelPair::default());
        }
        let label = &mut labels[count];
        label.name.clear();
        label.name.push_str(name);
        label.value.clear();
        label.value.push_str(&value);
        count += 1;
    }
    labels.truncate(count);
}

/// Half of one is one. What is beyond 2^64 is the largest integer.
fn rounded(count: f64) -> u64 {
    count.round() as u64
}

/// A count that an integer cannot tell, else 0.
fn unless_whole(count: f64) -> f64 {
    if rounded(count) as f64 == count { 0.0 } else { count }
}

/// `seconds` since 1970, to the millisecond.
fn timestamp(seconds: f64) -> Timestamp {
    let millis = (seconds * 1e3).round() as i64;
    Timestamp { seconds: millis.div_euclid(1000), nanos: millis.rem_euclid(1000) as i32 * 1_000_000 }
}

#[cfg(test)]
pub(super) mod tests {
    use std::convert::Infallible;

    use super::super::line::push_line;
    use super::super::text::tests::{add, row, totals};
    use super::super::{Format, Naming};
    use super::*;
    use crate::model::Summary as Aggregate;
    use crate::model::{Exposition, Kind, Series, Value};
    use crate::text::number::push_number;

    fn families(mut page: &[u8]) -> Vec<MetricFamily> {
        let mut families = Vec::new();
        while !page.is_empty() {
            families.push(MetricFamily::decode_length_delimited(&mut page).unwrap());
        }
        families
    }

    fn page(totals: &Totals, format: Format) -> Vec<u8> {
        let mut page = Vec::new();
        let Ok(()) = format.render(totals, |piece| -> Result<(), Infallible> {
            page.extend_from_slice(piece);
            Ok(())
        });
        page
    }

    /// What the text format has of such a page. Counts are the floats, where there are some.
    pub(in super::super) fn as_text(page: &[u8]) -> String {
        let mut text = String::new();
        for MetricFamily { name, help, r#type, metric } in families(page) {
            let type_name = ["counter", "gauge", "summary", "untyped", "histogram"][r#type as usize];
            text.extend(["# HELP ", &name, " ", &help, "\n# TYPE ", &name, " ", type_name, "\n"]);
            for Metric { label, gauge, counter, summary, histogram } in metric {
                let escape =
                    |value: &str| value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
                let labels: Vec<_> = label
                    .iter()
                    .map(|label| format!("{}=\"{}\"", label.name, escape(&label.value)))
                    .collect();
                let labels = labels.join(",");
                let mut push = |suffix, extra: Option<(&str, f64)>, value: f64| {
                    let mut number = String::new();
                    extra.inspect(|(_, bound)| push_number(&mut number, *bound));
                    let number = if number == "inf" { "+Inf" } else { &number };
                    let extra = extra.map(|(label, _)| (label, number));
                    push_line(&mut text, [&name, suffix], &labels, extra, value);
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
                        for Bucket { upper_bound, cumulative_count, cumulative_count_float } in
                            histogram.bucket
                        {
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

    /// The name of each histogram, and the schema of each of its members that has exponential buckets.
    pub(in super::super) fn schemas(page: &[u8]) -> Vec<(String, Vec<Option<i32>>)> {
        let schema = |metric: &Metric| {
            let histogram = metric.histogram.as_ref()?;
            // As Prometheus tells them apart.
            let is_native = histogram.zero_threshold > 0.0
                || !histogram.positive_span.is_empty()
                || !histogram.negative_span.is_empty();
            is_native.then_some(histogram.schema)
        };
        let histograms = families(page).into_iter().filter(|family| family.r#type() == MetricType::Histogram);
        histograms.map(|family| (family.name, family.metric.iter().map(schema).collect())).collect()
    }

    fn assert_is_the_text_page(totals: &Totals) {
        let text = String::from_utf8(page(totals, Format::Text)).unwrap();
        assert_eq!(as_text(&page(totals, Format::Protobuf)), text);
    }

    #[test]
    fn it_has_what_the_text_page_has() {
        for timings in [Exposition::Summary, Exposition::Histogram] {
            let mut totals = totals(Naming::Prometheus, timings);
            assert_is_the_text_page(&totals);
            for value in [100.0, 0.0, -2.5] {
                let rows = vec![
                    row(Kind::Timing, "api.latency", &[("env", "a\"b\\c"), ("é", "\\n\",x=\"")], value),
                    row(Kind::Timing, "api.latency", &[], value),
                    row(Kind::Counter, "hits", &[], value.abs()),
                    row(Kind::Counter, "hits", &[("a", ""), ("b", "🦀,"), ("c", "=")], value.abs()),
                    row(Kind::Counter, "hits", &[("b", "}")], value.abs()),
                    row(Kind::Gauge, "queue", &[("le", "1")], value),
                    row(Kind::Set, "users", &[], 7.0),
                    row(Kind::Distribution, "size", &[], value),
                ];
                assert_eq!(add(&mut totals, rows), []);
                assert_is_the_text_page(&totals);
            }
            // Quantiles are gone, and gauges.
            add(&mut totals, Vec::new());
            assert_is_the_text_page(&totals);
        }
    }

    #[test]
    fn a_family_of_many_pieces_is_whole() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary);
        let tagged = |n| row(Kind::Counter, "c", &[("n", &format!("{n:05}"))], f64::from(n));
        add(&mut totals, (0..5000).map(tagged).collect());
        assert!(page(&totals, Format::Protobuf).len() > 2 * PIECE);
        assert_is_the_text_page(&totals);
    }

    #[test]
    fn bytes_are_those_of_the_specification() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary);
        add(&mut totals, vec![row(Kind::Gauge, "g", &[("k", "v")], -1.5)]);
        let expected = [
            &b"\x29"[..],
            b"\x0a\x01g\x12\x0dStatsD gauge.\x18\x01",
            b"\x22\x13\x0a\x06\x0a\x01k\x12\x01v\x12\x09\x09",
            &(-1.5_f64).to_le_bytes(),
        ];
        assert_eq!(page(&totals, Format::Protobuf), expected.concat());
    }

    #[test]
    fn members_have_the_time_of_their_beginning() {
        for timings in [Exposition::Summary, Exposition::Histogram] {
            let mut totals = totals(Naming::Prometheus, timings);
            let rows = vec![row(Kind::Counter, "c", &[], 1.0), row(Kind::Timing, "t", &[], 1.0)];
            (0..2).for_each(|_| _ = add(&mut totals, rows.clone()));
            let began = Some(Timestamp { seconds: 1000, nanos: 250_000_000 });
            for family in families(&page(&totals, Format::Protobuf)) {
                let Metric { counter, summary, histogram, .. } = family.metric[0].clone();
                let times = [
                    counter.map(|counter| counter.created_timestamp),
                    summary.map(|summary| summary.created_timestamp),
                    histogram.map(|histogram| histogram.created_timestamp),
                ];
                assert_eq!(times.into_iter().flatten().collect::<Vec<_>>(), [began]);
            }
        }
    }

    #[test]
    fn counts_in_parts_are_rounded_and_those_of_histograms_told_as_they_are_beside() {
        let counted = |timings, count: f64| {
            let mut totals = totals(Naming::Prometheus, timings);
            let summary = Aggregate { count, buckets: [0.4, count].into(), ..Aggregate::default() };
            let value = Value::Summary(Box::new(summary));
            add(&mut totals, vec![(Series::new(Kind::Histogram, "h", &[]), value)]);
            families(&page(&totals, Format::Protobuf))[0].metric[0].clone()
        };
        let cases = [
            (1.0 / 0.3, 3, 1.0 / 0.3),
            (2.5, 3, 2.5),
            (4.0, 4, 0.0),
            (1e18, 1_000_000_000_000_000_000, 0.0),
            (1e30, u64::MAX, 1e30),
        ];
        for (count, whole, float) in cases {
            assert_eq!(counted(Exposition::Summary, count).summary.unwrap().sample_count, whole);
            let histogram = counted(Exposition::Histogram, count).histogram.unwrap();
            assert_eq!((histogram.sample_count, histogram.sample_count_float), (whole, float));
            let bucket = |upper_bound, cumulative_count, cumulative_count_float| Bucket {
                cumulative_count,
                cumulative_count_float,
                upper_bound,
            };
            assert_eq!(histogram.bucket, [bucket(0.1, 0, 0.4), bucket(1.0, whole, float)]);
        }
    }
}
