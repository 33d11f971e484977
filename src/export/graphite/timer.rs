//! Computes statsd's statistics of a timer.
//!
//! The formulas are those of statsd's `lib/process_metrics.js`. There, each value counts once. Here, a value counts as often as its
//! weight says, so the numbers are the same if no client sends a sample rate.

/// The values of a timer in an interval, in ascending order, with their weights.
pub(super) type Weighted<'a> = &'a [(f64, f64)];

/// Statistics of the values up to a threshold, or from one on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Threshold {
    pub(super) count: f64,
    pub(super) mean: f64,
    /// The largest value for a positive percentage, and the smallest one for a negative percentage.
    pub(super) boundary: f64,
    pub(super) sum: f64,
    pub(super) sum_squares: f64,
}

/// Returns the sum of the squares.
pub(super) fn sum_squares(values: Weighted<'_>) -> f64 {
    values.iter().map(|(value, weight)| value * value * weight).sum()
}

/// Returns the statistics of the smallest values that make up `percent` of all, or of the largest ones if `percent` is negative.
/// Returns `None` if that is no value.
pub(super) fn threshold(values: Weighted<'_>, percent: f64) -> Option<Threshold> {
    let all = weight(values);
    let count = if all > 1.0 { (percent.abs() / 100.0 * all).round() } else { all };
    if count == 0.0 {
        return None;
    }
    let within: Vec<_> = if percent > 0.0 {
        up_to(values, count).collect()
    } else {
        let backwards: Vec<_> = values.iter().rev().copied().collect();
        up_to(&backwards, count).collect()
    };
    let sum = within.iter().map(|(value, weight)| value * weight).sum();
    Some(Threshold {
        count,
        mean: sum / count,
        boundary: within.last().map_or(0.0, |(value, _)| *value),
        sum,
        sum_squares: sum_squares(&within),
    })
}

/// Returns the number of values: the sum of their weights.
fn weight(values: Weighted<'_>) -> f64 {
    values.iter().map(|(_, weight)| weight).sum()
}

/// Returns the first values whose weights add up to `count`. Only a part of the last one may count.
fn up_to(values: Weighted<'_>, count: f64) -> impl Iterator<Item = (f64, f64)> {
    let mut left = count;
    values.iter().map_while(move |&(value, weight)| {
        let taken = weight.min(left);
        left -= taken;
        (taken > 0.0).then_some((value, taken))
    })
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;

    fn once(values: &[f64]) -> Vec<(f64, f64)> {
        values.iter().map(|value| (*value, 1.0)).collect()
    }

    /// The cases and numbers are those of statsd's own tests (`test/process_metrics_tests.js`).
    #[test]
    fn numbers_are_those_of_statsd() {
        let values = once(&[1.0, 2.0, 3.0]);
        assert_eq!(sum_squares(&values), 14.0);
        let ten = once(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 9.0, 10.0]);
        let expected = Threshold { count: 9.0, mean: 5.0, boundary: 9.0, sum: 45.0, sum_squares: 285.0 };
        assert_eq!(threshold(&ten, 90.0), Some(expected));
        let top = Threshold { count: 8.0, mean: 6.5, boundary: 3.0, sum: 52.0, sum_squares: 380.0 };
        assert_eq!(threshold(&ten, -80.0), Some(top));
        assert_eq!(threshold(&ten, 1.0), None);
        let one = Threshold { count: 1.0, mean: 7.0, boundary: 7.0, sum: 7.0, sum_squares: 49.0 };
        assert_eq!(threshold(&once(&[7.0]), 1.0), Some(one), "a single value is within each threshold");
    }

    #[test]
    fn a_weight_counts_like_as_many_equal_values() {
        let (weighted, repeated) = ([(1.0, 3.0), (5.0, 2.0)], once(&[1.0, 1.0, 1.0, 5.0, 5.0]));
        for percent in [10.0, 50.0, 60.0, 80.0, 100.0, -20.0, -50.0] {
            assert_eq!(threshold(&weighted, percent), threshold(&repeated, percent), "{percent}");
        }
    }

    proptest! {
        #[test]
        fn thresholds_equal_the_naive_ones(mut values in vec(-100..100_i32, 2..40), percent in 1..=100_u32) {
            values.sort_unstable();
            let values: Vec<_> = values.into_iter().map(f64::from).collect();
            let count = (f64::from(percent) / 100.0 * values.len() as f64).round() as usize;
            let naive = |part: &[f64], boundary: f64| Threshold {
                count: part.len() as f64,
                mean: part.iter().sum::<f64>() / part.len() as f64,
                boundary,
                sum: part.iter().sum(),
                sum_squares: part.iter().map(|value| value * value).sum(),
            };
            let lower = (count > 0).then(|| naive(&values[..count], values[count - 1]));
            let upper = (count > 0).then(|| naive(&values[values.len() - count..], values[values.len() - count]));
            prop_assert_eq!(threshold(&once(&values), f64::from(percent)), lower);
            prop_assert_eq!(threshold(&once(&values), -f64::from(percent)), upper);
        }
    }
}
