//! The metrics of the application. It configures them once, and all collectors use them by default.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::config::{Config, ConfigError};
use crate::metrics::Metrics;
#[cfg(feature = "metrics")]
use crate::recorder::MetricsRecorder;
use crate::sink::Sink;

static GLOBAL: OnceLock<Arc<Metrics>> = OnceLock::new();

/// Starts the exporters of the application. From then on, all collectors use them.
///
/// An application calls this function once, at startup. If it forks, it calls this function after the fork. Libraries
/// leave the call to the application. The call can block while it looks up a host name.
///
/// If an exporter cannot start, the client logs an error, and the other exporters run.
///
/// # Errors
///
/// Returns an error if the configuration is invalid, or if the application is already configured. A failure to send is
/// not an error.
pub fn configure(config: &Config) -> Result<(), ConfigError> {
    // This is a flag, because a lock would deadlock if the log itself called `configure`.
    static IS_CONFIGURED: AtomicBool = AtomicBool::new(false);
    let configured_before =
        || ConfigError::new("metrics are already configured; call configure once, at startup");
    if IS_CONFIGURED.swap(true, Ordering::SeqCst) {
        return Err(configured_before());
    }
    match Metrics::start(config) {
        Ok(metrics) => GLOBAL.set(metrics).map_err(|_| configured_before()),
        Err(error) => {
            IS_CONFIGURED.store(false, Ordering::SeqCst);
            Err(error)
        }
    }
}

/// Sends all buffered samples. The client also does this every second, or as configured. It does not do so when `main`
/// returns.
pub fn flush() {
    if let Some(metrics) = GLOBAL.get() {
        metrics.flush();
    }
}

/// Returns the number of samples that the client has dropped so far. These are samples that
///
/// - could not be sent or were refused by the receiving machine,
/// - no server accepts, such as a gauge that is not a number, an empty member of a set, or an empty name,
/// - belong to a series that the application's Prometheus page cannot show, or for which the recorder has no room,
/// - the `console` exporter dropped, because the log itself or an ending thread recorded them.
///
/// If the recorder adds up increments of a counter, each call counts. A sample that several exporters dropped counts
/// several times. Samples in a buffer are not counted.
///
/// The client notices a missing listener on `unix://` addresses and on the same machine. Other machines may not report
/// it, and on a busy machine, the kernel may report only the last of several refused datagrams. UDP does not report that
/// a server's receive buffer is full. tallyd counts the datagrams that the kernel drops for this reason.
#[must_use]
pub fn lost() -> u64 {
    GLOBAL.get().map_or(0, |metrics| metrics.lost())
}

/// Makes a recorder for the crate `metrics`, which sends to the exporters of the application. Install it with
/// `metrics::set_global_recorder`; [`MetricsRecorder`] has an example.
///
/// # Errors
///
/// Returns an error if the application has not called [`configure`].
#[cfg(feature = "metrics")]
pub fn recorder() -> Result<MetricsRecorder, ConfigError> {
    let configured = GLOBAL.get().map(Metrics::recorder);
    configured.ok_or_else(|| ConfigError::new("metrics are not configured; call configure before recorder"))
}

/// Renders the page of the `prometheus` exporter in the text format, for an application that serves the page itself.
/// Returns `None` if this exporter is not running.
#[cfg(feature = "prometheus")]
#[must_use]
pub fn render_prometheus() -> Option<String> {
    GLOBAL.get().and_then(|metrics| metrics.render_prometheus())
}

/// Returns the destination of the application's samples, if they are exported.
#[inline]
pub(crate) fn global() -> Option<&'static Sink> {
    GLOBAL.get().map(|metrics| metrics.sink()).filter(|sink| sink.is_enabled())
}
