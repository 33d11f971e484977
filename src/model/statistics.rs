//! The statistics that are computed from the values of an interval.

use super::native_histogram::{NativeHistogram, NativeSettings};

/// A percentile: above 0, at most 100.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Percentile(f64);

impl Percentile {
    /// Creates a percentile, or returns `None` outside `(0, 100]`.
    #[must_use]
    pub fn new(percent: f64) -> Option<Self> {
        (percent > 0.0 && percent <= 100.0).then_some(Self(percent))
    }

    /// Returns the percentile in percent, for example 99.9.
    #[must_use]
    pub fn percent(self) -> f64 {
        self.0
    }

    /// Returns the rank among values whose weights add up to `count`. The percentile is the smallest value whose
    /// cumulative weight reaches the rank (nearest rank).
    ///
    /// Weights such as 1/0.3 do not add up exactly. So a cumulative weight within a billionth of the rank counts as
    /// reaching it.
    pub(crate) fn rank(self, count: f64) -> f64 {
        self.0 * count / 100.0 * (1.0 - 1e-9)
    }
}

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
    pub fn are_bounds(bounds: &[f64]) -> bool {
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
}
