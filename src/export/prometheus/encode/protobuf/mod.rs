//! Encodes Prometheus' protobuf format, the only format with native histograms.
//!
//! A page is a sequence of families, each preceded by its length. The names are the same as in the text format. Every
//! family keeps its type: Prometheus turns the messages into lines, and [`admission`](super::super::admission) lets no
//! two families have lines of the same name.
//!
//! A family may have a million members, and its length comes first. So the family is never in memory as a whole. The
//! walk visits the members beyond the first piece twice, to measure them and then to write them. One message is reused
//! for all of them.
//!
//! Sample rates can make counts fractional. The count of a summary is rounded, because its field is an integer. The
//! counts of a histogram are rounded for Prometheus before 2.45, which reads only the integers. Later versions read the
//! exact counts in other fields.

#[cfg(test)]
pub(in crate::export::prometheus) mod decoded;
mod messages;
mod native;

use std::borrow::Cow;

use prost::Message;

use self::messages::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType, Quantile, Summary,
    Timestamp,
};
pub(in crate::export::prometheus) use self::messages::{BucketSpan, Histogram as NativeMessage};
use super::lines::{Names, help};
use super::walk::Encoder;
use crate::export::exporter::PIECE;
use crate::export::prometheus::families::{Distribution, Family, Member, Members, Total};
use crate::export::prometheus::family_type::{FamilyType, LineKind};
use crate::export::prometheus::names::{pairs, unescaped, utf8_pairs};
use crate::export::prometheus::totals::Totals;
use crate::model::{NativeHistogram, Policies, Policy};

/// Encodes each family as a message.
pub(super) struct Protobuf<'a> {
    totals: &'a Totals,
    bytes: Vec<u8>,
    /// The first members of the current family. This field and the next one are reused for their memory.
    start: Vec<u8>,
    head: MetricFamily,
    names: Names<'a>,
    members: MemberMessage<'a>,
}

impl<'a> Protobuf<'a> {
    pub(super) fn new(totals: &'a Totals, names: Names<'a>) -> Self {
        Self {
            totals,
            bytes: Vec::with_capacity(3 * PIECE),
            start: Vec::with_capacity(2 * PIECE),
            head: MetricFamily::default(),
            names,
            members: MemberMessage::new(&totals.policies, names),
        }
    }
}

impl<'a> Encoder<'a> for Protobuf<'a> {
    fn begin_section(&mut self, family: &'a Family, _: &[LineKind], members: &mut Members<'a>) {
        let Self { totals, bytes, start, head, names, members: message } = self;
        let family_type = family.metric_type;
        head.name.clear();
        let name = names.of_family(family, members.clone());
        head.name.push_str(&if name.is_quoted { unescaped(name.text).into() } else { Cow::from(name.text) });
        head.help.clear();
        head.help.push_str(&help(&totals.policies, family, &[]));
        head.set_type(match family_type {
            FamilyType::Counter => MetricType::Counter,
            FamilyType::Gauge => MetricType::Gauge,
            FamilyType::Summary => MetricType::Summary,
            FamilyType::Histogram | FamilyType::NativeHistogram => MetricType::Histogram,
        });
        // Most families fit into this piece.
        start.clear();
        for member in members.by_ref() {
            message.fill(family_type, member).encode(start).expect(GROWS);
            if start.len() >= PIECE {
                break;
            }
        }
        let measure = |member| message.fill(family_type, member).encoded_len();
        let length = head.encoded_len() + start.len() + members.clone().map(measure).sum::<usize>();
        prost::encode_length_delimiter(length, bytes).expect(GROWS);
        head.encode(bytes).expect(GROWS);
        bytes.extend_from_slice(start);
    }

    fn encode_member(&mut self, family: &'a Family, _: &[LineKind], member: &'a Member) {
        self.members.fill(family.metric_type, member).encode(&mut self.bytes).expect(GROWS);
    }

    fn encoded(&self) -> &[u8] {
        &self.bytes
    }

    fn clear(&mut self) {
        self.bytes.clear();
    }
}

