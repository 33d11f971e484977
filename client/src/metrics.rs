//! The exporters of an application, and where calls find them.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use crate::MetricsCollector;
use crate::config::{Config, ConfigError, Settings};
use crate::exporters::Exporters;
use crate::sample::{NOT_SENT, Sample, Tags};

/// How often what was observed is moved into the page.
const UPKEEP: Duration = Duration::from_secs(1);
/// How often sockets are opened anew, for the host may have moved, or this machine.
const OPENED_EVERY: Duration = Duration::from_mins(1);

/// Those of the application.
static GLOBAL: OnceLock<Arc<Metrics>> = OnceLock::new();

/// Exporters that were started.
///
/// Most applications have one set of them, which [`configure`] starts and which every [`MetricsCollector`] uses. Tests, and
/// applications that want more, start others, and make collectors for them.
pub struct Metrics {
    exporters: Arc<Exporters>,
    tags: Vec<(String, String)>,
    /// By which the rates of calls are multiplied.
    sample_rate: f64,
    /// The threads that tend the exporters end when these are dropped.
    _tended: Vec<Sender<()>>,
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
    // No lock, which a log that configures metrics would wait for.
    static IS_CONFIGURED: AtomicBool = AtomicBool::new(false);
    if IS_CONFIGURED.swap(true, Ordering::SeqCst) {
        return Err(ConfigError::configured_before());
    }
    match Metrics::start(config) {
        Ok(metrics) => GLOBAL.set(metrics).map_err(|_| ConfigError::configured_before()),
        Err(error) => {
            IS_CONFIGURED.store(false, Ordering::SeqCst);
            Err(error)
        }
    }
}

/// Sends what waits in buffers. That happens without this, too, every second or as configured, but not any more once `main`
/// has returned.
pub fn flush() {
    if let Some(metrics) = GLOBAL.get() {
        metrics.flush();
    }
}

/// How many samples were dropped so far: those that could not be sent or were refused, those that no server takes (a gauge that
/// is no number, a set's member without a character), and those of a series that has no place on the application's page. A
/// sample that several exporters dropped counts several times.
///
/// That nobody listens is noticed of `unix://` addresses and on one machine; other machines may or may not tell. Over UDP nobody
/// tells that a server's receive buffer is full: there, tallyd counts what the kernel dropped. What waits in a buffer is not
/// counted.
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
        let exporters = Arc::new(Exporters::start(&settings));
        let Settings { tags, sample_rate, flush_interval, .. } = settings;
        let mut tended = Vec::new();
        if exporters.need_upkeep() {
            let keep_up = move |exporters: &Exporters, ended: &_| keep_up(exporters, flush_interval, ended);
            tended.extend(tend("tallyd-client", &exporters, keep_up));
        }
        if exporters.need_sockets() {
            tended.extend(tend("tallyd-client-open", &exporters, open_again));
        }
        Ok(Arc::new(Self { exporters, tags, sample_rate, _tended: tended }))
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

/// They may be in use by the threads that tend them, which see only later that there is nothing left to tend.
impl Drop for Metrics {
    fn drop(&mut self) {
        self.exporters.stop();
    }
}

/// Has a thread do something for exporters until what this returns is dropped.
fn tend(
    name: &str,
    exporters: &Arc<Exporters>,
    work: impl FnOnce(&Exporters, &Receiver<()>) + Send + 'static,
) -> Option<Sender<()>> {
    let (tended, ended) = channel();
    let exporters = Arc::clone(exporters);
    let thread = thread::Builder::new().name(name.to_owned());
    match thread.spawn(move || work(&exporters, &ended)) {
        Ok(_) => Some(tended),
        Err(error) => {
            tracing::error!(%error, "no thread {name}: metrics may be sent late, or not at all");
            None
        }
    }
}

/// Sends what waits, and brings pages up to date.
fn keep_up(exporters: &Exporters, flush_interval: Duration, ended: &Receiver<()>) {
    let now = Instant::now();
    let (mut next_flush, mut next_upkeep) = (now + flush_interval, now + UPKEEP);
    loop {
        let next = next_flush.min(next_upkeep);
        if ended.recv_timeout(next.saturating_duration_since(Instant::now()))
            != Err(RecvTimeoutError::Timeout)
        {
            return;
        }
        let now = Instant::now();
        if now >= next_flush {
            exporters.flush();
            next_flush = now + flush_interval;
        }
        if now >= next_upkeep {
            exporters.keep_up(now);
            next_upkeep = now + UPKEEP;
        }
    }
}

/// Opens sockets that could not be opened, and others in their place now and then. On a thread of its own, for to look up the
/// name of a host may take long.
fn open_again(exporters: &Exporters, ended: &Receiver<()>) {
    let mut wait = if exporters.are_open() { OPENED_EVERY } else { Duration::from_secs(1) };
    while ended.recv_timeout(wait) == Err(RecvTimeoutError::Timeout) {
        wait = if exporters.open() { OPENED_EVERY } else { (2 * wait).min(OPENED_EVERY) };
    }
}
