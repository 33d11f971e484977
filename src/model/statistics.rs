//! Statistics of the values of an interval.

use super::native_histogram::{NativeHistogram, NativeSettings};

/// A percentile that is reported: above 0, at most 100.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Percentile(f64);

impl Percentile {
    /// `None` outside `(0, 100]`.
    #[must_use]
    pub fn new(percent: f64) -> Option<Self> {
        (percent > 0.0 && percent <= 100.0).then_some(Self(percent))
    }

    /// In percent: 99.9.
    #[must_use]
    pub fn percent(self) -> f64 {
        self.0
    }

    /// The rank among `count` weighted values: the reported value is the smallest one such that the weight of it and
    /// of all below it reaches this (nearest rank).
    ///
    /// Weights such as 1/0.3 do not add up exactly; a rank that is missed by less than a billionth counts as reached.
    pub(crate) fn rank(self, count: f64) -> f64 {
        self.0 * count / 100.0 * (1.0 - 1e-9)
    }
}

/// What is asked of a distribution.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Statistics {
    /// In ascending order.
    pub percentiles: Vec<Percentile>,
    /// Upper bounds of classic histogram buckets in ascending order, in the unit in which values are exposed: seconds for
    /// timings, which are aggregated in milliseconds.
    pub bounds: Vec<f64>,
    /// Whether there is a native histogram, and which one. It is laid over the unit in which values are exposed, too.
    pub native: Option<NativeSettings>,
}

impl Statistics {
    /// Whether these are bounds of buckets: finite, and in ascending order.
    #[must_use]
    pub fn are_bounds(bounds: &[f64]) -> bool {
        bounds.is_sorted_by(|a, b| a < b) && bounds.iter().all(|bound| bound.is_finite())
    }
}

/// The interval's values of one timing, histogram or distribution.
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
    /// Of the population.
    pub stddev: f64,
    /// By the nearest rank, in the order of [`Statistics::percentiles`].
    pub percentiles: Box<[f64]>,
    /// For each bound, the weight of the values that do not exceed it.
    pub buckets: Box<[f64]>,
    /// If it was asked for: of that schema at most, nor finer than what keeps many values, as the digits say.
    pub native: Option<Box<NativeHistogram>>,
}

/// The number of milliseconds in a second. Timings are aggregated in milliseconds and exposed in seconds.
pub(crate) const MILLISECONDS: f64 = 1e3;

/// Returns the nearest finite number: sums of finite values may overflow, and a result must mean something. Opposite
/// overflows cancel each other out to 0.
pub(crate) fn finite(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(-f64::MAX, f64::MAX) }
}
