//! Counts the distinct members of a set.

use cardinality_estimator::CardinalityEstimator;
use foldhash::fast::FixedState;
use hashbrown::HashSet;

use super::value_buffers::{Contents, Fold};

/// The members of a set. A 64-bit hash represents each member. The key of the hash is random for each process and the
/// same in all shards.
///
/// Up to a limit, the set keeps the hashes themselves. Among a thousand members, the chance that two share a hash is
/// 3e-14. Beyond the limit, a `HyperLogLog` estimates the number of members (standard error 1.6 %).
#[derive(Debug)]
pub(crate) struct Members {
    limit: usize,
    /// The hashes are random already, so the table needs no random key.
    exact: HashSet<u64, FixedState>,
    estimator: Option<CardinalityEstimator<u64>>,
}

impl Members {
    pub(crate) fn new(limit: usize) -> Self {
        Self { limit, exact: HashSet::default(), estimator: None }
    }

    fn insert(&mut self, hash: u64) {
        if let Some(estimator) = &mut self.estimator {
            estimator.insert_hash(hash);
        } else if self.exact.insert(hash) && self.exact.len() > self.limit {
            let mut estimator = CardinalityEstimator::new();
            self.exact.drain().for_each(|hash| estimator.insert_hash(hash));
            self.estimator = Some(estimator);
        }
    }

    fn merge(&mut self, other: &Self) {
        if let Some(others) = &other.estimator {
            let mut estimator = self.estimator.take().unwrap_or_default();
            self.exact.drain().for_each(|hash| estimator.insert_hash(hash));
            estimator.merge(others);
            self.estimator = Some(estimator);
        }
        other.exact.iter().for_each(|&hash| self.insert(hash));
    }

    fn count(&self) -> usize {
        self.estimator.as_ref().map_or(self.exact.len(), CardinalityEstimator::estimate)
    }

    /// Returns the number of distinct members in all parts together. It replaces the present members.
    pub(crate) fn union<'a>(&mut self, parts: impl Iterator<Item = Contents<'a, Members>>) -> usize {
        self.clear();
        for part in parts {
            if let Some(folded) = part.folded {
                self.merge(folded);
            }
            for (hashes, _) in part.runs() {
                hashes.iter().for_each(|&hash| self.insert(hash));
            }
        }
        self.count()
    }
}

impl Fold for Members {
    fn empty(&self) -> Self {
        Self::new(self.limit)
    }

    fn fold(&mut self, words: &[u64], _weight: f64) {
        words.iter().for_each(|&hash| self.insert(hash));
    }

    fn clear(&mut self) {
        self.exact.clear();
        self.estimator = None;
    }

    fn bytes(&self) -> usize {
        let estimator = self.estimator.as_ref().map_or(0, CardinalityEstimator::size_of);
        size_of::<Self>() + self.exact.allocation_size() + estimator
    }

    fn bytes_with(&self, words: &[u64]) -> usize {
        // A table that grows doubles its capacity, and is at least half full then.
        let added = if self.estimator.is_some() { 0 } else { 4 * size_of_val(words) };
        self.bytes() + self.exact.allocation_size() + added
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::*;

    fn members(limit: usize, numbers: std::ops::Range<u64>) -> Members {
        let mut members = Members::new(limit);
        let hasher = foldhash::quality::FixedState::with_seed(7);
        let hashes: Vec<_> = numbers.map(|number| hasher.hash_one(number)).collect();
        members.fold(&hashes, 1.0);
        members
    }

    #[test]
    fn members_are_counted_exactly_up_to_the_limit() {
        let mut all = members(1000, 0..600);
        all.merge(&members(1000, 200..1000));
        assert_eq!(all.count(), 1000);
        assert!(all.estimator.is_none());
    }

    #[test]
    fn the_estimate_is_close_and_does_not_depend_on_the_split() {
        let whole = members(1000, 0..50_000);
        assert!((whole.count() as f64 / 50_000.0 - 1.0).abs() < 0.05, "{}", whole.count());
        for cut in [10, 500, 25_000, 49_999] {
            let mut merged = members(1000, 0..cut);
            merged.merge(&members(1000, cut / 2..50_000));
            assert_eq!(merged.count(), whole.count(), "{cut}");
            let mut merged = members(1000, cut / 2..50_000);
            merged.merge(&members(1000, 0..cut));
            assert_eq!(merged.count(), whole.count(), "{cut}");
        }
    }
}