const GROWS: &str = "a Vec grows until the message fits";

/// The message of one member. It is reused for all members, so their lists and texts are allocated only once.
struct MemberMessage<'a> {
    /// The quantiles, by policy.
    quantiles: Vec<Vec<f64>>,
    policies: &'a Policies,
    names: Names<'a>,
    /// A family that contains only this member. Readers merge consecutive messages. So a family without members,
    /// followed by one message per member, is read as one family.
    family: MetricFamily,
}

impl<'a> MemberMessage<'a> {
    fn new(policies: &'a Policies, names: Names<'a>) -> Self {
        let quantiles = |policy: &Policy| {
            let percentiles = policy.statistics.percentiles.iter();
            percentiles.map(|percentile| percentile.quantile()).collect()
        };
        Self {
            quantiles: policies.iter().map(quantiles).collect(),
            policies,
            names,
            family: MetricFamily { metric: vec![Metric::default()], ..MetricFamily::default() },
        }
    }

    /// Fills in the message of this member.
    fn fill(&mut self, family_type: FamilyType, member: &'a Member) -> &MetricFamily {
        let Self { quantiles, policies, names, family } = self;
        let metric = &mut family.metric[0];
        match names.utf8_labels(member) {
            Some(labels) => set_labels(&mut metric.label, utf8_pairs(labels)),
            None => set_labels(&mut metric.label, pairs(&member.labels)),
        }
        // This reuses the lists of the previous member.
        let summary = metric.summary.take();
        let histogram = metric.histogram.take();
        (metric.counter, metric.gauge) = (None, None);
        let began = Some(timestamp(member.began));
        match &member.total {
            Total::Counter(value) => {
                metric.counter = Some(Counter { value: *value, created_timestamp: began });
            }
            Total::Gauge(value) => metric.gauge = Some(Gauge { value: *value }),
            Total::Distribution(total) if family_type == FamilyType::Summary => {
                let Summary { mut quantile, .. } = summary.unwrap_or_default();
                quantile.clear();
                let pairs = quantiles[member.policy.id().index()].iter().zip(&total.quantiles);
                quantile.extend(pairs.map(|(&quantile, &value)| Quantile { quantile, value }));
                metric.summary = Some(Summary {
                    sample_count: rounded(total.count),
                    sample_sum: total.sum,
                    quantile,
                    created_timestamp: began,
                });
            }
            Total::Distribution(total) => {
                let Distribution { count, sum, buckets, .. } = &**total;
                let Histogram { mut bucket, .. } = histogram.unwrap_or_default();
                bucket.clear();
                let bounds = &policies.get(member.policy.id()).statistics.bounds;
                bucket.extend(bounds.iter().zip(buckets).map(|(&upper_bound, &weight)| Bucket {
                    cumulative_count: rounded(weight),
                    cumulative_count_float: unless_whole(weight),
                    upper_bound,
                }));
                let counts = native_message(total).unwrap_or_else(|| Histogram {
                    sample_count: rounded(*count),
                    sample_count_float: unless_whole(*count),
                    sample_sum: *sum,
                    ..Histogram::default()
                });
                metric.histogram = Some(Histogram { bucket, created_timestamp: began, ..counts });
            }
        }
        family
    }
}

/// Returns the native histogram of a distribution, if it has one.
pub(in crate::export::prometheus) fn native_message(total: &Distribution) -> Option<NativeMessage> {
    let NativeHistogram { schema, zero, positive, negative } = total.native.as_deref()?;
    Some(native::histogram(*schema, *zero, positive, negative, total.sum))
}

