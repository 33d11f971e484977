//! Which conflicts are worth a line in the log: each once, and not too many at a time.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hash};

use foldhash::fast::RandomState;

/// Conflicts told of in one snapshot; the others are only counted.
const A_SNAPSHOT: u64 = 20;
/// Conflicts that are remembered, 16 bytes each. Clients can make up any number of them.
const REMEMBERED: usize = 10_000;

/// What was told already.
#[derive(Debug, Default)]
pub(super) struct News {
    /// Hashes.
    told: HashSet<u64>,
    /// Keyed afresh for each process.
    hasher: RandomState,
    /// New ones since the latest snapshot began.
    new: u64,
}

impl News {
    /// Whether a conflict is to be told of.
    pub(super) fn is_new(&mut self, conflict: impl Hash) -> bool {
        if self.told.len() >= REMEMBERED {
            // The ones that last are told again, every ten thousand.
            self.told.clear();
        }
        let is_new = self.told.insert(self.hasher.hash_one(conflict));
        self.new += u64::from(is_new);
        is_new && self.new <= A_SNAPSHOT
    }

    /// Ends a snapshot: says how many conflicts it was not told of.
    pub(super) fn end(&mut self) -> u64 {
        std::mem::take(&mut self.new).saturating_sub(A_SNAPSHOT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_conflict_is_told_once_and_no_more_than_some_at_a_time() {
        let mut news = News::default();
        assert!(news.is_new("a") && !news.is_new("a"));
        let told = (1..100).filter(|number| news.is_new(number)).count() as u64;
        assert_eq!((told, news.end()), (A_SNAPSHOT - 1, 100 - A_SNAPSHOT));
        assert!(!news.is_new("a") && news.is_new("b"));
        assert_eq!(news.end(), 0);
        (0..REMEMBERED).for_each(|number| _ = news.is_new(number + 100));
        assert!(news.told.len() < REMEMBERED);
    }
}
