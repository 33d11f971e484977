//! Holds the sizes and the random orders that the streams of all benches share.
#![allow(dead_code, reason = "each bench uses a part")]

/// The number of lines per datagram, except in the streams that vary it.
pub(crate) const LINES_PER_DATAGRAM: usize = 20;
/// The largest number of datagrams that a receiver receives and records at once, as in `src/listen/datagrams.rs`.
pub(crate) const BATCH: usize = 32;

/// Returns the numbers of the series, `passes` times. Each pass has its own random order, which is the same in every
/// run.
///
/// A regular order, such as the order of first samples, would give a receiver memory accesses that the processor can
/// predict. Real streams do not.
pub(crate) fn shuffled_passes(series: usize, passes: usize) -> impl Iterator<Item = usize> {
    let mut random = Random(1);
    let mut order: Vec<_> = (0..series).collect();
    (0..passes).flat_map(move |_| {
        random.shuffle(&mut order);
        order.clone()
    })
}

/// A linear congruential generator with the constants of Knuth's MMIX.
#[derive(Debug)]
pub(crate) struct Random(pub(crate) u64);

impl Random {
    /// Returns a number below `limit`, which is at most 2^32.
    pub(crate) fn below(&mut self, limit: u64) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (((self.0 >> 32) * limit) >> 32) as usize
    }

    /// Shuffles the items with the algorithm of Fisher and Yates.
    fn shuffle(&mut self, items: &mut [usize]) {
        for end in (1..items.len()).rev() {
            items.swap(end, self.below(end as u64 + 1));
        }
    }
}
