//! Aggregates many values of a timing, histogram or distribution.

use super::histogram::{BATCH, Histogram};
use super::value_buffers::Fold;
use crate::model::{NativeHistogram, absorbs};

/// Moments of weighted values, and a histogram for percentiles.
#[derive(Debug, Clone)]
pub(crate) struct Distribution {
    /// The histogram counts `value / unit`.
    unit: f64,
    /// The number of values outside the histogram's range, which it counts at the ends of the range.
    pub(crate) clamped: u64,
    pub(crate) moments: Moments,
    histogram: Histogram,
}

/// The number of sums that are calculated in parallel. With a single sum, each addition waits for the previous one. A
/// value takes 37 ns with these lanes and 40 ns with a single sum (1,000 values in each of 50 slots).
const LANES: usize = 8;

impl Distribution {
    /// Creates an empty distribution. With the unit [`MILLISECONDS`](crate::model::MILLISECONDS), the buckets are those
    /// of seconds. [`Histogram::new`] describes `digits`.
    pub(crate) fn new(digits: u8, unit: f64) -> Self {
        Self::on(Histogram::new(digits), unit)
    }

    fn on(histogram: Histogram, unit: f64) -> Self {
        Self { unit, clamped: 0, moments: Moments::default(), histogram }
    }

    /// Returns the middle and the weight of each non-empty bucket, in ascending order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (f64, f64)> {
        self.histogram.iter().map(|(middle, weight)| (middle * self.unit, weight))
    }

    /// Returns a native histogram of `value / unit`, as [`Histogram::native`] does.
    pub(crate) fn native(&self, schema: i8) -> NativeHistogram {
        self.histogram.native(schema)
    }

    /// Returns a native histogram of the given values, which must ascend, and the number of values outside the range.
    /// The recorded values do not matter.
    pub(crate) fn native_of(
        &self,
        schema: i8,
        ascending: impl Iterator<Item = (f64, f64)>,
    ) -> (NativeHistogram, u64) {
        self.histogram.native_of(schema, ascending.map(|(value, weight)| (value / self.unit, weight)))
    }

    pub(crate) fn merge(&mut self, other: &Self) {
        self.clamped += other.clamped;
        self.moments.merge(&other.moments);
        self.histogram.merge(&other.histogram);
    }
}

impl Fold for Distribution {
    fn empty(&self) -> Self {
        Self::on(self.histogram.empty(), self.unit)
    }

    fn fold(&mut self, words: &[u64], weight: f64) {
        self.moments.merge(&Moments::of_run(words, weight));
        for run in words.chunks(BATCH) {
            let mut values = [0.0; BATCH];
            for (value, &word) in values.iter_mut().zip(run) {
                // Division is exact in cases in which multiplication is not: 570 / 1e3 is 0.57, and 570 * 0.001 is not.
                *value = f64::from_bits(word) / self.unit;
            }
            self.clamped += self.histogram.add_all(&values[..run.len()], weight);
        }
    }

    fn clear(&mut self) {
        self.clamped = 0;
        self.moments = Moments::default();
        self.histogram.clear();
    }

    fn bytes(&self) -> usize {
        size_of::<Self>() + self.histogram.heap_bytes()
    }

    fn bytes_with(&self, words: &[u64]) -> usize {
        let values = words.iter().map(|&word| f64::from_bits(word) / self.unit);
        size_of::<Self>() + self.histogram.heap_bytes_with(values)
    }
}

/// The count, sum, mean, spread and extremes of weighted values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Moments {
    /// The sum of all weights.
    pub(crate) count: f64,
    pub(crate) sum: f64,
    pub(crate) min: f64,
    pub(crate) max: f64,
    pub(crate) mean: f64,
    /// The weighted sum of squared distances from the mean.
    squares: f64,
    /// The number of additions to `sum` in which one of the two numbers was lost.
    pub(crate) absorbed: u64,
}

impl Default for Moments {
    fn default() -> Self {
        Self {
            count: 0.0,
            sum: 0.0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            mean: 0.0,
            squares: 0.0,
            absorbed: 0,
        }
    }
}

