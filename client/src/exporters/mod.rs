//! Where measurements go.

mod console;
#[cfg(feature = "prometheus")]
mod prometheus;
mod statsd;
mod text;

use std::sync::atomic::{AtomicU64, Ordering};

use self::console::Console;
#[cfg(feature = "prometheus")]
use self::prometheus::Prometheus;
use self::statsd::Statsd;
use crate::config::{Exporter, Settings};
use crate::measurement::Measurement;

/// All that were started. Each takes what it is given, whatever becomes of it elsewhere.
#[derive(Default)]
pub(crate) struct Exporters {
    statsd: Option<Statsd>,
    console: Option<Console>,
    #[cfg(feature = "prometheus")]
    prometheus: Option<Prometheus>,
    /// Values that are no numbers, which no exporter could say.
    meaningless: AtomicU64,
}

impl Exporters {
    /// Those that cannot start are logged, and left out.
    pub(crate) fn start(settings: &Settings) -> Self {
        let mut all = Self::default();
        for exporter in &settings.exporters {
            match exporter {
                Exporter::Statsd => all.statsd = Some(Statsd::new(&settings.prefix, settings.target.clone())),
                Exporter::Console => all.console = Some(Console::new(&settings.prefix)),
                #[cfg(feature = "prometheus")]
                Exporter::Prometheus => match Prometheus::start(&settings.prefix, settings.scraped_at) {
                    Ok(prometheus) => all.prometheus = Some(prometheus),
                    Err(error) => {
                        tracing::warn!(%error, "metrics cannot be scraped here; the other exporters go on");
                    }
                },
                // Refused with the configuration.
                #[cfg(not(feature = "prometheus"))]
                Exporter::Prometheus => {}
            }
        }
        all
    }

    #[inline]
    pub(crate) fn are_none(&self) -> bool {
        let none = self.statsd.is_none() && self.console.is_none();
        #[cfg(feature = "prometheus")]
        let none = none && self.prometheus.is_none();
        none
    }

    /// Whether anything waits in one, or is done by [`maintain`](Self::maintain).
    pub(crate) fn need_care(&self) -> bool {
        let need = self.statsd.is_some();
        #[cfg(feature = "prometheus")]
        let need = need || self.prometheus.is_some();
        need
    }

    pub(crate) fn record(&self, measurement: &Measurement<'_>) {
        if !measurement.value.is_meaningful() {
            self.meaningless.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if let Some(statsd) = &self.statsd {
            statsd.record(measurement);
        }
        if let Some(console) = &self.console {
            console.record(measurement);
        }
        #[cfg(feature = "prometheus")]
        if let Some(prometheus) = &self.prometheus {
            prometheus.record(measurement);
        }
    }

    pub(crate) fn flush(&self) {
        if let Some(statsd) = &self.statsd {
            statsd.flush();
        }
    }

    /// What takes time and is not done in calls.
    pub(crate) fn maintain(&self) {
        if let Some(statsd) = &self.statsd {
            statsd.open();
        }
        #[cfg(feature = "prometheus")]
        if let Some(prometheus) = &self.prometheus {
            prometheus.maintain();
        }
    }

    pub(crate) fn lost(&self) -> u64 {
        let unsent = self.statsd.as_ref().map_or(0, Statsd::lost);
        unsent + self.meaningless.load(Ordering::Relaxed)
    }
}
