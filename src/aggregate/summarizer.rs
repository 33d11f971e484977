//! Computes the statistics of a series' values over an interval.

use super::distribution::{Distribution, Moments};
use super::value_buffers::{Contents, Fold, interleave};
use crate::model::{Percentile, Statistics, Summary, WeightedValues, finite};

/// The values of one slot, and the number of their series within its batch.
pub(crate) type Part<'a> = (usize, Contents<'a, Distribution>);

/// Turns the values of each series into a [`Summary`], in buffers that it reuses.
#[derive(Debug)]
pub(crate) struct Summarizer {
    exact_values: usize,
    unit: f64,
    hands_out_values: bool,
    exact: [ExactValues; Self::BATCH],
    whole: Distribution,
}

impl Summarizer {
    /// The number of series that are summarized at a time.
    pub(crate) const BATCH: usize = 16;

    /// Creates a summarizer. Percentiles of up to `exact_values` values are exact. [`Distribution::new`] describes
    /// `digits` and `unit`.
    pub(crate) fn new(digits: u8, exact_values: usize, unit: f64) -> Self {
        let whole = Distribution::new(digits, unit);
        Self { exact_values, unit, hands_out_values: false, exact: Default::default(), whole }
    }

    /// Puts the values themselves into each summary from now on if `hands_out` is true.
    pub(crate) fn hand_out_values(&mut self, hands_out: bool) {
        self.hands_out_values = hands_out;
    }

    /// Summarizes a batch of series. `asked` holds the statistics to compute for each series. Calls `each` with the
    /// number of the series, its summary, and its [`Inexact`] values.
    ///
    /// Up to `exact_values` values, a summary is computed from the sorted values themselves. So it does not depend on
    /// how the values were spread over the parts. Beyond that, percentiles come from a histogram. Only the number of
    /// values decides.
    pub(crate) fn summarize(
        &mut self,
        parts: &[Part<'_>],
        asked: &[&Statistics],
        mut each: impl FnMut(usize, Summary, Inexact),
    ) {
        let Self { exact_values, unit, hands_out_values, exact, whole } = self;
        exact.iter_mut().for_each(ExactValues::clear);
        interleave(parts.iter().map(|(_, contents)| contents), |part, words, weight| {
            exact[parts[part].0].extend(words, weight, *exact_values);
        });
        for (index, (exact, statistics)) in exact.iter_mut().zip(asked).enumerate() {
            let query = SummaryQuery { statistics, unit: *unit };
            let contents = || parts.iter().filter(|part| part.0 == index).map(|part| &part.1);
            if exact.values.len() <= *exact_values && contents().all(|part| part.folded.is_none()) {
                let (mut summary, inexact) = exact.summarize(&query, whole);
                summary.values = hands_out_values.then(|| Box::new(exact.weighted()));
                each(index, summary, inexact);
                continue;
            }
            whole.clear();
            for part in contents() {
                if let Some(folded) = part.folded {
                    whole.merge(folded);
                }
                for (words, weight) in part.runs() {
                    whole.fold(words, weight);
                }
            }
            let mut summary = query.summarize_weighted(&whole.moments, whole.iter());
            summary.native = statistics.native.map(|asked| Box::new(asked.limit(whole.native(asked.schema))));
            summary.values = hands_out_values.then(|| {
                let Moments { min, max, .. } = whole.moments;
                Box::new(whole.iter().map(|(value, weight)| (value.clamp(min, max), weight)).collect())
            });
            each(index, summary, Inexact::new(&whole.moments, whole.clamped));
        }
    }
}

/// Counts the values of a series that its summary does not show exactly.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Inexact {
    /// The number of values outside the range of the histogram.
    pub(crate) clamped: u64,
    /// The number of values that changed no sum.
    pub(crate) absorbed: u64,
}