impl Moments {
    /// Returns the moments of `(value, weight)` pairs. It reads them twice: once for the mean, and once for the
    /// distances from it.
    pub(crate) fn of(pairs: impl Iterator<Item = (f64, f64)> + Clone) -> Self {
        let mut moments = Self::default();
        for (value, weight) in pairs.clone() {
            moments.count += weight;
            moments.sum += value * weight;
            moments.min = moments.min.min(value);
            moments.max = moments.max.max(value);
        }
        if may_absorb(moments.min, moments.max, moments.count) {
            moments.absorbed = pairs.clone().fold((0.0, 0), add_and_count).1;
        }
        if moments.count > 0.0 {
            moments.mean = moments.sum / moments.count;
            moments.squares = pairs.map(|(value, weight)| weight * (value - moments.mean).powi(2)).sum();
        }
        moments
    }

    /// Returns the moments of values that share one weight, calculated in lanes.
    fn of_run(words: &[u64], weight: f64) -> Self {
        if words.is_empty() {
            return Self::default();
        }
        let (runs, rest) = words.as_chunks::<LANES>();
        let mut sums = [0.0; LANES];
        let (mut least, mut most) = ([f64::INFINITY; LANES], [f64::NEG_INFINITY; LANES]);
        let mut look = |lane: usize, word: u64| {
            let value = f64::from_bits(word);
            sums[lane] += value;
            least[lane] = if value < least[lane] { value } else { least[lane] };
            most[lane] = if value > most[lane] { value } else { most[lane] };
        };
        for run in runs {
            (0..LANES).for_each(|lane| look(lane, run[lane]));
        }
        (0..rest.len()).for_each(|lane| look(lane, rest[lane]));
        let sum: f64 = sums.iter().sum();
        let mean = sum / words.len() as f64;
        let mut squares = [0.0; LANES];
        let mut add = |lane: usize, word: u64| squares[lane] += (f64::from_bits(word) - mean).powi(2);
        for run in runs {
            (0..LANES).for_each(|lane| add(lane, run[lane]));
        }
        (0..rest.len()).for_each(|lane| add(lane, rest[lane]));
        let min = least.into_iter().fold(f64::INFINITY, f64::min);
        let max = most.into_iter().fold(f64::NEG_INFINITY, f64::max);
        let may_absorb = may_absorb(min, max, words.len() as f64);
        Self {
            count: words.len() as f64 * weight,
            sum: sum * weight,
            min,
            max,
            mean,
            squares: squares.iter().sum::<f64>() * weight,
            absorbed: if may_absorb { absorbed_in_lanes(words) } else { 0 },
        }
    }

