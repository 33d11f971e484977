//! The order of series in the benches: scattered, and the same in every run.
//!
//! In the order of their first samples, or in equal steps, series would let a receiver walk through its memory in a way that
//! the processor predicts. No real stream does that.

/// A linear congruential generator (Knuth's MMIX).
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Returns a number below `limit`, which is at most 2^32.
    pub(crate) fn below(&mut self, limit: u64) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (((self.0 >> 32) * limit) >> 32) as usize
    }

    /// Shuffles the items (Fisher and Yates).
    pub(crate) fn shuffle(&mut self, items: &mut [usize]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end as u64 + 1));
        }
    }
}
