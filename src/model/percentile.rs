//! Percentiles by nearest rank.

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

    /// Returns the percentile as a quantile, for example 99.9 as 0.999. A plain division would give more digits.
    pub(crate) fn quantile(self) -> f64 {
        (self.0 * 1e10).round() / 1e12
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