impl Inexact {
    fn new(moments: &Moments, clamped: u64) -> Self {
        let overflows = !moments.sum.is_finite() && moments.absorbed == 0;
        Self { clamped, absorbed: moments.absorbed + u64::from(overflows) }
    }
}

/// A small number of values, stored unchanged.
///
/// Usually, all of them have the same weight. They are then sorted as integers, which takes a third of the time of
/// sorting pairs of value and weight. Ranks are then indices of the sorted array.
#[derive(Debug, Default)]
struct ExactValues {
    /// The values as [`to_ordered`] returns them.
    values: Vec<i64>,
    /// The end of each run of one weight within `values`, and the weight.
    runs: Vec<(usize, f64)>,
    pairs: Vec<(f64, f64)>,
}

impl ExactValues {
    fn clear(&mut self) {
        self.values.clear();
        self.runs.clear();
    }

    /// Appends a run of values, unless more than `limit` are stored.
    #[inline]
    fn extend(&mut self, words: &[u64], weight: f64, limit: usize) {
        if words.is_empty() || self.values.len() > limit {
            return;
        }
        self.values.extend(words.iter().map(|&word| to_ordered(word)));
        match self.runs.last_mut() {
            Some((end, last)) if *last == weight => *end = self.values.len(),
            _ => self.runs.push((self.values.len(), weight)),
        }
    }

    /// Summarizes the values. The summary is exact except for a native histogram and the sum.
    fn summarize(&mut self, query: &SummaryQuery<'_>, model: &Distribution) -> (Summary, Inexact) {
        let Self { values, runs, pairs } = self;
        if let [(_, weight)] = **runs {
            values.sort_unstable();
            let moments = Moments::of(values.iter().map(|&value| (from_ordered(value), weight)));
            let summary = query.summarize_sorted(&moments, values, weight);
            let values = values.iter().map(|&value| (from_ordered(value), weight));
            let (summary, clamped) = query.with_native(summary, model, values);
            return (summary, Inexact::new(&moments, clamped));
        }
        pairs.clear();
        for &(end, weight) in &*runs {
            pairs.extend(values[pairs.len()..end].iter().map(|&value| (from_ordered(value), weight)));
        }
        pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0).then(a.1.total_cmp(&b.1)));
        let moments = Moments::of(pairs.iter().copied());
        let summary = query.summarize_weighted(&moments, pairs.iter().copied());
        let (summary, clamped) = query.with_native(summary, model, pairs.iter().copied());
        (summary, Inexact::new(&moments, clamped))
    }

    /// Returns the values that were summarized.
    fn weighted(&self) -> WeightedValues {
        match *self.runs {
            [(_, weight)] => WeightedValues::sharing(self.values.iter().copied().map(from_ordered), weight),
            _ => self.pairs.iter().copied().collect(),
        }
    }
}

/// Returns the bits of an f64 as an integer in the order of [`f64::total_cmp`]. Except for the types, it is its own
/// inverse.
fn to_ordered(bits: u64) -> i64 {
    let bits = bits.cast_signed();
    bits ^ ((bits >> 63).cast_unsigned() >> 1).cast_signed()
}

fn from_ordered(ordered: i64) -> f64 {
    f64::from_bits(to_ordered(ordered.cast_unsigned()).cast_unsigned())
}

/// The statistics to compute for one series.
struct SummaryQuery<'a> {
    statistics: &'a Statistics,
    /// The unit of the bounds, in the unit of the values.
    unit: f64,
}

