//! Arithmetic that several stages need: it keeps results finite, and notices additions that change nothing.

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

/// Adds a value to a sum, which stays finite. Returns true if one of the two is lost: the larger absorbs the smaller,
/// or the sum overflows. For example, 2^53 absorbs 1.
#[must_use]
pub(crate) fn absorbs(sum: &mut f64, value: f64) -> bool {
    let (before, exact) = (*sum, *sum + value);
    *sum = finite(exact);
    !exact.is_finite() || exact == before && value != 0.0 || exact == value && before != 0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_of_two_numbers_may_absorb_the_smaller() {
        const EXACT: f64 = (1_u64 << 53) as f64;
        let cases = [
            (0.0, 0.0, 0.0, false),
            (0.0, 5.0, 5.0, false),
            (5.0, 0.0, 5.0, false),
            (5.0, -5.0, 0.0, false),
            (EXACT, 1.0, EXACT, true),
            (1.0, EXACT, EXACT, true),
            (-EXACT, -1.0, -EXACT, true),
            (EXACT, 2.0, EXACT + 2.0, false),
            (1e300, 1.0, 1e300, true),
            (f64::MAX, f64::MAX, f64::MAX, true),
            (f64::MAX, f64::INFINITY, f64::MAX, true),
        ];
        for (before, value, expected, is_absorbed) in cases {
            let mut sum = before;
            assert_eq!((absorbs(&mut sum, value), sum), (is_absorbed, expected), "{before} + {value}");
        }
    }
}
