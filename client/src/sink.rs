//! The destination of samples, which decides which calls are sent.

use crate::exporters::Exporters;
use crate::sample::{Rate, Sample, Tags};

/// The destination of samples: the exporters, and the settings that apply to all samples.
pub(crate) struct Sink {
    pub(crate) exporters: Exporters,
    pub(crate) tags: Vec<(String, String)>,
    /// The factor for the rates of all calls, above 0 and at most 1.
    pub(crate) sample_rate: f64,
}

impl Sink {
    /// Returns true if at least one exporter is running.
    #[inline]
    pub(crate) fn is_enabled(&self) -> bool {
        !self.exporters.is_empty()
    }

    /// Decides whether a call is recorded. `rate` is the share of calls to send. Returns the rate of the call's sample,
    /// or `None` if no exporter wants it.
    #[inline]
    pub(crate) fn sample_call(&self, rate: f64) -> Option<Rate> {
        let rate = rate * self.sample_rate;
        if rate >= 1.0 || fastrand::f64() < rate {
            return Some(Rate::Sent(rate));
        }
        self.exporters.records_every_call().then_some(Rate::NotSent)
    }

    /// Returns the tags of the application, which every sample begins with.
    pub(crate) fn tags(&self) -> Tags<'_> {
        Tags::Owned(&self.tags)
    }

    /// Hands a sample to the exporters.
    pub(crate) fn record(&self, sample: &Sample<'_>) {
        self.exporters.record(sample);
    }

    /// Counts a sample that is not handed to the exporters.
    #[cfg(feature = "metrics")]
    pub(crate) fn lose(&self, sample: &Sample<'_>, reason: &'static str) {
        self.exporters.lose(sample, reason);
    }
}