impl SummaryQuery<'_> {
    /// Summarizes sorted values that share one weight. `moments` are theirs. The result equals that of
    /// [`summarize_weighted`](Self::summarize_weighted).
    fn summarize_sorted(&self, moments: &Moments, sorted: &[i64], weight: f64) -> Summary {
        let Statistics { percentiles, bounds, .. } = self.statistics;
        let at_rank = |percentile: &Percentile| {
            let rank = (percentile.rank(moments.count) / weight).ceil() as usize;
            from_ordered(sorted[rank.clamp(1, sorted.len()) - 1])
        };
        // Zero has two signs, and a bound of either sign includes both.
        let is_within = |value, bound| from_ordered(value) / self.unit <= bound;
        let up_to = |bound: &f64| sorted.partition_point(|&value| is_within(value, *bound)) as f64 * weight;
        summary(moments, percentiles.iter().map(at_rank), bounds.iter().map(up_to))
    }

    /// Summarizes ascending values and their weights. The values are exact, or the middles of buckets.
    fn summarize_weighted(&self, moments: &Moments, ascending: impl Iterator<Item = (f64, f64)>) -> Summary {
        let Statistics { percentiles, bounds, .. } = self.statistics;
        let mut values = Vec::with_capacity(percentiles.len());
        let mut buckets = Vec::with_capacity(bounds.len());
        let mut below = 0.0;
        for (value, weight) in ascending {
            // The extremes are known exactly, so no middle of a bucket may lie outside them. Values beyond the range of
            // the histogram, which it reports as infinity, become the extreme.
            let value = value.clamp(moments.min, moments.max);
            while let Some(&bound) = bounds.get(buckets.len())
                && value / self.unit > bound
            {
                buckets.push(below);
            }
            below += weight;
            while let Some(percentile) = percentiles.get(values.len())
                && below >= percentile.rank(moments.count)
            {
                values.push(value);
            }
        }
        values.resize(percentiles.len(), moments.max);
        buckets.resize(bounds.len(), below);
        summary(moments, values, buckets)
    }

    /// Adds a native histogram of few values if the query asks for one. `model` provides its buckets.
    fn with_native(
        &self,
        mut summary: Summary,
        model: &Distribution,
        ascending: impl Iterator<Item = (f64, f64)>,
    ) -> (Summary, u64) {
        let Some(asked) = self.statistics.native else { return (summary, 0) };
        let (native, clamped) = model.native_of(asked.schema, ascending);
        summary.native = Some(Box::new(asked.limit(native)));
        (summary, clamped)
    }
}

