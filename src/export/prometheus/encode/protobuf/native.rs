//! Encodes a native histogram as a message.

use std::iter;

use super::messages::{BucketSpan, Histogram};

/// 2^-128. By default, client_golang also counts values up to this one as zero.
const ZERO_THRESHOLD: f64 = 2.938_735_877_055_719e-39;

/// 2^53. Sums of whole numbers below it are exact.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// Encodes a native histogram. `zero` is the weight of zero. The buckets are in ascending order of their indices, and
/// no weight is negative. The bucket with index i holds the values above b^(i-1) and up to b^i, where b is
/// 2^(2^-schema).
///
/// The counts are integers if all weights are whole, and floats otherwise. The total count is the sum of the weights.
/// Otherwise Prometheus would refuse the whole page.
pub(super) fn histogram(
    schema: i8,
    zero: f64,
    positive: &[(i32, f64)],
    negative: &[(i32, f64)],
    sum: f64,
) -> Histogram {
    let (negative_span, negative) = spans(negative);
    let (mut positive_span, positive) = spans(positive);
    if negative_span.is_empty() && positive_span.is_empty() {
        // This marks the histogram as native, even for readers that ignore the threshold.
        positive_span.push(BucketSpan { offset: 0, length: 0 });
    }
    // The sum has Prometheus' order, so rounding cannot make the buckets exceed the total.
    let count = negative.iter().sum::<f64>() + positive.iter().sum::<f64>() + zero;
    let histogram = Histogram {
        sample_sum: sum,
        schema: i32::from(schema),
        zero_threshold: ZERO_THRESHOLD,
        negative_span,
        positive_span,
        ..Histogram::default()
    };
    let mut weights = negative.iter().chain(&positive).chain(iter::once(&zero));
    if count < EXACT && weights.all(|weight| weight.fract() == 0.0) {
        Histogram {
            sample_count: count as u64,
            zero_count: zero as u64,
            negative_delta: deltas(&negative),
            positive_delta: deltas(&positive),
            ..histogram
        }
    } else {
        Histogram {
            sample_count_float: count,
            zero_count_float: zero,
            negative_count: negative,
            positive_count: positive,
            ..histogram
        }
    }
}

/// Returns the spans of buckets, and the weights of all buckets in them. A span includes gaps of one or two empty
/// buckets. An empty bucket takes a byte or two, and a new span takes more. client_golang has the same limit.
fn spans(buckets: &[(i32, f64)]) -> (Vec<BucketSpan>, Vec<f64>) {
    let mut spans: Vec<BucketSpan> = Vec::new();
    let mut weights = Vec::with_capacity(buckets.len());
    let mut next = 0;
    for &(index, weight) in buckets {
        let gap = index - next;
        match spans.last_mut() {
            Some(span) if gap <= 2 => {
                weights.extend(iter::repeat_n(0.0, gap as usize));
                span.length += gap as u32 + 1;
            }
            _ => spans.push(BucketSpan { offset: gap, length: 1 }),
        }
        weights.push(weight);
        next = index + 1;
    }
    (spans, weights)
}

