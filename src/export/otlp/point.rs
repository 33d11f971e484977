//! Turns the result of a series into a point of OpenTelemetry.

use super::message::{
    Attribute, Buckets, Data, ExponentialHistogram, ExponentialPoint, Gauge, Histogram, HistogramPoint,
    Number, NumberValue, QuantileValue, Sum, Summary, SummaryPoint, TemporalityCode,
};
use crate::model::Summary as Aggregate;
use crate::model::{Exposition, Kind, MILLISECONDS, NativeHistogram, Policy};

/// The values of a timing, a histogram or a distribution, over one interval or over all. Timings are in seconds.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Values {
    pub(super) count: f64,
    pub(super) sum: f64,
    pub(super) min: f64,
    pub(super) max: f64,
    /// In the order of the policy's percentiles. They always cover the latest interval.
    pub(super) percentiles: Vec<f64>,
    /// The weight up to each bound of the policy.
    pub(super) buckets: Vec<f64>,
    pub(super) native: Option<NativeHistogram>,
}

impl Values {
    /// Returns the values of an interval. tallyd aggregates timings in milliseconds.
    pub(super) fn new(kind: Kind, summary: &Aggregate) -> Self {
        let divisor = if kind == Kind::Timing { MILLISECONDS } else { 1.0 };
        let Aggregate { count, sum, min, max, percentiles, buckets, native, .. } = summary;
        Self {
            count: *count,
            sum: sum / divisor,
            min: min / divisor,
            max: max / divisor,
            percentiles: percentiles.iter().map(|value| value / divisor).collect(),
            // These two count in seconds already.
            buckets: buckets.to_vec(),
            native: native.as_deref().cloned(),
        }
    }
}

/// The time that a point covers, in nanoseconds since 1970.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) end: u64,
}

/// The points of one metric.
#[derive(Debug)]
pub(super) enum Points {
    Gauge(Vec<Number>),
    Sum(Vec<Number>),
    Histogram(Vec<HistogramPoint>),
    Exponential(Vec<ExponentialPoint>),
    Summary(Vec<SummaryPoint>),
}

impl Points {
    /// Returns the point of a gauge or a set.
    pub(super) fn gauge(attributes: Vec<Attribute>, span: Span, value: f64) -> Self {
        // A gauge has no beginning.
        Points::Gauge(vec![number(attributes, Span { start: 0, ..span }, value)])
    }

    /// Returns the point of a counter.
    pub(super) fn sum(attributes: Vec<Attribute>, span: Span, value: f64) -> Self {
        Points::Sum(vec![number(attributes, span, value)])
    }

    /// Returns the point of a distribution: an exponential histogram if its policy asks for one, a histogram with the policy's
    /// bounds if it has some, and otherwise a summary with percentiles.
    pub(super) fn distribution(
        attributes: Vec<Attribute>,
        Span { start, end }: Span,
        values: Values,
        policy: &Policy,
    ) -> Self {
        let Values { count, sum, min, max, percentiles, buckets, native } = values;
        let is_summary = policy.exposition == Exposition::Summary;
        match native {
            Some(native) if !is_summary => Points::Exponential(vec![ExponentialPoint {
                attributes,
                start_time_unix_nano: start,
                time_unix_nano: end,
                sum: Some(sum),
                min: Some(min),
                max: Some(max),
                ..exponential(&native)
            }]),
            _ if !is_summary => {
                let bounds = policy.statistics.bounds.clone();
                let below: Vec<_> = buckets.into_iter().chain([count]).collect();
                let counts = whole(
                    below
                        .iter()
                        .enumerate()
                        .map(|(index, weight)| weight - if index == 0 { 0.0 } else { below[index - 1] }),
                );
                Points::Histogram(vec![HistogramPoint {
                    attributes,
                    start_time_unix_nano: start,
                    time_unix_nano: end,
                    count: counts.iter().sum(),
                    sum: Some(sum),
                    bucket_counts: counts,
                    explicit_bounds: bounds,
                    min: Some(min),
                    max: Some(max),
                }])
            }
            _ => {
                let quantiles = policy.statistics.percentiles.iter().map(|percentile| percentile.quantile());
                let pairs = quantiles.zip(percentiles);
                Points::Summary(vec![SummaryPoint {
                    attributes,
                    start_time_unix_nano: start,
                    time_unix_nano: end,
                    count: count.round() as u64,
                    sum,
                    quantile_values: pairs
                        .map(|(quantile, value)| QuantileValue { quantile, value })
                        .collect(),
                }])
            }
        }
    }

    /// Appends the points of another series of the same metric. Returns them if they are of another type.
    pub(super) fn append(&mut self, more: Points) -> Result<(), Points> {
        match (self, more) {
            (Points::Gauge(points), Points::Gauge(more)) | (Points::Sum(points), Points::Sum(more)) => {
                points.extend(more);
            }
            (Points::Histogram(points), Points::Histogram(more)) => points.extend(more),
            (Points::Exponential(points), Points::Exponential(more)) => points.extend(more),
            (Points::Summary(points), Points::Summary(more)) => points.extend(more),
            (_, more) => return Err(more),
        }
        Ok(())
    }

