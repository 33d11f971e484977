//! The counters of one shard in the open interval.

use crate::resolve::SeriesId;

/// Marks a counter without samples. Adding a number to -0.0 gives that number, and no sum of other numbers is -0.0. So
/// the fast path neither checks nor sets a flag.
const UNTOUCHED: f64 = -0.0;

/// One sum per slot.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    sums: Vec<f64>,
    /// The series that each slot belongs to.
    owners: Vec<SeriesId>,
}

impl Counters {
    /// Reserves memory for this many slots in total.
    pub(crate) fn reserve(&mut self, slots: usize) {
        let missing = slots.saturating_sub(self.len());
        self.sums.reserve_exact(missing);
        self.owners.reserve_exact(missing);
    }

    /// Opens the next slot, for a series.
    pub(crate) fn open(&mut self, owner: SeriesId) {
        self.sums.push(UNTOUCHED);
        self.owners.push(owner);
    }

    #[inline(always)]
    pub(crate) fn add(&mut self, slot: u32, value: f64) {
        // A value of -0.0 would leave the counter untouched. Adding 0.0 turns it into 0.0 and changes no other number.
        self.sums[slot as usize] += value + 0.0;
    }

    /// Reads a slot to bring it into the CPU cache.
    #[inline(always)]
    pub(crate) fn touch(&self, slot: u32) -> u64 {
        self.sums.get(slot as usize).map_or(0, |sum| sum.to_bits())
    }

    pub(crate) fn len(&self) -> usize {
        self.owners.len()
    }

    /// Opens slots that `other` has and these counters lack, at most `limit`. Returns true if no slot is missing
    /// afterwards.
    pub(crate) fn catch_up(&mut self, other: &Counters, limit: usize) -> bool {
        let missing = &other.owners[self.len()..];
        let missing = &missing[..missing.len().min(limit)];
        self.owners.extend_from_slice(missing);
        self.sums.resize(self.owners.len(), UNTOUCHED);
        self.len() == other.len()
    }

    /// Calls `each` for each counter that has samples, and resets all counters.
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
    fn a_counter_whose_samples_add_up_to_zero_is_reported() {
        let mut counters = Counters::default();
        for (index, values) in [&[][..], &[1.0, -1.0], &[-0.0], &[0.0], &[2.5, 1.0]].into_iter().enumerate() {
            counters.open(SeriesId(index as u32));
            values.iter().for_each(|&value| counters.add(index as u32, value));
        }
        let mut drained = Vec::new();
        counters.drain(|id, sum| drained.push((id.0, sum)));
        assert_eq!(drained, [(1, 0.0), (2, 0.0), (3, 0.0), (4, 3.5)]);
        counters.drain(|id, _| panic!("{id:?} was drained twice"));
    }

    #[test]
    fn catching_up_opens_the_same_slots_in_steps() {
        let mut ahead = Counters::default();
        (0..5).for_each(|id| ahead.open(SeriesId(id)));
        let mut behind = Counters::default();
        assert!(!behind.catch_up(&ahead, 3));
        assert!(behind.catch_up(&ahead, 3));
        behind.add(4, 1.0);
        behind.drain(|id, sum| assert_eq!((id, sum), (SeriesId(4), 1.0)));
    }
}
