//! Decides when the client logs lost samples.

use std::sync::atomic::{AtomicU64, Ordering};

/// Throttles the reports of losses. A report is due for the first loss, and then each time the number of lost samples
/// reaches or passes a power of two.
#[derive(Default)]
pub(super) struct LossLog {
    last_seen: AtomicU64,
}

impl LossLog {
    /// Returns true if a loss must be logged, given the number of samples lost so far.
    pub(super) fn is_due(&self, lost: u64) -> bool {
        let last_seen = self.last_seen.swap(lost, Ordering::Relaxed);
        last_seen.checked_ilog2() != lost.checked_ilog2()
    }
}
