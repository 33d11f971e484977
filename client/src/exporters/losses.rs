//! Counts lost samples, and decides when the client logs them.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::text::{push_metric_name, push_tags};
use crate::poison::ignore_poison;
use crate::sample::Sample;

/// The lost samples, by the reason of their loss. The `statsd` exporter counts the samples that it cannot send itself.
#[derive(Default)]
pub(super) struct Losses(Mutex<BTreeMap<&'static str, Loss>>);

#[derive(Default)]
struct Loss {
    lost: u64,
    /// The series of the last lost sample, such as `ResumeParser.queue|g|env:prod`.
    series: String,
    log: LossLog,
}

impl Losses {
    /// Counts the calls of a lost sample. It does not log it, because the log may itself record metrics.
    pub(super) fn add(&self, sample: &Sample<'_>, reason: &'static str) {
        let mut losses = ignore_poison(self.0.lock());
        let loss = losses.entry(reason).or_default();
        loss.lost += sample.calls;
        loss.series.clear();
        push_metric_name(&mut loss.series, "", sample);
        loss.series.extend(["|", sample.value.wire_type()]);
        push_tags(&mut loss.series, "|", sample);
    }

    pub(super) fn count(&self) -> u64 {
        ignore_poison(self.0.lock()).values().map(|loss| loss.lost).sum()
    }

    /// Logs lost samples. [`LossLog`] throttles the records of each reason.
    pub(super) fn log(&self) {
        let mut due = Vec::new();
        for (reason, loss) in &*ignore_poison(self.0.lock()) {
            if loss.log.is_due(loss.lost) {
                due.push((*reason, loss.lost, loss.series.clone()));
            }
        }
        for (reason, lost, series) in due {
            tracing::error!(lost, series, reason, "samples are dropped");
        }
    }
}

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
