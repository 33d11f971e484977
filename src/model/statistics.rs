//! The statistics that are computed from the values of an interval.

use super::native_histogram::{NativeHistogram, NativeSettings};
use super::percentile::Percentile;

/// The statistics to compute from the values of a timing, histogram or distribution.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Statistics {
    /// Percentiles in ascending order.
    pub percentiles: Vec<Percentile>,
    /// Upper bounds of classic histogram buckets in ascending order, in the exposed unit. tallyd aggregates timings in
    /// milliseconds and exposes them in seconds.
    pub bounds: Vec<f64>,
    /// The settings of the native histogram, if any. It also counts values in the exposed unit.
    pub native: Option<NativeSettings>,
}

impl Statistics {
    /// Returns true if the bounds of buckets are valid: finite, and in ascending order without repetition.
    #[must_use]
    pub(crate) fn are_bounds(bounds: &[f64]) -> bool {
        bounds.is_sorted_by(|a, b| a < b) && bounds.iter().all(|bound| bound.is_finite())
    }
}

/// The statistics of one timing, histogram or distribution over an interval.
///
/// Count, sum, mean, standard deviation, percentiles and buckets are weighted: a sample at rate 0.1 counts as 10.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Summary {
    /// The sum of the weights.
    pub count: f64,
    /// The weighted sum of the values.
    pub sum: f64,
    /// The smallest value.
    pub min: f64,
    /// The largest value.
    pub max: f64,
    /// `sum / count`.
    pub mean: f64,
    /// The standard deviation of the population.
    pub stddev: f64,
    /// Percentiles by nearest rank, in the order of [`Statistics::percentiles`].
    pub percentiles: Box<[f64]>,
    /// The weight of the values up to and including each bound.
    pub buckets: Box<[f64]>,
    /// The native histogram, if the statistics ask for one. Its schema is at most the requested one, and no finer than
    /// the internal histogram's.
    pub native: Option<Box<NativeHistogram>>,
    /// The values themselves, if the flush hands them out and there was memory for them.
    pub values: Option<Box<WeightedValues>>,
}

impl Summary {
    /// Returns the memory of the summary, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let native = self.native.as_ref().map_or(0, |native| native.bytes());
        let values = self.values.as_ref().map_or(0, |values| values.bytes());
        size_of::<Self>() + size_of_val(&*self.percentiles) + size_of_val(&*self.buckets) + native + values
    }
}

/// The values of a series in an interval, in ascending order, with their weights.
///
/// Few values are exact. Many are the middles of the buckets of tallyd's own histogram, within the smallest and the
/// largest value.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightedValues {
    values: Box<[f64]>,
    /// The weight of each value, or a single weight that all of them have.
    weights: Box<[f64]>,
}

impl WeightedValues {
    /// Creates values that share one weight. They must ascend.
    pub(crate) fn sharing(values: impl Iterator<Item = f64>, weight: f64) -> Self {
        Self { values: values.collect(), weights: [weight].into() }
    }

    /// Returns each value with its weight.
    pub fn iter(&self) -> impl Iterator<Item = (f64, f64)> {
        let weight = |index| if self.weights.len() == 1 { self.weights[0] } else { self.weights[index] };
        self.values.iter().enumerate().map(move |(index, &value)| (value, weight(index)))
    }

    /// Returns the middle value, or the mean of the two in the middle. A value counts as often as its weight says.
    pub(crate) fn median(&self) -> f64 {
        let count: f64 = self.iter().map(|(_, weight)| weight).sum();
        let value_at = |rank: f64| {
            let mut sum = 0.0;
            let reaches = |&(_, weight): &(f64, f64)| {
                sum += weight;
                sum >= rank
            };
            self.iter().find(reaches).or_else(|| self.iter().last()).map_or(0.0, |(value, _)| value)
        };
        let middle = (count / 2.0).floor();
        if count % 2.0 == 0.0 {
            f64::midpoint(value_at(middle), value_at(middle + 1.0))
        } else {
            value_at(middle + 1.0)
        }
    }

    /// Returns the memory of the values, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.values) + size_of_val(&*self.weights)
    }
}

impl FromIterator<(f64, f64)> for WeightedValues {
    /// Creates values with a weight each. They must ascend.
    fn from_iter<T: IntoIterator<Item = (f64, f64)>>(pairs: T) -> Self {
        let (values, weights): (Vec<_>, Vec<_>) = pairs.into_iter().unzip();
        Self { values: values.into(), weights: weights.into() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_or_the_mean_of_the_two_in_the_middle() {
        let median = |pairs: &[(f64, f64)]| pairs.iter().copied().collect::<WeightedValues>().median();
        assert_eq!(median(&[(1.0, 1.0), (2.0, 1.0), (3.0, 1.0)]), 2.0);
        assert_eq!(median(&[(1.0, 1.0), (2.0, 1.0), (5.0, 1.0), (6.0, 1.0)]), 3.5);
        // A value of weight 3 counts like three equal values.
        assert_eq!(median(&[(1.0, 3.0), (5.0, 2.0)]), 1.0);
        assert_eq!(median(&[(1.0, 2.0), (5.0, 2.0)]), 3.0);
        assert_eq!(median(&[(7.0, 10.0 / 3.0)]), 7.0);
        assert_eq!(median(&[]), 0.0);
    }
}
