//! The counters of one shard in the open interval.

use super::push_exact;
use crate::resolve::SeriesId;

/// Marks a counter without samples. Adding a number to -0.0 gives that number, and no sum of other numbers is -0.0. So
/// the fast path sets no flag.
const UNTOUCHED: f64 = -0.0;

/// One sum per slot.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    sums: Vec<f64>,
    /// The number of additions that changed nothing, because the sum absorbed the value.
    absorbed: u64,
    /// Some of the slots with such additions.
    absorbing: Vec<u32>,
}

/// The largest number of slots that are noted for absorbing values.
const NOTED: usize = 16;

impl Counters {
    /// Reserves memory for this many slots in total.
    pub(crate) fn reserve(&mut self, slots: usize) {
        self.sums.reserve_exact(slots.saturating_sub(self.len()));
    }

    /// Opens the next slot.
    pub(crate) fn open(&mut self) {
        push_exact(&mut self.sums, UNTOUCHED);
    }

    /// Adds a value. Notes if the sum absorbs the value, so that it is lost.
    ///
    /// The simple version adds 0.0 to each value, so that -0.0 touches the counter, and then compares the sums. This
    /// version handles zeros where the sum has not changed, so the comparison replaces that addition. An ordered
    /// comparison is a single branch, and it also finds NaN: the sum of opposite overflows.
    #[inline(always)]
    #[expect(clippy::double_comparisons, reason = "`!=` is true for NaN, and takes two branches")]
    pub(crate) fn add(&mut self, slot: u32, value: f64) {
        let sum = &mut self.sums[slot as usize];
        let before = *sum;
        *sum += value;
        if !(*sum < before || *sum > before) {
            self.add_unchanged(slot, value);
        }
    }

    /// Handles an addition that did not change the sum.
    #[cold]
    #[inline(never)]
    fn add_unchanged(&mut self, slot: u32, value: f64) {
        if value == 0.0 {
            // A value of -0.0 leaves the counter untouched. Adding 0.0 turns it into 0.0 and changes no other number.
            self.sums[slot as usize] += 0.0;
            return;
        }
        self.absorbed += 1;
        if self.absorbing.len() < NOTED && !self.absorbing.contains(&slot) {
            self.absorbing.push(slot);
        }
    }

    /// Returns the number of additions that changed nothing, and some of their slots.
    pub(crate) fn absorbed(&self) -> (u64, &[u32]) {
        (self.absorbed, &self.absorbing)
    }

    /// Reads a slot to bring it into the CPU cache.
    #[inline(always)]
    pub(crate) fn touch(&self, slot: u32) -> u64 {
        self.sums.get(slot as usize).map_or(0, |sum| sum.to_bits())
    }

    pub(crate) fn len(&self) -> usize {
        self.sums.len()
    }

    /// Opens slots that `other` has and these counters lack, at most `limit`. Returns true if no slot is missing
    /// afterwards.
    pub(crate) fn catch_up(&mut self, other: &Counters, limit: usize) -> bool {
        self.sums.resize(other.len().min(self.len().saturating_add(limit)), UNTOUCHED);
        self.len() == other.len()
    }

    /// Calls `each` for each counter that has samples, with the series that its slot belongs to. Resets all counters.
    pub(crate) fn drain(&mut self, owners: &[SeriesId], mut each: impl FnMut(SeriesId, f64)) {
        self.absorbed = 0;
        self.absorbing.clear();
        for (sum, &owner) in self.sums.iter_mut().zip(owners) {
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
        let owners: Vec<_> = (0..5).map(SeriesId).collect();
        for (index, values) in [&[][..], &[1.0, -1.0], &[-0.0], &[0.0], &[2.5, 1.0]].into_iter().enumerate() {
            counters.open();
            values.iter().for_each(|&value| counters.add(index as u32, value));
        }
        assert_eq!(counters.absorbed(), (0, &[][..]));
        let mut drained = Vec::new();
        counters.drain(&owners, |id, sum| drained.push((id.0, sum)));
        assert_eq!(drained, [(1, 0.0), (2, 0.0), (3, 0.0), (4, 3.5)]);
        counters.drain(&owners, |id, _| panic!("{id:?} was drained twice"));
    }

    #[test]
    fn an_addition_that_changes_nothing_is_noted() {
        const EXACT: f64 = (1_u64 << 53) as f64;
        let cases: [(&[f64], f64, bool); 7] = [
            (&[EXACT], 1.0, true),
            (&[EXACT], 2.0, false),
            (&[-1e300], 1.0, true),
            (&[1e300, -1e300], 1.0, false),
            (&[0.0], 1e-300, false),
            (&[f64::MAX, f64::MAX], 1.0, true),
            (&[f64::INFINITY, f64::NEG_INFINITY], 1.0, true),
        ];
        for (values, last, is_absorbed) in cases {
            let mut counters = Counters::default();
            counters.open();
            values.iter().for_each(|&value| counters.add(0, value));
            let before = counters.absorbed().0;
            counters.add(0, last);
            assert_eq!(counters.absorbed().0 - before, u64::from(is_absorbed), "{values:?} and {last}");
            assert_eq!(counters.absorbed().1.is_empty(), counters.absorbed().0 == 0);
            counters.drain(&[SeriesId(7)], |_, _| ());
            assert_eq!(counters.absorbed(), (0, &[][..]));
        }
    }

    #[test]
    fn catching_up_opens_the_same_slots_in_steps() {
        let mut ahead = Counters::default();
        (0..5).for_each(|_| ahead.open());
        let mut behind = Counters::default();
        assert!(!behind.catch_up(&ahead, 3));
        assert!(behind.catch_up(&ahead, 3));
        behind.add(4, 1.0);
        let owners: Vec<_> = (10..15).map(SeriesId).collect();
        behind.drain(&owners, |id, sum| assert_eq!((id, sum), (SeriesId(14), 1.0)));
    }
}
