//! Decides which conflicts to log: each one once, and a limited number per snapshot.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hash};
use std::mem;

use foldhash::fast::RandomState;

/// The number of conflicts that are logged per snapshot. The others are only counted.
const PER_SNAPSHOT: u64 = 20;
/// The number of conflicts that are remembered, at 16 bytes each. Clients can cause any number of conflicts.
const REMEMBERED: usize = 10_000;

/// Remembers the conflicts that were logged.
#[derive(Debug, Default)]
pub(crate) struct WarnOnce {
    /// The hashes of the conflicts.
    known: HashSet<u64>,
    /// Each process has a random key.
    hasher: RandomState,
    /// The number of new conflicts in this snapshot.
    new: u64,
}

impl WarnOnce {
    /// Returns true if this conflict should be logged.
    pub(crate) fn is_new(&mut self, conflict: impl Hash) -> bool {
        if self.known.len() >= REMEMBERED {
            // A lasting conflict is logged again, once per ten thousand new ones.
            self.known.clear();
        }
        let is_new = self.known.insert(self.hasher.hash_one(conflict));
        self.new += u64::from(is_new);
        is_new && self.new <= PER_SNAPSHOT
    }

    /// Ends a snapshot. Returns the number of its new conflicts that were not logged.
    pub(crate) fn end_snapshot(&mut self) -> u64 {
        mem::take(&mut self.new).saturating_sub(PER_SNAPSHOT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_conflict_is_logged_once_and_a_snapshot_has_a_limit() {
        let mut warned = WarnOnce::default();
        assert!(warned.is_new("a") && !warned.is_new("a"));
        let logged = (1..100).filter(|number| warned.is_new(number)).count() as u64;
        assert_eq!((logged, warned.end_snapshot()), (PER_SNAPSHOT - 1, 100 - PER_SNAPSHOT));
        assert!(!warned.is_new("a") && warned.is_new("b"));
        assert_eq!(warned.end_snapshot(), 0);
        (0..REMEMBERED).for_each(|number| _ = warned.is_new(number + 100));
        assert!(warned.known.len() < REMEMBERED);
    }
}
