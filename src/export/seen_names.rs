//! Finds series whose names become equal for a server that permits fewer characters, such as `a.b` and `a_b`.

use std::hash::BuildHasher;

use hashbrown::HashSet;

/// The names that an endpoint got in an interval.
///
/// Only hashes of 64 bits are kept. Among a million names, two different ones have equal hashes in one of 30 million intervals. The
/// hasher has a random seed, so no client can choose such names.
#[derive(Debug, Default)]
pub(super) struct SeenNames {
    hashes: HashSet<u64>,
    hasher: foldhash::fast::RandomState,
}

impl SeenNames {
    /// Creates a set with room for this many names.
    pub(super) fn with_capacity(names: usize) -> Self {
        Self { hashes: HashSet::with_capacity(names), ..Self::default() }
    }

    /// Adds a name. Returns false if it is in the set already: the server would keep only one of the two series.
    pub(super) fn is_new(&mut self, name: &str) -> bool {
        self.hashes.insert(self.hasher.hash_one(name))
    }
}
