//! The exporters. Each of them receives every sample.

mod console;
mod losses;
#[cfg_attr(not(feature = "prometheus"), path = "prometheus/disabled.rs")]
mod prometheus;
mod statsd;
mod text;

use std::time::Instant;

use self::console::Console;
use self::losses::Losses;
use self::prometheus::Prometheus;
use self::statsd::Statsd;
use crate::config::Exporter;
use crate::config::settings::Settings;
use crate::sample::{Rate, Sample};

/// The running exporters. If one of them fails, the others continue.
#[derive(Default)]
pub(crate) struct Exporters {
    statsd: Option<Statsd>,
    console: Option<Console>,
    prometheus: Option<Prometheus>,
    /// The samples that no exporter accepts, and those that `console` or `prometheus` lost.
    losses: Losses,
}

impl Exporters {
    /// Starts the configured exporters. Logs an error for each exporter that cannot start, and continues without it.
    pub(crate) fn start(settings: &Settings) -> Self {
        let mut all = Self::default();
        let prefix = &settings.prefix;
        for exporter in &settings.exporters {
            match exporter {
                Exporter::Statsd => all.statsd = Some(Statsd::new(prefix, settings.statsd_address.clone())),
                Exporter::Console => all.console = Some(Console::new(prefix)),
                Exporter::Prometheus => match Prometheus::start(prefix, settings.scrape_address) {
                    Ok(prometheus) => all.prometheus = Some(prometheus),
                    Err(error) => {
                        let address = settings.scrape_address.map(tracing::field::display);
                        let help = "if the port is taken, choose another prometheus.port";
                        tracing::error!(address, %error, "the exporter prometheus cannot start, and its samples are lost; {help}");
                    }
                },
            }
        }
        all
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.statsd.is_none() && self.console.is_none() && !self.records_every_call()
    }

    /// Returns true if an exporter also records the calls that sampling leaves out. The Prometheus page does so,
    /// because it sends nothing.
    #[inline]
    pub(crate) fn records_every_call(&self) -> bool {
        self.prometheus.is_some()
    }

    /// Returns true if [`open_sockets`](Self::open_sockets) has work to do.
    pub(crate) fn has_sockets(&self) -> bool {
        self.statsd.is_some()
    }

    pub(crate) fn record(&self, sample: &Sample<'_>) {
        if !sample.is_valid() {
            let reason = "the value is not a finite number, or the name or the member of the set is empty";
            return self.losses.add(sample, reason);
        }
        if let Rate::Sent(rate) = sample.rate {
            if let Some(statsd) = &self.statsd {
                statsd.record(sample, rate);
            }
            if let Some(console) = &self.console
                && !console.record(sample, rate)
            {
                self.losses.add(sample, "the log itself or an ending thread recorded the sample");
            }
        }
        if let Some(prometheus) = &self.prometheus
            && let Err(reason) = prometheus.record(sample)
        {
            self.losses.add(sample, reason);
        }
    }

    /// Counts a sample that the exporters do not get.
    #[cfg(feature = "metrics")]
    pub(crate) fn lose(&self, sample: &Sample<'_>, reason: &'static str) {
        self.losses.add(sample, reason);
    }

    /// Sends all buffered samples, and logs lost samples.
    pub(crate) fn flush(&self) {
        if let Some(statsd) = &self.statsd {
            statsd.flush();
        }
        self.losses.log();
    }

    /// Updates the Prometheus page.
    pub(crate) fn run_upkeep(&self, now: Instant) {
        if let Some(prometheus) = &self.prometheus {
            prometheus.run_upkeep(now);
        }
    }

    pub(crate) fn sockets_are_open(&self) -> bool {
        self.statsd.as_ref().is_none_or(Statsd::is_open)
    }

    /// Replaces the sockets by new ones. Returns true on success.
    pub(crate) fn open_sockets(&self) -> bool {
        self.statsd.as_ref().is_none_or(Statsd::open)
    }

    /// Sends all buffered samples, and stops the server of the Prometheus page.
    pub(crate) fn stop(&self) {
        self.flush();
        if let Some(prometheus) = &self.prometheus {
            prometheus.stop();
        }
    }

    /// Returns the number of dropped samples. A sample counts once for each exporter that dropped it.
    pub(crate) fn lost(&self) -> u64 {
        self.losses.count() + self.statsd.as_ref().map_or(0, Statsd::lost)
    }

    #[cfg(feature = "prometheus")]
    pub(crate) fn render_prometheus(&self) -> Option<String> {
        self.prometheus.as_ref().map(Prometheus::render)
    }
}
