//! The exporters of an application, and where calls find them.

use std::fmt;
use std::sync::{Arc, OnceLock, Weak};
use std::thread;
use std::time::Duration;

use crate::MetricsCollector;
use crate::config::{Config, ConfigError, Settings};
use crate::exporters::Exporters;
use crate::measurement::{Measurement, Tags};

/// Those of the application.
static GLOBAL: OnceLock<Arc<Metrics>> = OnceLock::new();

/// Exporters that were started.
///
/// Most applications have one set of them, which [`configure`] starts and which every [`MetricsCollector`] uses. Tests, and
/// applications that want more, start others, and make collectors for them.
pub struct Metrics {
    exporters: Exporters,
    tags: Vec<(String, String)>,
    /// By which the rates of calls are multiplied.
    sample_rate: f64,
}

/// Lets all collectors export, from then on. An application does this once, where it starts; a library leaves it to the
/// application.
///
/// An exporter that cannot start is logged, and the others export.
///
/// # Errors
///
/// If something in the configuration is wrong, or if this was called before. That something cannot be exported is no error.
pub fn configure(config: &Config) -> Result<(), ConfigError> {
    let metrics = Metrics::start(config)?;
    GLOBAL.set(metrics).map_err(|_| ConfigError::configured_before())
}

/// Sends what waits in buffers. That happens without this, too, every second or as configured, but not any more once `main`
/// has returned.
pub fn flush() {
    if let Some(metrics) = GLOBAL.get() {
        metrics.flush();
    }
}

/// How many samples were dropped, because they could not be sent or mean nothing (a gauge that is no number).
#[must_use]
pub fn lost() -> u64 {
    GLOBAL.get().map_or(0, |metrics| metrics.lost())
}

/// The exporters of the application, if there are any.
#[inline]
pub(crate) fn global() -> Option<&'static Metrics> {
    GLOBAL.get().map(|metrics| &**metrics).filter(|metrics| metrics.are_enabled())
}

impl Metrics {
    /// Starts exporters as configured; they end when nothing refers to them any more.
    ///
    /// # Errors
    ///
    /// If something in the configuration is wrong.
    pub fn start(config: &Config) -> Result<Arc<Self>, ConfigError> {
        let settings = config.settings()?;
        let flush_interval = settings.flush_interval;
        let metrics = Arc::new(Self::of(settings));
        if metrics.exporters.need_care() {
            let flushed = Arc::downgrade(&metrics);
            let flusher = thread::Builder::new().name("tallyd-client".to_owned());
            if let Err(error) = flusher.spawn(move || flush_again_and_again(&flushed, flush_interval)) {
                tracing::warn!(%error, "no thread for metrics: they are sent only when a datagram is full");
            }
        }
        Ok(metrics)
    }

    fn of(settings: Settings) -> Self {
        Self {
            exporters: Exporters::start(&settings),
            tags: settings.tags,
            sample_rate: settings.sample_rate,
        }
    }

    /// A collector that uses these exporters instead of those of the application.
    #[must_use]
    pub fn collector(self: &Arc<Self>, component: impl Into<String>) -> MetricsCollector {
        MetricsCollector::of(Arc::clone(self), component.into())
    }

    /// As the function [`flush`].
    pub fn flush(&self) {
        self.exporters.flush();
    }

    /// As the function [`lost`].
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.exporters.lost()
    }

    /// Whether anything is exported.
    #[inline]
    pub(crate) fn are_enabled(&self) -> bool {
        !self.exporters.are_none()
    }

    /// Whether a call is taken, of which this share is to be: the share that it then stands for.
    #[inline]
    pub(crate) fn take(&self, rate: f64) -> Option<f64> {
        let rate = rate * self.sample_rate;
        (rate >= 1.0 || fastrand::f64() < rate).then_some(rate)
    }

    /// Hands a call on that was taken.
    pub(crate) fn record<'a>(&'a self, measurement: Measurement<'a>) {
        let [_, of_collector, of_call] = measurement.tags;
        let tags = [Tags::Kept(&self.tags), of_collector, of_call];
        self.exporters.record(&Measurement { tags, ..measurement });
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Metrics").field("tags", &self.tags).finish_non_exhaustive()
    }
}

fn flush_again_and_again(metrics: &Weak<Metrics>, interval: Duration) {
    loop {
        thread::sleep(interval);
        let Some(metrics) = metrics.upgrade() else { return };
        metrics.exporters.maintain();
        metrics.flush();
    }
}
