//! A set of running exporters, with the threads that flush and open sockets.

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::config::{Config, ConfigError};
use crate::exporters::Exporters;
use crate::recorder::Registry;
use crate::sink::Sink;

/// The time between two runs of the exporters' upkeep.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(1);
/// The time after which open sockets are replaced, because the host name may have a new address.
const REOPEN_INTERVAL: Duration = Duration::from_mins(1);

/// A set of running exporters.
///
/// Most applications have one set. [`configure`](crate::configure) starts it, and every
/// [`MetricsCollector`](crate::MetricsCollector) uses it. Tests, and applications that need several sets, start further
/// sets and make collectors for them.
pub struct Metrics {
    sink: Arc<Sink>,
    /// The series of the `metrics` facade.
    registry: Arc<Registry>,
    /// Dropping these ends the background threads.
    _background: Vec<Sender<()>>,
}

impl Metrics {
    /// Starts the configured exporters. They stop when the last reference to them is dropped. Then they send the
    /// buffered samples, and free the port of the `prometheus` exporter.
    ///
    /// # Errors
    ///
    /// Returns an error if the configuration is invalid.
    pub fn start(config: &Config) -> Result<Arc<Self>, ConfigError> {
        let settings = config.settings()?;
        let flush_interval = settings.flush_interval;
        let exporters = Exporters::start(&settings);
        let sink = Arc::new(Sink { exporters, tags: settings.tags, sample_rate: settings.sample_rate });
        let registry = Arc::new(Registry::new(Arc::clone(&sink), Instant::now()));
        let mut background = Vec::new();
        if sink.is_enabled() {
            let registry = Arc::clone(&registry);
            let run = move |exporters: &Exporters, stop: &_| {
                flush_and_upkeep(exporters, &registry, flush_interval, stop);
            };
            background.extend(run_in_background("tallyd-client", &sink, run));
        }
        if sink.exporters.has_sockets() {
            background.extend(run_in_background("tallyd-client-open", &sink, reopen_sockets));
        }
        Ok(Arc::new(Self { sink, registry, _background: background }))
    }

    /// Sends all buffered samples, as the function [`flush`](crate::flush) does for the application.
    pub fn flush(&self) {
        self.registry.export(Instant::now());
        self.sink.exporters.flush();
    }

    /// Returns the number of samples that these exporters dropped, as the function [`lost`](crate::lost) does for the
    /// application.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.sink.exporters.lost()
    }

    /// Renders the page of the `prometheus` exporter, as the function [`render_prometheus`](crate::render_prometheus)
    /// does for the application.
    #[cfg(feature = "prometheus")]
    #[must_use]
    pub fn render_prometheus(&self) -> Option<String> {
        self.sink.exporters.render_prometheus()
    }

    #[inline]
    pub(crate) fn sink(&self) -> &Sink {
        &self.sink
    }

    #[cfg(feature = "metrics")]
    pub(crate) fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Metrics").field("tags", &self.sink.tags).finish_non_exhaustive()
    }
}

impl Drop for Metrics {
    /// Stops the exporters explicitly, because a background thread may hold a reference to them a little longer.
    fn drop(&mut self) {
        self.registry.export(Instant::now());
        self.sink.exporters.stop();
    }
}

/// Runs `work` on its own thread. Dropping the returned sender asks the thread to stop.
fn run_in_background(
    name: &str,
    sink: &Arc<Sink>,
    work: impl FnOnce(&Exporters, &Receiver<()>) + Send + 'static,
) -> Option<Sender<()>> {
    let (sender, stop) = channel();
    let sink = Arc::clone(sink);
    let thread = thread::Builder::new().name(name.to_owned());
    match thread.spawn(move || work(&sink.exporters, &stop)) {
        Ok(_) => Some(sender),
        Err(error) => {
            tracing::error!(%error, "the thread {name} cannot start: samples may be sent late or not at all");
            None
        }
    }
}

/// Sleeps for `time` and returns true. Returns false as soon as the thread must stop.
fn sleep(time: Duration, stop: &Receiver<()>) -> bool {
    stop.recv_timeout(time) == Err(RecvTimeoutError::Timeout)
}

fn flush_and_upkeep(
    exporters: &Exporters,
    registry: &Registry,
    flush_interval: Duration,
    stop: &Receiver<()>,
) {
    let now = Instant::now();
    let (mut next_flush, mut next_upkeep) = (now + flush_interval, now + UPKEEP_INTERVAL);
    while sleep(next_flush.min(next_upkeep).saturating_duration_since(Instant::now()), stop) {
        let now = Instant::now();
        if now >= next_flush {
            registry.export(now);
            exporters.flush();
            next_flush = now + flush_interval;
        }
        if now >= next_upkeep {
            exporters.run_upkeep(now);
            next_upkeep = now + UPKEEP_INTERVAL;
        }
    }
}

/// Replaces the sockets once per [`REOPEN_INTERVAL`], and sooner after a failure. It has its own thread, because DNS
/// lookups can block.
fn reopen_sockets(exporters: &Exporters, stop: &Receiver<()>) {
    let mut wait = if exporters.sockets_are_open() { REOPEN_INTERVAL } else { Duration::from_secs(1) };
    while sleep(wait, stop) {
        wait = if exporters.open_sockets() { REOPEN_INTERVAL } else { (2 * wait).min(REOPEN_INTERVAL) };
    }
}
