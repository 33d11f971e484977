//! Spreads entries over many small hash tables, so that none takes long to grow.

/// The number of tables over which entries are spread by hash. A single table of a million series takes 100 ms to grow,
/// while all receivers with new series wait. Each of these tables grows in less than half a millisecond.
pub(super) const TABLES: usize = 256;

/// Returns the table of a hash. The bits that choose the table do not determine the position within it.
pub(super) fn table_of(hash: u64) -> usize {
    (hash >> 40) as usize % TABLES
}