fn summary(
    moments: &Moments,
    percentiles: impl IntoIterator<Item = f64>,
    buckets: impl IntoIterator<Item = f64>,
) -> Summary {
    Summary {
        count: finite(moments.count),
        sum: finite(moments.sum),
        min: moments.min,
        max: moments.max,
        // A sum that overflowed says nothing about the mean.
        mean: moments.mean.clamp(moments.min, moments.max),
        stddev: finite(moments.stddev()),
        percentiles: percentiles.into_iter().collect(),
        buckets: buckets.into_iter().collect(),
        native: None,
        values: None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::super::histogram::{LARGEST, SMALLEST};
    use super::super::layout;
    use super::super::value_buffers::ValueBuffers;
    use super::*;
    use crate::model::{MILLISECONDS, Memory, NativeHistogram, NativeSettings};
    use crate::resolve::SeriesId;

    fn statistics() -> Statistics {
        Statistics {
            percentiles: [50.0, 90.0, 95.0, 99.0, 99.9, 100.0]
                .into_iter()
                .filter_map(Percentile::new)
                .collect(),
            bounds: vec![10.0, 50.0, 1000.0],
            native: None,
        }
    }

    fn summarize(values: &[(f64, f64)], exact_values: usize, parts: usize) -> Summary {
        summarize_in(1.0, 2, &statistics(), values, exact_values, parts)
    }

    fn summarize_in(
        unit: f64,
        digits: u8,
        asked: &Statistics,
        values: &[(f64, f64)],
        exact_values: usize,
        parts: usize,
    ) -> Summary {
        let mut buffers = ValueBuffers::new(Distribution::new(digits, unit), exact_values, Memory::default());
        (0..parts).for_each(|_| buffers.open(SeriesId(0), 1.0));
        for (index, &(value, weight)) in values.iter().enumerate() {
            buffers.push_weighted((index % parts) as u32, value.to_bits(), weight);
        }
        let parts: Vec<_> = (0..parts as u32).map(|slot| (0, buffers.contents(slot))).collect();
        let mut summaries = Vec::new();
        let mut summarizer = Summarizer::new(digits, exact_values, unit);
        summarizer.hand_out_values(true);
        summarizer.summarize(&parts, &[asked], |_, summary, _| summaries.push(summary));
        assert_eq!(summaries.len(), 1);
        summaries.remove(0)
    }

    /// Implements the definition: counts through the sorted values until it reaches the rank.
    fn nearest_rank(values: &[(f64, f64)], percent: f64) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let total: f64 = sorted.iter().map(|pair| pair.1).sum();
        let mut below = 0.0;
        for (value, weight) in &sorted {
            below += weight;
            if below * 100.0 >= total * percent * (1.0 - 1e-9) {
                return *value;
            }
        }
        f64::NAN
    }

    #[test]
    fn percentiles_use_the_nearest_rank() {
        let values: Vec<_> = (0..100).map(|n| (f64::from(n), 1.0)).collect();
        let summary = summarize(&values, 512, 1);
        assert_eq!(*summary.percentiles, [49.0, 89.0, 94.0, 98.0, 99.0, 99.0]);
        let values: Vec<_> = (1..=1000).map(|n| (f64::from(n), 1.0)).collect();
        assert_eq!(*summarize(&values, 1000, 1).percentiles, [500.0, 900.0, 950.0, 990.0, 999.0, 1000.0]);
    }

    #[test]
    fn a_sampled_value_counts_by_its_weight() {
        let summary = summarize(&[(1.0, 10.0), (2.0, 1.0), (100.0, 1.0 / 0.3)], 512, 1);
        assert!((summary.count - 14.333_333).abs() < 1e-5);
        assert!((summary.sum - 345.333_333).abs() < 1e-5);
        assert_eq!(summary.percentiles[..2], [1.0, 100.0]);
        assert_eq!(summary.buckets[..2], [11.0, 11.0]);
    }

    #[test]
    fn a_bucket_holds_the_values_up_to_its_bound() {
        let values: Vec<_> = (1..=100).map(|n| (f64::from(n), 1.0)).collect();
        assert_eq!(*summarize(&values, 512, 1).buckets, [10.0, 50.0, 100.0]);
    }

    #[test]
    fn handed_out_values_are_exact_if_there_are_few_and_keep_all_weight_if_there_are_many() {
        let values: Vec<_> =
            (1..=40).rev().map(|n| (f64::from(n) * 1.7, f64::from(n % 3 + 1) / 0.3)).collect();
        let mut sorted = values.clone();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
        let handed_out =
            |exact_values| summarize(&values, exact_values, 3).values.unwrap().iter().collect::<Vec<_>>();
        assert_eq!(handed_out(40), sorted);
        let many = handed_out(10);
        assert!(many.is_sorted_by(|a, b| a.0 < b.0) && many.len() <= 40);
        let weight = |values: &[(f64, f64)]| values.iter().map(|pair| pair.1).sum::<f64>();
        assert!((weight(&many) - weight(&sorted)).abs() < 1e-9);
        assert!(
            many.iter().all(|&(value, _)| sorted.iter().any(|pair| (pair.0 / value - 1.0).abs() <= 0.01))
        );
        let same: Vec<_> = (0..9).map(|n| (f64::from(n), 2.5)).collect();
        let handed_out = summarize(&same, 40, 2).values.unwrap();
        assert_eq!(handed_out.iter().collect::<Vec<_>>(), same);
        assert!(handed_out.bytes() < size_of_val(&*same), "values of one weight need no weight each");
    }

    #[test]
    fn few_values_give_the_same_bits_in_any_split() {
        let values: Vec<_> =
            (0..500).map(|n| ((f64::from(n) * 0.1).sin() * 1e3, 1.0 + f64::from(n % 3) / 3.0)).collect();
        assert_eq!(summarize(&values, 512, 1), summarize(&values, 512, 7));
    }

    #[test]
    fn sorted_and_weighted_values_give_the_same_summary() {
        let statistics = statistics();
        let query = SummaryQuery { statistics: &statistics, unit: 1.0 };
        for weight in [1.0, 10.0, 1.0 / 0.3] {
            for count in 1..200 {
                let values = (0..count).map(|n| (f64::from(n * 7919 % 101) - 20.0, weight));
                let mut sorted: Vec<_> = values.collect();
                sorted.sort_by(|a, b| a.0.total_cmp(&b.0));
                let keys: Vec<_> = sorted.iter().map(|pair| to_ordered(pair.0.to_bits())).collect();
                let moments = Moments::of(sorted.iter().copied());
                let counted = query.summarize_weighted(&moments, sorted.iter().copied());
                let mut from_sorted = query.summarize_sorted(&moments, &keys, weight);
                let distance = from_sorted.buckets.iter().zip(&counted.buckets).map(|(a, b)| (a - b).abs());
                assert!(distance.fold(0.0, f64::max) <= 1e-9 * counted.count, "{count} of {weight}");
                from_sorted.buckets.clone_from(&counted.buckets);
                assert_eq!(from_sorted, counted, "{count} of {weight}");
            }
        }
    }

    #[test]
    fn the_number_of_values_decides_between_exact_and_histogram() {
        for count in [100, 101, 150] {
            let values: Vec<_> = (0..count).map(|n| (f64::from(n) + 0.3, 1.0)).collect();
            let whole = summarize(&values, 100, 1);
            for parts in [2, 3, 10] {
                assert_eq!(
                    whole.percentiles,
                    summarize(&values, 100, parts).percentiles,
                    "{count} in {parts}"
                );
            }
            assert_eq!(whole.percentiles[0] == nearest_rank(&values, 50.0), count <= 100, "{count}");
        }
    }

    #[test]
    fn percentiles_of_many_values_are_within_the_error() {
        // This linear congruential generator (Knuth's MMIX) returns the same numbers in every run.
        let mut state = 1_u64;
        let mut uniform = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            ((state >> 11) as f64 + 0.5) / (1_u64 << 53) as f64
        };
        let mut normal = || {
            let radius: f64 = (-2.0 * uniform().ln()).sqrt();
            radius * (std::f64::consts::TAU * uniform()).cos()
        };
        let mut shapes: Vec<(&str, Vec<(f64, f64)>)> = vec![
            ("log-normal", (0..20_000).map(|_| ((normal() * 1.5 + 2.0).exp(), 1.0)).collect()),
            ("negative", (0..20_000).map(|_| (normal() * 50.0, 1.0)).collect()),
            ("constant", vec![(42.0, 1.0); 5000]),
        ];
        shapes.push(("uniform", (0..20_000).map(|_| (uniform() * 1000.0, 1.0)).collect()));
        shapes.push((
            "bimodal",
            (0..20_000).map(|n| (if n % 10 == 0 { 900.0 } else { 3.0 } + uniform(), 1.0)).collect(),
        ));
        shapes.push(("heavy tail", (0..20_000).map(|_| (uniform().powf(-1.2), 1.0)).collect()));
        shapes.push((
            "nanoseconds since 1970",
            (0..20_000).map(|n| (1.8e18 + f64::from(n) * 1e12, 1.0)).collect(),
        ));
        shapes.push(("petabytes", (0..20_000).map(|n| (f64::from(n) * 1e12, 1.0)).collect()));
        shapes.push(("small", (0..20_000).map(|_| (uniform() * 1e-6, 1.0)).collect()));
        shapes.push((
            "weighted",
            (0..20_000).map(|n| (uniform() * 1000.0, [1.0, 10.0, 1.0 / 0.3][n % 3])).collect(),
        ));
        for (shape, values) in shapes {
            for parts in [1, 4] {
                let summary = summarize(&values, 512, parts);
                for (percentile, got) in statistics().percentiles.iter().zip(&summary.percentiles) {
                    let exact = nearest_rank(&values, percentile.percent());
                    let error = (got - exact).abs();
                    // Histograms do not distinguish values below the smallest magnitude.
                    assert!(
                        error <= exact.abs().max(1e-9) * 0.01,
                        "{shape} p{}: {got} for {exact}",
                        percentile.percent()
                    );
                }
                let moments = Moments::of(values.iter().copied());
                assert!((summary.sum - moments.sum).abs() <= 1e-9 * moments.sum.abs().max(1.0), "{shape}");
                assert!(
                    (summary.stddev - moments.stddev()).abs() <= 1e-9 * moments.stddev().max(1.0),
                    "{shape}"
                );
                assert_eq!((summary.min, summary.max), (moments.min, moments.max), "{shape}");
            }
        }
    }

    #[test]
    fn percentile_beyond_the_range_is_the_extreme() {
        let values: Vec<_> = (1..=1024).map(|n| (f64::from(n) * 1e25, 1.0)).collect();
        let largest = 1024.0 * 1e25;
        assert_eq!(*summarize(&values, 10, 1).percentiles, [largest; 6]);
        let values: Vec<_> = values.iter().map(|&(value, weight)| (-value, weight)).collect();
        assert_eq!(*summarize(&values, 10, 1).percentiles, [-largest; 6]);
    }

    #[test]
    fn bounds_are_compared_in_the_exposed_unit() {
        let asked = Statistics { bounds: vec![0.57, 0.571], ..statistics() };
        let values = [(570.0, 1.0), (570.5, 1.0), (571.0, 1.0), (572.0, 1.0)];
        let summary = summarize_in(MILLISECONDS, 2, &asked, &values, 512, 1);
        assert_eq!(*summary.buckets, [1.0, 3.0]);
        assert_eq!(summary.percentiles[0], 570.5);
        let many: Vec<_> = (0..3000).map(|n| (f64::from(n), 1.0)).collect();
        let below: Vec<_> = summarize_in(MILLISECONDS, 4, &asked, &many, 512, 1).buckets.into();
        assert!(below[0] > 569.0 && below[0] <= below[1] && below[1] < 573.0, "{below:?}");
    }

    /// Implements the definition: puts each value into the first bucket whose upper bound it does not exceed.
    fn plain_native(schema: i8, unit: f64, values: &[(f64, f64)]) -> NativeHistogram {
        let bounds = layout::bounds(u32::from(schema.max(0).unsigned_abs()));
        let upper_bound = |index: i32| {
            let each = 1 << schema.max(0);
            match schema {
                0.. => bounds[index.rem_euclid(each) as usize] * 2_f64.powi(index.div_euclid(each) + 1),
                _ => 2_f64.powi(index << -schema),
            }
        };
        let mut sides = [BTreeMap::new(), BTreeMap::new()];
        let mut zero = 0.0;
        for &(value, weight) in values {
            let value = value / unit;
            if value == 0.0 {
                zero += weight;
                continue;
            }
            let magnitude = value.abs().clamp(SMALLEST, LARGEST.next_up());
            // The logarithm may be off by one bucket.
            let near = (magnitude.log2() * f64::from(schema).exp2()).ceil() as i32;
            let index = (near - 1..=near + 1).find(|&index| magnitude <= upper_bound(index)).unwrap();
            *sides[usize::from(value < 0.0)].entry(index).or_insert(0.0) += weight;
        }
        let [positive, negative] = sides;
        NativeHistogram::new(schema, zero, positive, negative)
    }

    fn any_values() -> impl Strategy<Value = Vec<(f64, f64)>> {
        let value = prop_oneof![
            (-11.0..22.0, any::<bool>()).prop_map(|(exponent, is_negative)| {
                let magnitude = 10_f64.powf(exponent);
                if is_negative { -magnitude } else { magnitude }
            }),
            // These values lie on bounds.
            (-20..20).prop_map(|exponent| 2_f64.powi(exponent)),
            prop::sample::select(layout::bounds(6)).prop_map(|bound| bound * 1e3),
            (1..2000).prop_map(f64::from),
            prop::sample::select(&[0.0, -0.0, f64::MIN_POSITIVE, 5e-324, f64::MAX, -f64::MAX][..]),
        ];
        let weight = prop::sample::select(&[1.0, 1.0, 2.0, 10.0][..]);
        proptest::collection::vec((value, weight), 1..200)
    }

    proptest! {
        #[test]
        fn a_native_histogram_has_each_value_in_its_bucket(
            values in any_values(),
            asked in NativeHistogram::SCHEMAS,
            digits in 1_u8..=4,
            unit in prop::sample::select(&[1.0, MILLISECONDS][..]),
            parts in 1_usize..4,
        ) {
            let native = Some(NativeSettings { schema: asked, max_buckets: 0 });
            let asked = Statistics { native, ..Statistics::default() };
            for exact_values in [0, 50, 512] {
                let summary = summarize_in(unit, digits, &asked, &values, exact_values, parts);
                let native = summary.native.unwrap();
                prop_assert_eq!(native.weight(), summary.count);
                prop_assert_eq!(&*native, &plain_native(native.schema, unit, &values));
            }
        }

        #[test]
        fn the_sum_of_native_histograms_equals_that_of_the_whole(
            values in any_values(),
            cut in 0_usize..200,
            asked in NativeHistogram::SCHEMAS,
            exact_values in 0_usize..200,
            max_buckets in 0_usize..40,
        ) {
            let native = |values: &[_], max_buckets| {
                let native = Some(NativeSettings { schema: asked, max_buckets });
                let asked = Statistics { native, ..Statistics::default() };
                *summarize_in(MILLISECONDS, 2, &asked, values, exact_values, 2).native.unwrap()
            };
            let (cut, whole) = (cut % values.len(), native(&values, 0));
            if cut > 0 {
                let mut sum = native(&values[..cut], 0);
                sum.add(&native(&values[cut..], 0));
                prop_assert_eq!(&sum, &whole);
            }
            let mut limited = whole;
            limited.limit(max_buckets);
            prop_assert_eq!(limited, native(&values, max_buckets));
        }
    }

    #[test]
    fn a_native_histogram_is_no_finer_than_the_digits() {
        for (digits, finest) in [(1, 2), (2, 6), (3, 8), (4, 8)] {
            let native = Some(NativeSettings { schema: 8, max_buckets: 0 });
            let asked = Statistics { native, ..Statistics::default() };
            for count in [1, 1000] {
                let summary = summarize_in(1.0, digits, &asked, &vec![(1.0, 1.0); count], 512, 1);
                let native = NativeHistogram::new(finest, 0.0, [(0, count as f64)], []);
                assert_eq!(summary.native.as_deref(), Some(&native), "{digits} digits");
            }
        }
    }

    #[test]
    fn few_values_outside_the_range_of_a_native_histogram_are_counted() {
        let mut buffers = ValueBuffers::new(Distribution::new(2, 1.0), 512, Memory::default());
        buffers.open(SeriesId(0), 1.0);
        let slot = 0;
        [1e-12, -1e20, 1.0, 0.0].iter().for_each(|value: &f64| assert!(buffers.push(slot, value.to_bits())));
        for (native, expected) in [(None, 0), (Some(NativeSettings { schema: 3, max_buckets: 0 }), 2)] {
            let asked = Statistics { native, ..Statistics::default() };
            let mut summarizer = Summarizer::new(2, 512, 1.0);
            summarizer.summarize(&[(0, buffers.contents(slot))], &[&asked], |_, _, inexact| {
                assert_eq!(inexact, Inexact { clamped: expected, absorbed: 2 });
            });
        }
    }
}