    /// Adds the moments of other values (Chan, Golub, LeVeque: *Updating formulae and a pairwise algorithm for computing
    /// sample variances*, 1979).
    pub(crate) fn merge(&mut self, other: &Self) {
        if other.count == 0.0 {
            return;
        }
        let count = self.count + other.count;
        let distance = other.mean - self.mean;
        self.squares += other.squares + distance.powi(2) * (self.count / count) * other.count;
        self.count = count;
        self.absorbed += other.absorbed + u64::from(absorbs(&mut self.sum, other.sum));
        self.mean = self.sum / count;
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// Returns the standard deviation of the population.
    pub(crate) fn stddev(&self) -> f64 {
        if self.count > 0.0 { (self.squares / self.count).sqrt() } else { 0.0 }
    }
}

/// Returns false if no sum of values between these extremes can absorb one of the values. It takes the time of a few
/// values, so most runs need no comparison per value.
///
/// All partial sums of `count` positive values are at most `count * max`. They absorb no value above 2^-53 of that. The
/// factor here leaves room for rounding.
fn may_absorb(min: f64, max: f64, count: f64) -> bool {
    let (least, most) = if max < 0.0 { (-max, -min) } else { (min, max) };
    !(least > 0.0 && most * count * 2.0 * f64::EPSILON < least)
}

/// Adds a weighted value to a sum, and counts the additions in which one of the two is lost.
fn add_and_count((mut sum, count): (f64, u64), (value, weight): (f64, f64)) -> (f64, u64) {
    let is_absorbed = absorbs(&mut sum, value * weight);
    (sum, count + u64::from(is_absorbed))
}

/// Counts the additions of [`Moments::of_run`] in which a number is lost.
#[cold]
fn absorbed_in_lanes(words: &[u64]) -> u64 {
    let mut lanes = [(0.0, 0); LANES];
    for run in words.chunks(LANES) {
        for (lane, &word) in lanes.iter_mut().zip(run) {
            *lane = add_and_count(*lane, (f64::from_bits(word), 1.0));
        }
    }
    let total = |total, (sum, count)| {
        let (total, merged) = add_and_count(total, (sum, 1.0));
        (total, merged + count)
    };
    lanes.into_iter().fold((0.0, 0), total).1
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::model::MILLISECONDS;

    #[test]
    fn values_that_change_no_sum_are_counted() {
        const EXACT: f64 = (1_u64 << 53) as f64;
        let absorbed = |values: &[f64]| {
            let words: Vec<_> = values.iter().map(|value| value.to_bits()).collect();
            let run = Moments::of_run(&words, 1.0).absorbed;
            let mut merged = Moments::default();
            values.iter().for_each(|&value| merged.merge(&Moments::of([(value, 1.0)].into_iter())));
            [Moments::of(values.iter().map(|&value| (value, 1.0))).absorbed, merged.absorbed, run]
        };
        assert_eq!(absorbed(&[1.0, 2.0, 3.0]), [0; 3]);
        assert_eq!(absorbed(&[0.0, -2.0, 0.0, 2.0]), [0; 3]);
        assert_eq!(absorbed(&[EXACT, 1.0]), [1; 3]);
        // Lanes add up small values first, so they lose fewer of them.
        assert_eq!(absorbed(&[[EXACT; 1].as_slice(), &[1.0; 1000]].concat()), [1000, 1000, 125]);
        assert_eq!(absorbed(&[1e300, -1.0, 1.0]), [2; 3]);
    }

    #[test]
    fn the_standard_deviation_is_that_of_the_population() {
        let moments = Moments::of([(2.0, 1.0), (4.0, 2.0), (9.0, 1.0)].into_iter());
        assert_eq!((moments.count, moments.sum, moments.mean), (4.0, 19.0, 4.75));
        assert_eq!((moments.min, moments.max), (2.0, 9.0));
        assert!((moments.stddev() - (26.75_f64 / 4.0).sqrt()).abs() < 1e-12);
    }

    #[test]
    fn timings_are_counted_in_seconds_and_reported_in_milliseconds() {
        let mut timings = Distribution::new(2, MILLISECONDS);
        timings.fold(&[570_f64.to_bits()], 1.0);
        let mut seconds = Histogram::new(2);
        seconds.add(0.57, 1.0);
        assert_eq!(timings.histogram, seconds);
        let (reported, _) = timings.iter().next().unwrap();
        assert!((reported / 570.0 - 1.0).abs() < 0.01, "{reported}");
    }

    #[test]
    fn values_far_from_zero_keep_their_spread() {
        let mut moments = Moments::default();
        for chunk in 0..100 {
            moments.merge(&Moments::of((0..10).map(|n| (1e9 + f64::from(chunk * 10 + n), 1.0))));
        }
        assert!((moments.stddev() - 288.675).abs() < 0.01, "{}", moments.stddev());
    }

    proptest! {
        #[test]
        fn moments_of_a_run_equal_those_of_its_pairs(values in proptest::collection::vec(-1e6..1e6, 0..40), weight in 1.0..20.0) {
            let words: Vec<_> = values.iter().map(|value: &f64| value.to_bits()).collect();
            let run = Moments::of_run(&words, weight);
            let pairs = Moments::of(values.iter().map(|&value| (value, weight)));
            prop_assert_eq!((run.min, run.max), (pairs.min, pairs.max));
            for (got, expected) in [(run.count, pairs.count), (run.sum, pairs.sum), (run.stddev(), pairs.stddev())] {
                prop_assert!((got - expected).abs() <= 1e-9 * pairs.count * 1e6, "{} for {}", got, expected);
            }
            prop_assert!(values.is_empty() || (run.mean - pairs.mean).abs() <= 1e-3);
        }

        #[test]
        fn merged_moments_equal_those_of_the_whole(values in proptest::collection::vec((-1e6..1e6, 1.0..20.0), 1..100), cut in 0_usize..100) {
            let cut = cut.min(values.len());
            let whole = Moments::of(values.iter().copied());
            let mut merged = Moments::of(values[..cut].iter().copied());
            merged.merge(&Moments::of(values[cut..].iter().copied()));
            prop_assert!((merged.sum - whole.sum).abs() <= 1e-9 * whole.count * 1e6);
            prop_assert!((merged.stddev() - whole.stddev()).abs() <= 1e-6 * (1.0 + whole.stddev()));
            prop_assert_eq!((merged.min, merged.max), (whole.min, whole.max));
        }
    }
}
