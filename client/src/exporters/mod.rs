//! Where samples go.

mod console;
#[cfg(feature = "prometheus")]
mod prometheus;
mod statsd;
mod text;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use self::console::Console;
#[cfg(feature = "prometheus")]
use self::prometheus::Prometheus;
use self::statsd::Statsd;
use crate::config::{Exporter, Settings};
use crate::sample::{NOT_SENT, Sample};

/// All that were started. Each takes what it is given, whatever becomes of it elsewhere.
#[derive(Default)]
pub(crate) struct Exporters {
    statsd: Option<Statsd>,
    console: Option<Console>,
    #[cfg(feature = "prometheus")]
    prometheus: Option<Prometheus>,
    /// Samples that no exporter could say, such as a gauge that is no number.
    invalid: AtomicU64,
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
                        let address = settings.scraped_at.map(tracing::field::display);
                        tracing::error!(address, %error, "metrics cannot be scraped here, and are lost to the exporter prometheus; choose another prometheus.port if this one is taken");
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
        self.statsd.is_none() && self.console.is_none() && !self.want_all()
    }

    /// Whether calls are wanted also where they are sampled and not among those that are sent: the page in the application has
    /// them all, for nothing is sent there.
    #[inline]
    #[cfg_attr(not(feature = "prometheus"), allow(clippy::unused_self, reason = "there is no such exporter"))]
    pub(crate) fn want_all(&self) -> bool {
        #[cfg(feature = "prometheus")]
        return self.prometheus.is_some();
        #[cfg(not(feature = "prometheus"))]
        false
    }

    /// Whether [`flush`](Self::flush) and [`keep_up`](Self::keep_up) do anything.
    pub(crate) fn need_upkeep(&self) -> bool {
        self.statsd.is_some() || self.want_all()
    }

    /// Whether [`open`](Self::open) does anything.
    pub(crate) fn need_sockets(&self) -> bool {
        self.statsd.is_some()
    }

    pub(crate) fn record(&self, sample: &Sample<'_>) {
        if !sample.is_valid() {
            self.invalid.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if sample.rate > NOT_SENT {
            if let Some(statsd) = &self.statsd {
                statsd.record(sample);
            }
            if let Some(console) = &self.console {
                console.record(sample);
            }
        }
        #[cfg(feature = "prometheus")]
        if let Some(prometheus) = &self.prometheus {
            prometheus.record(sample);
        }
    }

    pub(crate) fn flush(&self) {
        if let Some(statsd) = &self.statsd {
            statsd.flush();
        }
    }

    /// Brings the page up to date.
    #[cfg_attr(not(feature = "prometheus"), allow(clippy::unused_self, reason = "there is no such exporter"))]
    pub(crate) fn keep_up(&self, now: Instant) {
        #[cfg(feature = "prometheus")]
        if let Some(prometheus) = &self.prometheus {
            prometheus.keep_up(now);
        }
        #[cfg(not(feature = "prometheus"))]
        let _ = now;
    }

    /// Whether the sockets were opened.
    pub(crate) fn are_open(&self) -> bool {
        self.statsd.as_ref().is_none_or(Statsd::is_open)
    }

    /// Opens the sockets, in place of those that are open; whether that succeeded.
    pub(crate) fn open(&self) -> bool {
        self.statsd.as_ref().is_none_or(Statsd::open)
    }

    /// Sends what waits, and serves no page any more.
    pub(crate) fn stop(&self) {
        self.flush();
        #[cfg(feature = "prometheus")]
        if let Some(prometheus) = &self.prometheus {
            prometheus.stop();
        }
    }

    pub(crate) fn lost(&self) -> u64 {
        let by_statsd = self.statsd.as_ref().map_or(0, Statsd::lost);
        let by_console = self.console.as_ref().map_or(0, Console::lost);
        #[cfg(feature = "prometheus")]
        let by_prometheus = self.prometheus.as_ref().map_or(0, Prometheus::lost);
        #[cfg(not(feature = "prometheus"))]
        let by_prometheus = 0;
        self.invalid.load(Ordering::Relaxed) + by_statsd + by_console + by_prometheus
    }

    /// The page for Prometheus, if there is that exporter.
    #[cfg(feature = "prometheus")]
    pub(crate) fn page(&self) -> Option<String> {
        self.prometheus.as_ref().map(Prometheus::render)
    }
}
