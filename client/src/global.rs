//! The metrics of the application, which it configures once and every collector uses by default.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::config::{Config, ConfigError};
use crate::metrics::Metrics;

static GLOBAL: OnceLock<Arc<Metrics>> = OnceLock::new();

/// Starts the exporters of the application. All collectors use them from then on.
///
/// An application calls this once, at startup; if it forks, it calls this after the fork. Libraries leave the call to the
/// application. The call can block while the name of a host is looked up.
///
/// An exporter that cannot start is logged, and the others export.
///
/// # Errors
///
/// Returns an error if the configuration is invalid, or if this was called before. A failure to send is not an error.
pub fn configure(config: &Config) -> Result<(), ConfigError> {
    // A flag instead of a lock: a lock would deadlock if the log itself called `configure`.
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

/// Sends all buffered samples. The client does this itself every second, or as configured, but not after `main` has returned.
pub fn flush() {
    if let Some(metrics) = GLOBAL.get() {
        metrics.flush();
    }
}

/// Returns the number of samples that were dropped so far. It counts samples that
///
/// - could not be sent or were refused by the receiving machine,
/// - no server accepts: a gauge that is not a number, an empty member of a set, an empty name,
/// - belong to a series that the application's Prometheus page cannot show.
///
/// A sample that several exporters dropped counts several times. Samples in a buffer are not counted.
///
/// The client notices a missing listener on `unix://` addresses and on the same machine; other machines may not report it. UDP
/// does not report that a server's receive buffer is full: tallyd counts the datagrams that the kernel drops there.
#[must_use]
pub fn lost() -> u64 {
    GLOBAL.get().map_or(0, |metrics| metrics.lost())
}

/// Renders the page of the exporter `prometheus` in the text format, for an application that serves it itself. Returns `None`
/// if that exporter is not running.
#[cfg(feature = "prometheus")]
#[must_use]
pub fn render_prometheus() -> Option<String> {
    GLOBAL.get().and_then(|metrics| metrics.render_prometheus())
}

/// Returns the metrics of the application, if they export anything.
#[inline]
pub(crate) fn global() -> Option<&'static Metrics> {
    GLOBAL.get().map(|metrics| &**metrics).filter(|metrics| metrics.is_enabled())
}
