//! Estimates from the samples of all shards who and what sent most in an interval.

use super::catalog::Catalog;
use super::name_series::LEAST_SHARE;
use crate::aggregate::{Columns, FrequentNames, Recorded};
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
    let name = |position: u32| catalog.series()[position as usize].name();
    for columns in &*columns {
        let Columns { recorded_sample, origin_sample, .. } = columns;
        let in_shard = recorded_sample.lines();
        lines += in_shard;
        sampled += recorded_sample.kept().len() as u64;
        let mut recorded = Vec::with_capacity(recorded_sample.kept().len());
        recorded.extend(recorded_sample.kept().iter().filter_map(|&Recorded { place, values }| {
            let (kind, slot) = place?;
            let position = catalog.position(kind, columns.owner(kind, slot)) as u32;
            Some(SampledLines { key: position, lines: 1, count: values })
        }));
        // The catalog is sorted, so all series of a name follow each other. The first one in the sample stands for the name, because
        // comparing positions is faster than comparing names.
        recorded.sort_unstable_by_key(|line| line.key);
        let has_same_name = |a: &u32, b: &u32| a == b || name(*a) == name(*b);
        add(&mut samples, (in_shard, recorded_sample.kept().len()), &recorded, has_same_name);
        // Often, many lines in succession have the same sender.
        let runs = origin_sample.kept().chunk_by(|a, b| a == b).map(|run| {
            let Origin { listener, sender } = run[0];
            SampledLines {
                key: Origin { listener, sender: sender.counted() },
                lines: run.len() as u32,
                count: 1,
            }
        });
        let mut runs: Vec<_> = runs.collect();
        runs.sort_unstable_by_key(|run| run.key);
        add(&mut senders, (in_shard, origin_sample.kept().len()), &runs, Origin::eq);
    }
    let samples =
        largest(samples).map(|(position, estimate)| (name(position).to_owned(), estimate)).collect();
    Talkers { lines, sampled, samples, series, added, rejected, senders: largest(senders).collect() }
}

/// Lines of a sample with the same key.
#[derive(Debug, Clone, Copy)]
struct SampledLines<K> {
    key: K,
    lines: u32,
    /// What each of the lines counts for.
    count: u32,
}

/// An estimated sum.
#[derive(Debug, Clone, Copy, Default)]
struct Sum {
    estimate: f64,
    /// The variance of the estimate.
    variance: f64,
}

/// Adds the sample of a shard to the `sums` of all shards, which are sorted by their keys. The shard had `lines`, of which `kept` are in
/// the sample. `sampled` are these, or the part of them that counts, sorted by their keys. Keys that follow each other can be the
/// `same`; one of them stands for all.
///
/// The formulas are those of stratified sampling without replacement (Cochran, Sampling Techniques, 1977, 5.3): with n of N
/// lines, and the mean and the variance s^2 of their counts, the sum is N * mean, and its variance is N^2 * (1 - n/N) * s^2 / n.
fn add<K: Ord + Copy>(
    sums: &mut Vec<(K, Sum)>,
    (lines, kept): (u64, usize),
    sampled: &[SampledLines<K>],
    same: impl Fn(&K, &K) -> bool,
) {
    let is_first = sums.is_empty();
    sums.reserve(sampled.len());
    let (lines, kept) = (lines as f64, kept as f64);
    for of_key in sampled.chunk_by(|a, b| same(&a.key, &b.key)) {
        let (sum, squares) = of_key.iter().fold((0.0, 0.0), |(sum, squares), sampled| {
            let (lines, count) = (f64::from(sampled.lines), f64::from(sampled.count));
            (sum + lines * count, squares + lines * count.powi(2))
        });
        let mean = sum / kept;
        let spread = (squares / kept - mean.powi(2)) * kept / (kept - 1.0).max(1.0);
        let variance = lines.powi(2) * (1.0 - kept / lines) * spread / kept;
        sums.push((of_key[0].key, Sum { estimate: lines * mean, variance }));
    }
    if !is_first {
        sums.sort_by_key(|(key, _)| *key);
        sums.dedup_by(|(key, sum), (kept, total)| {
            let is_same = same(kept, key);
            if is_same {
                total.estimate += sum.estimate;
                total.variance += sum.variance;
            }
            is_same
        });
    }
}

/// Returns the largest sums in descending order. Of equal sums, those with the smaller key come first.
fn largest<K: Ord>(mut sums: Vec<(K, Sum)>) -> impl Iterator<Item = (K, Estimate)> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::aggregate::LineSample;

    #[test]
    fn the_sums_of_shards_are_joined_by_name() {
        // The first digit is the name.
        let same = |a: &u32, b: &u32| a / 10 == b / 10;
        let line = |key, lines| SampledLines { key, lines, count: 2 };
        let mut sums = Vec::new();
        add(&mut sums, (4, 4), &[line(11, 1), line(12, 1), line(20, 2)], same);
        add(&mut sums, (3, 3), &[line(10, 1), line(29, 1), line(30, 1)], same);
        let largest: Vec<_> = largest(sums).map(|(key, estimate)| (key / 10, estimate)).collect();
        let exact = |number| Estimate { number, error: 0.0 };
        assert_eq!(largest, [(1, exact(6.0)), (2, exact(6.0)), (3, exact(2.0))]);
    }

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
            let sampled = sample.kept().iter().map(|&count| SampledLines { key: (), lines: 1, count });
            let sampled: Vec<_> = sampled.collect();
            add(&mut sums, (lines, sampled.len()), &sampled, |(), ()| true);
            let [((), estimate)] = largest(sums).collect::<Vec<_>>()[..] else { panic!() };
            assert!(estimate.error > 0.0 && estimate.error < 2000.0, "{estimate:?}");
            let truth = (lines / often * 2) as f64;
            within += u32::from((estimate.number - truth).abs() <= estimate.error);
        }
        // 190 of 200 are expected, with a standard deviation of 3.
        assert!((175..=200).contains(&within), "{within}");
    }
}
