//! Estimates from the samples of all shards who and what sent most in an interval.

use super::catalog::Catalog;
use super::name_series::LEAST_SHARE;
use crate::aggregate::{Columns, FrequentNames};
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
    rejected_names.with_share(LEAST_SHARE).for_each(|(name, lines)| rejected.offer(name, lines));
    let (mut lines, mut sampled) = (0, 0);
    let (mut samples, mut senders) = (Vec::new(), Vec::new());
    for Columns { recorded_sample, origin_sample, .. } in &*columns {
        let in_shard = recorded_sample.lines();
        lines += in_shard;
        sampled += recorded_sample.kept().len() as u64;
        let recorded = recorded_sample.kept().iter().filter_map(|recorded| {
            let (kind, id) = recorded.series?;
            Some((catalog.position(kind, id), recorded.values))
        });
        let mut recorded: Vec<_> = recorded.collect();
        // The catalog is sorted, so all series of a name follow each other.
        recorded.sort_unstable();
        let names = recorded.iter().map(|&(position, values)| (catalog.series()[position].name(), values));
        add(&mut samples, (in_shard, recorded_sample.kept().len()), &names.collect::<Vec<_>>());
        let origins = origin_sample.kept().iter();
        let counted =
            |&Origin { listener, sender }: &Origin| (Origin { listener, sender: sender.counted() }, 1);
        let mut origins: Vec<_> = origins.map(counted).collect();
        origins.sort_unstable();
        add(&mut senders, (in_shard, origin_sample.kept().len()), &origins);
    }
    let samples = largest(&samples).map(|(name, estimate)| (name.to_owned(), estimate)).collect();
    Talkers { lines, sampled, samples, series, added, rejected, senders: largest(&senders).collect() }
}

/// An estimated sum.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    estimate: f64,
    /// The variance of the estimate.
    variance: f64,
}

/// Adds the sample of a shard to the `sums` of all shards, which are sorted by their keys. The shard had `lines`, of which `kept` are in
/// the sample. `counts` says what each of these counts for, and how much, sorted by the keys.
///
/// The formulas are those of stratified sampling without replacement (Cochran, Sampling Techniques, 1977, 5.3): with n of N
/// lines, and the mean and the variance s^2 of their counts, the sum is N * mean, and its variance is N^2 * (1 - n/N) * s^2 / n.
fn add<K: Ord + Copy>(sums: &mut Vec<(K, Sum)>, (lines, kept): (u64, usize), counts: &[(K, u32)]) {
    let (lines, kept) = (lines as f64, kept as f64);
    for counts in counts.chunk_by(|a, b| a.0 == b.0) {
        let (sum, squares) = counts.iter().fold((0.0, 0.0), |(sum, squares), &(_, count)| {
            (sum + f64::from(count), squares + f64::from(count).powi(2))
        });
        let mean = sum / kept;
        let spread = (squares / kept - mean.powi(2)) * kept / (kept - 1.0).max(1.0);
        let variance = lines.powi(2) * (1.0 - kept / lines) * spread / kept;
        sums.push((counts[0].0, Sum { estimate: lines * mean, variance }));
    }
    // This takes linear time if there is only one shard.
    sums.sort_by_key(|(key, _)| *key);
}

/// Joins neighbours with the same key, and returns the largest sums in descending order. Of equal sums, those with the smaller key
/// come first.
fn largest<K: Ord + Copy>(sums: &[(K, Sum)]) -> impl Iterator<Item = (K, Estimate)> + use<K> {
    let mut joined: Vec<_> = sums
        .chunk_by(|a, b| a.0 == b.0)
        .map(|same| {
            let total = same.iter().fold(Sum::default(), |total, (_, sum)| Sum {
                estimate: total.estimate + sum.estimate,
                variance: total.variance + sum.variance,
            });
            (same[0].0, total)
        })
        .collect();
    let descending = |(a, sum_a): &(K, Sum), (b, sum_b): &(K, Sum)| {
        sum_b.estimate.total_cmp(&sum_a.estimate).then_with(|| a.cmp(b))
    };
    if joined.len() > TopNames::LENGTH {
        joined.select_nth_unstable_by(TopNames::LENGTH, descending);
        joined.truncate(TopNames::LENGTH);
    }
    joined.sort_unstable_by(descending);
    joined.into_iter().map(|(key, Sum { estimate, variance })| {
        (key, Estimate { number: estimate, error: WITHIN_95_PERCENT * variance.max(0.0).sqrt() })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::LineSample;

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
            let mut sums = Vec::new();
            let counts: Vec<_> = sample.kept().iter().map(|values| ((), *values)).collect();
            add(&mut sums, (lines, counts.len()), &counts);
            let [((), estimate)] = largest(&sums).collect::<Vec<_>>()[..] else { panic!() };
            assert!(estimate.error > 0.0 && estimate.error < 2000.0, "{estimate:?}");
            let truth = (lines / often * 2) as f64;
            within += u32::from((estimate.number - truth).abs() <= estimate.error);
        }
        // 190 of 200 are expected, with a standard deviation of 3.
        assert!((175..=200).contains(&within), "{within}");
    }
}
