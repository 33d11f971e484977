//! The exporters of an application, and where calls find them.

use std::fmt;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use crate::MetricsCollector;
use crate::config::{Config, ConfigError};
use crate::exporters::Exporters;
use crate::sample::{NOT_SENT, Sample, Tags};

/// How often, at least, hosts that were not found are looked up, and pages are brought up to date.
const UPKEEP: Duration = Duration::from_secs(1);

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
    /// The thread that tends the exporters ends when this is dropped.
    _tended: Sender<()>,
}

/// Lets all collectors export, from then on. An application does this once, where it starts and after it forked, if it does; a
/// library leaves it to the application. It may wait for the address of a host to be looked up.
///
/// An exporter that cannot start is logged, and the others export.
///
/// # Errors
///
/// If something in the configuration is wrong, or if this was called before. That something cannot be exported is no error.
pub fn configure(config: &Config) -> Result<(), ConfigError> {
    static CONFIGURING: Mutex<()> = Mutex::new(());
    let _one_at_a_time = CONFIGURING.lock().unwrap_or_else(PoisonError::into_inner);
    if GLOBAL.get().is_some() {
        return Err(ConfigError::configured_before());
    }
    GLOBAL.set(Metrics::start(config)?).map_err(|_| ConfigError::configured_before())
}

/// Sends what waits in buffers. That happens without this, too, every second or as configured, but not any more once `main`
/// has returned.
pub fn flush() {
    if let Some(metrics) = GLOBAL.get() {
        metrics.flush();
    }
}

/// How many samples were dropped so far: those that could not be sent or were refused, those that no server takes (a gauge that
/// is no number, a set's member without a character), and those of a series that has no place on the application's page.
///
/// That nobody listens is noticed of `unix://` addresses and on one machine; other machines may or may not tell. What waits in a
/// buffer is not counted, nor what is lost on the way.
#[must_use]
pub fn lost() -> u64 {
    GLOBAL.get().map_or(0, |metrics| metrics.lost())
}

/// The page of the exporter `prometheus`, in the text format, for a server of the application's own; `None` without that exporter.
#[cfg(feature = "prometheus")]
#[must_use]
pub fn render_prometheus() -> Option<String> {
    GLOBAL.get().and_then(|metrics| metrics.render_prometheus())
}

/// The exporters of the application, if there are any.
#[inline]
pub(crate) fn global() -> Option<&'static Metrics> {
    GLOBAL.get().map(|metrics| &**metrics).filter(|metrics| metrics.are_enabled())
}

impl Metrics {
    /// Starts exporters as configured. They end when nothing refers to them any more: what waits is sent, and the port of the
    /// exporter `prometheus` is free.
    ///
    /// # Errors
    ///
    /// If something in the configuration is wrong.
    pub fn start(config: &Config) -> Result<Arc<Self>, ConfigError> {
        let settings = config.settings()?;
        let (tended, ended) = channel();
        let metrics = Arc::new(Self {
            exporters: Exporters::start(&settings),
            tags: settings.tags,
            sample_rate: settings.sample_rate,
            _tended: tended,
        });
        if metrics.exporters.need_upkeep() {
            let weak = Arc::downgrade(&metrics);
            let tender = thread::Builder::new().name("tallyd-client".to_owned());
            if let Err(error) = tender.spawn(move || tend(&ended, &weak, settings.flush_interval)) {
                tracing::warn!(%error, "no thread for metrics: they are sent only when a datagram is full");
            }
        }
        Ok(metrics)
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

    /// As the function [`render_prometheus`].
    #[cfg(feature = "prometheus")]
    #[must_use]
    pub fn render_prometheus(&self) -> Option<String> {
        self.exporters.page()
    }

    /// Whether anything becomes of a call, of which this share is to be sent: the rate of its sample.
    #[inline]
    pub(crate) fn take(&self, rate: f64) -> Option<f64> {
        let rate = rate * self.sample_rate;
        if rate >= 1.0 || fastrand::f64() < rate {
            return Some(rate);
        }
        self.exporters.want_all().then_some(NOT_SENT)
    }

    /// Hands on what a call measured, with the tags of the application.
    pub(crate) fn record<'a>(&'a self, sample: Sample<'a>) {
        let [_, of_collector, of_call, of_end] = sample.tags;
        let tags = [Tags::Kept(&self.tags), of_collector, of_call, of_end];
        self.exporters.record(&Sample { tags, ..sample });
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Metrics").field("tags", &self.tags).finish_non_exhaustive()
    }
}

/// Flushes at this interval and keeps all else up, until nothing refers to the exporters any more.
fn tend(ended: &Receiver<()>, metrics: &Weak<Metrics>, flush_interval: Duration) {
    let mut flushed = Instant::now();
    while ended.recv_timeout(flush_interval.min(UPKEEP)) == Err(RecvTimeoutError::Timeout) {
        let Some(metrics) = metrics.upgrade() else { return };
        if flushed.elapsed() >= flush_interval {
            flushed = Instant::now();
            metrics.flush();
        }
        metrics.exporters.maintain();
    }
}