/// Replaces the labels of another member by these, and reuses their memory.
fn set_labels<'a>(labels: &mut Vec<LabelPair>, pairs: impl Iterator<Item = (impl AsRef<str>, Cow<'a, str>)>) {
    let mut count = 0;
    for (name, value) in pairs {
        if count == labels.len() {
            labels.push(LabelPair::default());
        }
        let label = &mut labels[count];
        label.name.clear();
        label.name.push_str(name.as_ref());
        label.value.clear();
        label.value.push_str(&value);
        count += 1;
    }
    labels.truncate(count);
}

/// Rounds a count, and a half upwards. A count beyond 2^64 becomes the largest integer.
fn rounded(count: f64) -> u64 {
    count.round() as u64
}

/// Returns the count if no integer can express it, and 0 otherwise.
fn unless_whole(count: f64) -> f64 {
    if rounded(count) as f64 == count { 0.0 } else { count }
}

/// Converts seconds since 1970 to a timestamp, rounded to the millisecond.
fn timestamp(seconds: f64) -> Timestamp {
    let millis = (seconds * 1e3).round() as i64;
    Timestamp { seconds: millis.div_euclid(1000), nanos: millis.rem_euclid(1000) as i32 * 1_000_000 }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::decoded::{as_text, families, schemas};
    use super::*;
    use crate::export::prometheus::tests::{add, add_under, page, row, text, totals};
    use crate::export::prometheus::{Format, Naming};
    use crate::model::Summary as Aggregate;
    use crate::model::{Exposition, Kind, NativeSettings, Series, Statistics, Value};

    fn assert_says_the_same_as_text(totals: &Totals) {
        assert_eq!(as_text(&page(totals, Format::Protobuf)), text(totals, Format::Text));
        assert_eq!(as_text(&page(totals, Format::ProtobufUtf8)), text(totals, Format::TextUtf8));
    }

    #[test]
    fn messages_say_the_same_as_the_text_format() {
        for timings in [Exposition::Summary, Exposition::Histogram] {
            let mut totals = totals(Naming::Prometheus, timings).with_utf8_names(true);
            assert_says_the_same_as_text(&totals);
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
                assert_says_the_same_as_text(&totals);
            }
            // Now the quantiles and the gauges are gone.
            add(&mut totals, Vec::new());
            assert_says_the_same_as_text(&totals);
        }
    }

    #[test]
    fn family_of_many_pieces_is_complete() {
        let mut totals = totals(Naming::Prometheus, Exposition::Summary);
        let tagged = |n| row(Kind::Counter, "c", &[("n", &format!("{n:05}"))], f64::from(n));
        add(&mut totals, (0..5000).map(tagged).collect());
        assert!(page(&totals, Format::Protobuf).len() > 2 * PIECE);
        assert_says_the_same_as_text(&totals);
    }

    #[test]
    fn bytes_match_the_specification() {
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
    fn native_histograms_have_utf8_names() {
        let native = Some(NativeSettings { schema: 0, max_buckets: 0 });
        let statistics = Statistics { native, ..Statistics::default() };
        let policy = Policy { statistics, exposition: Exposition::Native, ..Policy::default() };
        let mut totals = Totals::new(Naming::Prometheus).with_utf8_names(true);
        let native = Some(Box::new(NativeHistogram::new(0, 0.0, [(1, 2.0)], [])));
        let value =
            Value::Summary(Box::new(Aggregate { count: 2.0, sum: 4.0, native, ..Aggregate::default() }));
        let series = Series::new(Kind::Timing, "request.\"time\\", &[("http.\"code", "200\"")]);
        add_under(&mut totals, Arc::new(Policies::new(vec![policy])), vec![(series, value)]);
        let page = page(&totals, Format::ProtobufUtf8);
        assert_eq!(schemas(&page), [("request.\"time\\_seconds".to_owned(), vec![Some(0)])]);
        let label = LabelPair { name: "http.\"code".to_owned(), value: "200\"".to_owned() };
        assert_eq!(families(&page)[0].metric[0].label, [label]);
    }

    #[test]
    fn members_have_creation_times() {
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
    fn fractional_counts_are_rounded_and_histograms_also_have_exact_counts() {
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