/// Returns the difference between each weight and the one before it.
fn deltas(weights: &[f64]) -> Vec<i64> {
    let before = iter::once(&0.0).chain(weights);
    weights.iter().zip(before).map(|(weight, before)| (weight - before) as i64).collect()
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_map;
    use proptest::prelude::*;
    use prost::Message;

    use super::*;

    fn span(offset: i32, length: u32) -> BucketSpan {
        BucketSpan { offset, length }
    }

    #[test]
    fn whole_weights_are_counted_in_integers() {
        let positive = [(-3, 2.0), (-2, 5.0), (1, 1.0), (5, 4.0)];
        let negative = [(7, 3.0)];
        assert_eq!(
            histogram(3, 2.0, &positive, &negative, -1.5),
            Histogram {
                sample_count: 17,
                sample_sum: -1.5,
                schema: 3,
                zero_threshold: 2.0_f64.powi(-128),
                zero_count: 2,
                // Two empty buckets belong to the span, and three begin a new one.
                positive_span: vec![span(-3, 5), span(3, 1)],
                positive_delta: vec![2, 3, -5, 0, 1, 3],
                negative_span: vec![span(7, 1)],
                negative_delta: vec![3],
                ..Histogram::default()
            }
        );
    }

    #[test]
    fn fractional_and_very_large_weights_are_counted_in_floats() {
        let third = 1.0 / 0.3;
        let expected = Histogram {
            sample_count_float: 2.0 * third + 1.0,
            sample_sum: 7.0,
            schema: -4,
            zero_threshold: ZERO_THRESHOLD,
            zero_count_float: 1.0,
            positive_span: vec![span(0, 2)],
            positive_count: vec![third, third],
            ..Histogram::default()
        };
        assert_eq!(histogram(-4, 1.0, &[(0, third), (1, third)], &[], 7.0), expected);
        let large = histogram(0, 0.0, &[(0, EXACT), (1, 1e300)], &[], 1e300);
        assert_eq!((large.sample_count, large.sample_count_float), (0, 1e300));
        assert_eq!(large.positive_count, [EXACT, 1e300]);
    }

    #[test]
    fn histogram_without_buckets_has_an_empty_span() {
        for zero in [0.0, 3.0, 0.5] {
            let histogram = histogram(0, zero, &[], &[], 0.0);
            assert_eq!(histogram.positive_span, [span(0, 0)]);
            assert_eq!(histogram.sample_count as f64 + histogram.sample_count_float, zero);
            assert_eq!(histogram.zero_count as f64 + histogram.zero_count_float, zero);
        }
    }

    /// Reads the buckets that are not empty from a message.
    fn read(spans: &[BucketSpan], deltas: &[i64], counts: &[f64]) -> Vec<(i32, f64)> {
        let sums = deltas.iter().scan(0, |sum, delta| {
            *sum += delta;
            Some(*sum as f64)
        });
        let mut weights = sums.chain(counts.iter().copied());
        let mut index = 0;
        let mut buckets = Vec::new();
        for BucketSpan { offset, length } in spans {
            index += offset;
            for _ in 0..*length {
                buckets.push((index, weights.next().unwrap()));
                index += 1;
            }
        }
        assert_eq!(weights.next(), None);
        buckets.retain(|(_, weight)| *weight != 0.0);
        buckets
    }

    fn buckets(weights: impl Strategy<Value = f64>) -> impl Strategy<Value = Vec<(i32, f64)>> {
        btree_map(-20..20_i32, weights, 0..12).prop_map(|buckets| buckets.into_iter().collect())
    }

    fn weights() -> impl Strategy<Value = (f64, Vec<(i32, f64)>, Vec<(i32, f64)>)> {
        let whole = || (1..1000_u32).prop_map(f64::from);
        prop_oneof![
            (0..9_u32, buckets(whole()), buckets(whole())).prop_map(|(zero, a, b)| (f64::from(zero), a, b)),
            (0.0..9.0, buckets(0.1..1000.0), buckets(0.1..1000.0)),
        ]
    }

    proptest! {
        #[test]
        fn every_weight_is_read_back_in_its_bucket(
            schema in -4..=8_i8,
            (zero, positive, negative) in weights(),
            sum in -1e9..1e9,
        ) {
            let histogram = histogram(schema, zero, &positive, &negative, sum);
            let histogram = Histogram::decode(&histogram.encode_to_vec()[..]).unwrap();
            let Histogram {
                positive_span, positive_delta, positive_count, negative_span, negative_delta, negative_count, ..
            } = &histogram;
            prop_assert_eq!(read(positive_span, positive_delta, positive_count), &positive[..]);
            prop_assert_eq!(read(negative_span, negative_delta, negative_count), &negative[..]);
            prop_assert_eq!(histogram.zero_count as f64 + histogram.zero_count_float, zero);
            let in_buckets: f64 =
                negative_count.iter().sum::<f64>() + positive_count.iter().sum::<f64>();
            // Otherwise Prometheus 2.42 refuses the page.
            prop_assert!(in_buckets <= histogram.sample_count_float);
            prop_assert_eq!((histogram.schema, histogram.sample_sum), (i32::from(schema), sum));
        }
    }
}
