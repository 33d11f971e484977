//! The counters of one shard in the open interval.

use crate::resolve::SeriesId;

/// Marks a counter without samples. Adding a number to -0.0 gives that number, and no sum of other numbers is -0.0. So
/// the fast path sets no flag.
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

    /// Adds a value. Returns the series of the slot if the larger of the sum and the value absorbs the smaller, so that it
    /// is lost.
    ///
    /// The simple version adds 0.0 to each value, so that -0.0 touches the counter, and then compares the sums. This
    /// version handles zeros where the sum has not changed, so the comparison replaces that addition. An ordered
    /// comparison is a single branch, and it also finds NaN: the sum of opposite overflows.
    #[inline(always)]
    #[expect(clippy::double_comparisons, reason = "`!=` is true for NaN, and takes two branches")]
    pub(crate) fn add(&mut self, slot: u32, value: f64) -> Option<SeriesId> {
        let sum = &mut self.sums[slot as usize];
        let before = *sum;
        *sum += value;
        let has_changed = *sum < before || *sum > before;
        let keeps_before = *sum != value || before == 0.0;
        if has_changed && keeps_before { None } else { self.add_lossy(slot, value) }
    }

    /// Handles an addition whose result equals one of the two numbers.
    #[cold]
    #[inline(never)]
    fn add_lossy(&mut self, slot: u32, value: f64) -> Option<SeriesId> {
        if value == 0.0 {
            // A value of -0.0 leaves the counter untouched. Adding 0.0 turns it into 0.0 and changes no other number.
            self.sums[slot as usize] += 0.0;
            return None;
        }
        Some(self.owners[slot as usize])
    }

    /// Reads a slot to bring it into the CPU cache.
    #[inline(always)]
    pub(crate) fn touch(&self, slot: u32) -> u64 {
        self.sums.get(slot as usize).map_or(0, |sum| sum.to_bits())
    }

    /// Returns the series of a slot.
    pub(crate) fn owner(&self, slot: u32) -> SeriesId {
        self.owners[slot as usize]
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
            values.iter().for_each(|&value| assert_eq!(counters.add(index as u32, value), None));
        }
        let mut drained = Vec::new();
        counters.drain(|id, sum| drained.push((id.0, sum)));
        assert_eq!(drained, [(1, 0.0), (2, 0.0), (3, 0.0), (4, 3.5)]);
        counters.drain(|id, _| panic!("{id:?} was drained twice"));
    }

    #[test]
    fn an_addition_that_loses_a_number_returns_its_series() {
        const EXACT: f64 = (1_u64 << 53) as f64;
        let cases: [(&[f64], f64, bool); 11] = [
            (&[EXACT], 1.0, true),
            (&[EXACT], 2.0, false),
            (&[1.0], 2.0 * EXACT, true),
            (&[-1.0], -1e300, true),
            (&[1.0, -1.0], 1e300, false),
            (&[5.0], -5.0, false),
            (&[-1e300], 1.0, true),
            (&[1e300, -1e300], 1.0, false),
            (&[0.0], 1e-300, false),
            (&[f64::MAX, f64::MAX], 1.0, true),
            (&[f64::INFINITY, f64::NEG_INFINITY], 1.0, true),
        ];
        for (values, last, is_absorbed) in cases {
            let mut counters = Counters::default();
            counters.open(SeriesId(7));
            values.iter().for_each(|&value| _ = counters.add(0, value));
            assert_eq!(counters.add(0, last), is_absorbed.then_some(SeriesId(7)), "{values:?} and {last}");
        }
    }

    #[test]
    fn catching_up_opens_the_same_slots_in_steps() {
        let mut ahead = Counters::default();
        (0..5).for_each(|id| ahead.open(SeriesId(id)));
        let mut behind = Counters::default();
        assert!(!behind.catch_up(&ahead, 3));
        assert!(behind.catch_up(&ahead, 3));
        assert_eq!(behind.add(4, 1.0), None);
        behind.drain(|id, sum| assert_eq!((id, sum), (SeriesId(4), 1.0)));
    }
}