    pub(super) fn into_data(self, temporality: TemporalityCode) -> Data {
        let aggregation_temporality = temporality.into();
        match self {
            Points::Gauge(data_points) => Data::Gauge(Gauge { data_points }),
            Points::Sum(data_points) => {
                Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic: true })
            }
            Points::Histogram(data_points) => {
                Data::Histogram(Histogram { data_points, aggregation_temporality })
            }
            Points::Exponential(data_points) => {
                Data::Exponential(ExponentialHistogram { data_points, aggregation_temporality })
            }
            Points::Summary(data_points) => Data::Summary(Summary { data_points }),
        }
    }
}

fn number(attributes: Vec<Attribute>, Span { start, end }: Span, value: f64) -> Number {
    Number {
        attributes,
        start_time_unix_nano: start,
        time_unix_nano: end,
        value: Some(NumberValue::Double(value)),
    }
}

/// Rounds weights to counts. Each running sum of the counts is the rounded running sum of the weights, so the fractions do not add
/// up: the total is off by less than one.
fn whole(weights: impl IntoIterator<Item = f64>) -> Vec<u64> {
    let (mut sum, mut before) = (0.0, 0);
    let round = |weight: f64| {
        sum += weight;
        let rounded = f64::round(sum) as u64;
        let count = rounded.saturating_sub(before);
        before = before.max(rounded);
        count
    };
    weights.into_iter().map(round).collect()
}

/// Returns the buckets of a native histogram. OpenTelemetry's bucket i is Prometheus' bucket i + 1, and its scale is the schema.
fn exponential(native: &NativeHistogram) -> ExponentialPoint {
    let NativeHistogram { schema, zero, positive, negative } = native;
    let weights =
        [*zero].into_iter().chain([positive, negative].into_iter().flatten().map(|bucket| bucket.1));
    let counts = whole(weights);
    let (of_positive, of_negative) = counts[1..].split_at(positive.len());
    ExponentialPoint {
        count: counts.iter().sum(),
        scale: i32::from(*schema),
        zero_count: counts[0],
        positive: buckets(positive, of_positive),
        negative: buckets(negative, of_negative),
        ..ExponentialPoint::default()
    }
}

/// Returns the counts of consecutive buckets. The empty ones between those of the native histogram have the count 0.
fn buckets(native: &[(i32, f64)], counts: &[u64]) -> Option<Buckets> {
    let (first, last) = (native.first()?.0, native.last()?.0);
    let mut bucket_counts = vec![0; (last - first) as usize + 1];
    for (&(index, _), &count) in native.iter().zip(counts) {
        bucket_counts[(index - first) as usize] = count;
    }
    Some(Buckets { offset: first - 1, bucket_counts })
}

#[cfg(test)]
mod tests {
    use proptest::collection::{btree_map, vec};
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_have_the_bounds_of_opentelemetry() {
        // With schema 0, Prometheus' bucket 1 holds (1, 2], which is OpenTelemetry's bucket 0.
        let native = NativeHistogram::new(0, 2.0, [(1, 3.0), (4, 1.0)], [(-2, 5.0)]);
        let point = exponential(&native);
        assert_eq!((point.count, point.zero_count, point.scale), (11, 2, 0));
        assert_eq!(point.positive, Some(Buckets { offset: 0, bucket_counts: vec![3, 0, 0, 1] }));
        assert_eq!(point.negative, Some(Buckets { offset: -3, bucket_counts: vec![5] }));
        assert_eq!(exponential(&NativeHistogram::new(3, 0.0, [], [])).positive, None);
    }

    proptest! {
        #[test]
        fn rounded_counts_add_up_to_the_rounded_total(weights in vec(0.0..10.0, 0..40)) {
            let counts = whole(weights.iter().copied());
            let total: f64 = weights.iter().sum();
            prop_assert!((counts.iter().sum::<u64>() as f64 - total).abs() <= 0.5 + 1e-9);
            for (count, weight) in counts.iter().zip(&weights) {
                prop_assert!((*count as f64 - weight).abs() < 1.0 + 1e-9);
            }
        }

        #[test]
        fn whole_weights_keep_their_buckets(weights in btree_map(-50..50_i32, 1..9_u32, 0..20)) {
            let native = weights.iter().map(|(index, weight)| (*index, f64::from(*weight)));
            let point = exponential(&NativeHistogram::new(2, 0.0, native, []));
            prop_assert_eq!(point.count, weights.values().map(|weight| u64::from(*weight)).sum::<u64>());
            let Buckets { offset, bucket_counts } = point.positive.unwrap_or_default();
            let read = (offset + 1..).zip(bucket_counts).filter(|(_, count)| *count > 0);
            let read: Vec<_> = read.map(|(index, count)| (index, count as u32)).collect();
            prop_assert_eq!(read, weights.into_iter().collect::<Vec<_>>());
        }
    }
}
