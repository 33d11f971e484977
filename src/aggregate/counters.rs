//! The open interval's counters of one shard.

use crate::resolve::SeriesId;

/// Marks a counter without samples. Adding to -0.0 gives the other number unchanged, and no sum of other numbers is
/// -0.0, so the hot path neither checks nor sets a flag.
const UNTOUCHED: f64 = -0.0;

/// One sum a cell.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    sums: Vec<f64>,
    /// The series that each cell belongs to.
    owners: Vec<SeriesId>,
}

impl Counters {
    /// Makes room for a number of cells in all.
    pub(crate) fn make_room(&mut self, cells: usize) {
        let missing = cells.saturating_sub(self.len());
        self.sums.reserve_exact(missing);
        self.owners.reserve_exact(missing);
    }

    /// A new cell of a series.
    pub(crate) fn open(&mut self, owner: SeriesId) -> u32 {
        self.sums.push(UNTOUCHED);
        self.owners.push(owner);
        self.owners.len() as u32 - 1
    }

    #[inline(always)]
    pub(crate) fn add(&mut self, cell: u32, value: f64) {
        // -0.0 as a value would leave the counter untouched; adding 0.0 makes it 0.0 and changes no other number.
        self.sums[cell as usize] += value + 0.0;
    }

    /// Reads a cell, so that it will be in the cache.
    #[inline(always)]
    pub(crate) fn touch(&self, cell: u32) -> u64 {
        self.sums.get(cell as usize).map_or(0, |sum| sum.to_bits())
    }

    pub(crate) fn len(&self) -> usize {
        self.owners.len()
    }

    /// Opens up to `limit` cells that `other` has and this one has not. Whether none is missing after that.
    pub(crate) fn catch_up(&mut self, other: &Counters, limit: usize) -> bool {
        let missing = &other.owners[self.len()..];
        let missing = &missing[..missing.len().min(limit)];
        self.owners.extend_from_slice(missing);
        self.sums.resize(self.owners.len(), UNTOUCHED);
        self.len() == other.len()
    }

    /// Hands out every counter that has samples, and leaves all of them without.
    pub(crate) fn drain(&mut self, mut each: impl FnMut(SeriesId, f64)) {
        for (sum, &owner) in self.sums.iter_mut().zip(&self.owners) {
            if sum.to_bits() != UNTOUCHED.to_bits() {
                each(owner, *sum);
                *sum = UNTOUCHED;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_with_samples_is_handed_out_even_if_they_add_up_to_zero() {
        let mut counters = Counters::default();
        for (index, values) in [&[][..], &[1.0, -1.0], &[-0.0], &[0.0], &[2.5, 1.0]].into_iter().enumerate() {
            let cell = counters.open(SeriesId(index as u32));
            values.iter().for_each(|&value| counters.add(cell, value));
        }
        let mut drained = Vec::new();
        counters.drain(|id, sum| drained.push((id.0, sum)));
        assert_eq!(drained, [(1, 0.0), (2, 0.0), (3, 0.0), (4, 3.5)]);
        counters.drain(|id, _| panic!("{id:?} was drained twice"));
    }

    #[test]
    fn catching_up_goes_in_steps_and_opens_the_same_cells() {
        let mut ahead = Counters::default();
        (0..5).for_each(|id| _ = ahead.open(SeriesId(id)));
        let mut behind = Counters::default();
        assert!(!behind.catch_up(&ahead, 3));
        assert!(behind.catch_up(&ahead, 3));
        behind.add(4, 1.0);
        behind.drain(|id, sum| assert_eq!((id, sum), (SeriesId(4), 1.0)));
    }
}
