//! Keeps the latest intervals of a summary, so that its percentiles can cover more than one interval.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::model::{NativeHistogram, Percentile, nanoseconds};

/// The number of parts into which a window is divided. Intervals that end in one part share a histogram, so the memory
/// of a window does not depend on the number of its intervals.
const PARTS: u32 = 5;

/// The values of the latest intervals.
#[derive(Debug, Default)]
pub(super) struct PercentileWindow {
    /// The parts that the window covers, oldest first.
    pub(super) parts: VecDeque<Part>,
}

/// Intervals whose values share a histogram.
#[derive(Debug)]
pub(super) struct Part {
    /// The end of the first interval, in nanoseconds.
    pub(super) begin: u64,
    /// The end of the latest interval, in nanoseconds.
    pub(super) end: u64,
    pub(super) min: f64,
    pub(super) max: f64,
    pub(super) values: NativeHistogram,
}

impl PercentileWindow {
    /// Returns the memory of the window, in bytes.
    pub(super) fn bytes(&self) -> usize {
        let of_values = self.parts.iter().map(|part| part.values.bytes()).sum::<usize>();
        size_of::<Self>() + self.parts.capacity() * size_of::<Part>() + of_values
    }

    /// Adds an interval that ended at `end`, in nanoseconds. `extremes` are its smallest and its largest value. Each part
    /// of the window has at most `max_buckets` buckets.
    pub(super) fn add(
        &mut self,
        values: &NativeHistogram,
        extremes: RangeInclusive<f64>,
        end: u64,
        (length, max_buckets): (Duration, usize),
    ) {
        self.advance(end, length);
        let part_length = nanoseconds(length / PARTS);
        match self.parts.back_mut() {
            Some(part) if end - part.begin < part_length => {
                part.values.add(values);
                part.values.limit(max_buckets);
                part.end = end;
                part.min = part.min.min(*extremes.start());
                part.max = part.max.max(*extremes.end());
            }
            _ => {
                let (min, max) = extremes.into_inner();
                self.parts.push_back(Part { begin: end, end, min, max, values: values.clone() });
            }
        }
    }

    /// Drops the parts that ended `length` before `now` or earlier. `now` is in nanoseconds.
    pub(super) fn advance(&mut self, now: u64, length: Duration) {
        let begin = now.saturating_sub(nanoseconds(length));
        while self.parts.pop_front_if(|part| part.end <= begin).is_some() {}
    }

    /// Returns the percentiles of all values in the window, or an empty list if it has no values.
    pub(super) fn percentiles(&self, percentiles: &[Percentile]) -> Vec<f64> {
        let mut parts = self.parts.iter();
        let Some(first) = parts.next() else { return Vec::new() };
        let (mut min, mut max, mut values) = (first.min, first.max, first.values.clone());
        for part in parts {
            (min, max) = (min.min(part.min), max.max(part.max));
            values.add(&part.values);
        }
        let lowest = beyond_range(&values, &values.negative, -min);
        let highest = beyond_range(&values, &values.positive, max);
        // The extremes are known exactly, so no middle of a bucket may lie outside them.
        let exact = |value: f64| match (lowest, highest) {
            (Some(middle), _) if value <= -middle => min,
            (_, Some(middle)) if value >= middle => max,
            _ => value.clamp(min, max),
        };
        values.percentiles(percentiles).map(exact).collect()
    }
}

/// Returns the middle of the outermost bucket if it holds values beyond the range of the histogram. This is so if the
/// extreme lies outside the bucket. A percentile among these values is then the extreme, as in a single interval.
fn beyond_range(values: &NativeHistogram, buckets: &[(i32, f64)], extreme: f64) -> Option<f64> {
    let &(index, _) = buckets.last()?;
    // Bounds are rounded.
    (extreme > values.bound(index) * (1.0 + 1e-9)).then(|| values.middle(index))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn of_one(value: f64) -> NativeHistogram {
        let index = (value.log2() * 256.0).ceil() as i32;
        NativeHistogram::new(8, 0.0, [(index, 1.0)], [])
    }

    fn median(window: &PercentileWindow) -> Option<f64> {
        window.percentiles(&[Percentile::new(50.0).unwrap()]).first().copied()
    }

    #[test]
    fn percentiles_cover_the_intervals_of_the_window_and_no_older_ones() {
        let mut window = PercentileWindow::default();
        let length = Duration::from_secs(30);
        for (interval, value) in [9.0, 1.0, 2.0, 3.0].into_iter().enumerate() {
            window.add(&of_one(value), value..=value, (interval as u64 + 1) * 10 * SECOND, (length, 0));
        }
        let found = median(&window).unwrap();
        assert!((found - 2.0).abs() < 0.01, "{found}");
        window.advance(60 * SECOND, length);
        assert_eq!(median(&window), Some(3.0), "the extremes of one value are the value");
        window.advance(70 * SECOND, length);
        assert_eq!(median(&window), None);
    }

    #[test]
    fn percentiles_beyond_the_range_of_the_histogram_are_the_extremes() {
        let length = Duration::from_secs(30);
        let mut window = PercentileWindow::default();
        let sides = NativeHistogram::new(8, 0.0, [(0, 1.0), (64 * 256, 9.0)], [(64 * 256, 3.0)]);
        window.add(&sides, -1e21..=1e25, 10 * SECOND, (length, 0));
        let percentiles = [10.0, 30.0, 50.0].map(|percent| Percentile::new(percent).unwrap());
        let found = window.percentiles(&percentiles);
        assert!(found[0] == -1e21 && (found[1] - 1.0).abs() < 0.01 && found[2] == 1e25, "{found:?}");
        // The largest value is in its bucket, so the percentile is the middle of that.
        let mut window = PercentileWindow::default();
        window.add(&of_one(2.0), 1.9..=2.0, 10 * SECOND, (length, 0));
        assert!(median(&window).unwrap() < 2.0);
    }

    #[test]
    fn a_window_of_many_intervals_has_few_parts_and_few_buckets() {
        let mut window = PercentileWindow::default();
        let length = Duration::from_mins(10);
        for interval in 1..=1000 {
            let value = (interval as f64).exp2().sqrt();
            window.add(&of_one(value), value..=value, interval * 10 * SECOND, (length, 10));
        }
        let buckets = window.parts.iter().map(|part| part.values.positive.len()).max();
        assert!(buckets <= Some(10), "{buckets:?}");
        assert!(window.parts.len() <= PARTS as usize + 1, "{}", window.parts.len());
        let oldest = 10_000 - window.parts[0].begin / SECOND;
        assert!((590..=720).contains(&oldest), "the window begins {oldest} s ago");
    }
}
