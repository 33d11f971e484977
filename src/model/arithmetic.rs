//! Arithmetic that several stages need.

use std::time::Duration;

/// The number of milliseconds in a second. Timings are aggregated in milliseconds and exposed in seconds.
pub(crate) const MILLISECONDS: f64 = 1e3;

/// Returns the nearest finite number, because sums of finite values may overflow. NaN, the sum of opposite overflows,
/// becomes 0.
pub(crate) fn finite(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(-f64::MAX, f64::MAX) }
}

/// Converts a duration to nanoseconds, which fit in 64 bits for 584 years.
pub(crate) fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
