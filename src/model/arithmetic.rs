//! Arithmetic on results, which must always be finite numbers.

/// The number of milliseconds in a second. Timings are aggregated in milliseconds and exposed in seconds.
pub(crate) const MILLISECONDS: f64 = 1e3;

/// Returns the nearest finite number: sums of finite values may overflow, and a result must mean something. Opposite
/// overflows cancel each other out to 0.
pub(crate) fn finite(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(-f64::MAX, f64::MAX) }
}
