//! Estimates from the samples of all shards who and what sent most in an interval.

use std::hash::Hash;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use super::catalog::Catalog;
use crate::aggregate::{Columns, FrequentNames, LineSample};
use crate::model::{Estimate, Origin, Talkers, TopNames};

/// The number of standard deviations that 95 % of a normal distribution are within.
const WITHIN_95_PERCENT: f64 = 1.96;

/// Returns the senders and the names that took most of an interval. `series` and `added` are the names with the most series,
/// and with the most new ones.
pub(super) fn talkers(
    columns: &mut [Columns],
    catalog: &Catalog,
    (series, added): (TopNames, TopNames),
) -> Talkers {
    let mut rejected_names = FrequentNames::default();
    columns.iter_mut().for_each(|columns| rejected_names.merge(&mut columns.rejected_names));
    let mut rejected = TopNames::default();
    rejected_names.iter().for_each(|(name, lines)| rejected.offer(name, lines));
    let (mut samples, mut senders) = (Sums::default(), Sums::default());
    let (mut lines, mut sampled) = (0, 0);
    for Columns { recorded_sample, origin_sample, .. } in &*columns {
        let in_shard = recorded_sample.lines();
        lines += in_shard;
        sampled += recorded_sample.kept().len() as u64;
        samples.add(recorded_sample, in_shard, |recorded| {
            let (kind, id) = recorded.series?;
            Some((catalog.series()[catalog.position(kind, id)].name(), recorded.values))
        });
        senders.add(origin_sample, in_shard, |&Origin { listener, sender }| {
            Some((Origin { listener, sender: sender.counted() }, 1))
        });
    }
    let samples = samples.largest().map(|(name, estimate)| (name.to_owned(), estimate)).collect();
    Talkers { lines, sampled, samples, series, added, rejected, senders: senders.largest().collect() }
}

/// Estimated sums over all shards, by `K`.
#[derive(Debug)]
struct Sums<K>(HashMap<K, Sum, RandomState>);

/// An estimated sum.
#[derive(Debug, Default)]
struct Sum {
    estimate: f64,
    /// The variance of the estimate.
    variance: f64,
}

impl<K> Default for Sums<K> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<K: Hash + Ord + Copy> Sums<K> {
    /// Adds the sample of a shard, which had this number of lines. `count` returns what a line counts for, and how much.
    ///
    /// The formulas are those of stratified sampling without replacement (Cochran, Sampling Techniques, 1977, 5.3): with n of N
    /// lines, and the mean and the variance s^2 of their counts, the sum is N * mean, and its variance is N^2 * (1 - n/N) * s^2 / n.
    fn add<T>(&mut self, sample: &LineSample<T>, lines: u64, count: impl Fn(&T) -> Option<(K, u32)>) {
        let mut counted: HashMap<K, (f64, f64), RandomState> = HashMap::default();
        for (key, count) in sample.kept().iter().filter_map(count) {
            let (sum, squares) = counted.entry(key).or_default();
            *sum += f64::from(count);
            *squares += f64::from(count).powi(2);
        }
        let (lines, kept) = (lines as f64, sample.kept().len() as f64);
        for (key, (sum, squares)) in counted {
            let mean = sum / kept;
            let spread = (squares / kept - mean.powi(2)) * kept / (kept - 1.0).max(1.0);
            let total = self.0.entry(key).or_default();
            total.estimate += lines * mean;
            total.variance += lines.powi(2) * (1.0 - kept / lines) * spread / kept;
        }
    }

    /// Returns the largest sums in descending order. Of equal sums, those with the smaller key come first.
    fn largest(self) -> impl Iterator<Item = (K, Estimate)> {
        let mut sums: Vec<_> = self.0.into_iter().collect();
        let descending = |(a, sum_a): &(K, Sum), (b, sum_b): &(K, Sum)| {
            sum_b.estimate.total_cmp(&sum_a.estimate).then_with(|| a.cmp(b))
        };
        if sums.len() > TopNames::LENGTH {
            sums.select_nth_unstable_by(TopNames::LENGTH, descending);
            sums.truncate(TopNames::LENGTH);
        }
        sums.sort_unstable_by(descending);
        sums.into_iter().map(|(key, Sum { estimate, variance })| {
            (key, Estimate { number: estimate, error: WITHIN_95_PERCENT * variance.max(0.0).sqrt() })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_of_the_lines_is_within_its_error_in_most_intervals() {
        let (rounds, lines, often) = (200, 20_000, 4);
        let mut within = 0;
        for _round in 0..rounds {
            let mut sample = LineSample::default();
            for number in 0..lines {
                // Each line of the name has two values.
                sample.pass(1, |_| if number % often == 0 { 2 } else { 0 });
            }
            let mut sums = Sums::default();
            sums.add(&sample, lines, |values| Some(((), *values)));
            let [((), estimate)] = sums.largest().collect::<Vec<_>>()[..] else { panic!() };
            assert!(estimate.error > 0.0 && estimate.error < 2000.0, "{estimate:?}");
            let truth = (lines / often * 2) as f64;
            within += u32::from((estimate.number - truth).abs() <= estimate.error);
        }
        // 190 of 200 are expected, with a standard deviation of 3.
        assert!((175..=200).contains(&within), "{within}");
    }
}
