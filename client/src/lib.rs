//! Times functions and counts what they do, for tallyd or any other `StatsD` server.
//!
//! ```
//! use tallyd_client::{Config, MetricsCollector, timed};
//!
//! static METRICS: MetricsCollector = MetricsCollector::new("ResumeParser");
//!
//! struct ResumeParser;
//!
//! impl ResumeParser {
//!     /// The attribute records `ResumeParser.parse.execution_time`, in milliseconds.
//!     #[timed]
//!     fn parse(&self, text: &str) -> usize {
//!         METRICS.increment_counter("resumes", 1, &[("source", "upload")]);
//!         text.lines().count()
//!     }
//! }
//!
//! # fn main() -> Result<(), tallyd_client::ConfigError> {
//! // Call this once, at startup. Until then nothing is sent, and a call costs a branch.
//! tallyd_client::configure(&Config::new().tag("env", "prod"))?;
//! ResumeParser.parse("one\ntwo");
//! tallyd_client::flush();
//! # Ok(())
//! # }
//! ```
//!
//! A call never fails and never waits for a socket. The client drops a sample that it cannot send, and [`lost`] counts
//! it.
//!
//! The cargo feature `metrics` adds `MetricsRecorder`, for applications that are instrumented with the crate `metrics`.
//!
//! ```text
//!  call --> sample --+--> statsd: lines --> buffer --> socket --> tallyd
//!                    +--> console: a log record
//!                    +--> prometheus: a registry --> scrapes
//! ```

// The types that an application calls:
mod collector; // `MetricsCollector`: counters, gauges, timings, histograms, distributions and sets
mod number; // the types that a value can have
#[cfg_attr(not(feature = "metrics"), path = "recorder/disabled.rs")]
mod recorder; // `MetricsRecorder`, for applications that use the crate `metrics`
mod timer; // `Timer`, which records its own lifetime
// The code to which `#[timed]` expands; the attribute itself is in `macros/`:
mod outcome; // how a call ended: the tag `outcome`
mod timed_call; // the name and the duration of a call
// The configuration, and the path of a sample:
mod config; // keys, defaults, TOML and environment variables
mod exporters; // one directory or file for each exporter
mod global; // `configure`, `flush` and `lost`, for the metrics of the application
mod metrics; // `Metrics`: the exporters, and the threads that flush and open sockets
mod poison; // locks that stay usable after a panic
mod sample; // one measurement with its tags
mod sink; // sampling, and the tags of the application

pub use collector::MetricsCollector;
pub use config::{Config, ConfigError, Exporter};
#[cfg(feature = "metrics")]
pub use global::recorder;
#[cfg(feature = "prometheus")]
pub use global::render_prometheus;
pub use global::{configure, flush, lost};
pub use metrics::Metrics;
pub use number::Number;
#[cfg(feature = "metrics")]
pub use recorder::MetricsRecorder;
pub use sample::Tag;
pub use tallyd_client_macros::timed;
pub use timer::Timer;

/// Runs the examples of the README as tests.
#[cfg(all(doctest, feature = "toml", feature = "metrics"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// Holds the items that `#[timed]` uses. They can change without notice.
#[doc(hidden)]
pub mod __private {
    pub use crate::outcome::{Fallible, Infallible, Outcome, Returned, call};
    pub use crate::timed_call::{TimedCall, TimedFunction};
}

/// Times an expression, and evaluates to its value. It also records the time if `?`, `return` or `break` leaves the
/// expression.
///
/// ```
/// # use tallyd_client::{MetricsCollector, time};
/// static METRICS: MetricsCollector = MetricsCollector::new("ResumeParser");
/// let words = time!(METRICS, "count.time", { "a few words".split(' ').count() });
/// assert_eq!(words, 3);
/// let lines = time!(METRICS, "count.time", &[("of", "lines")], { "a\nb".lines().count() });
/// assert_eq!(lines, 2);
/// ```
#[macro_export]
macro_rules! time {
    ($collector:expr, $name:expr, $timed:expr $(,)?) => {
        $crate::time!($collector, $name, &[], $timed)
    };
    ($collector:expr, $name:expr, $tags:expr, $timed:expr $(,)?) => {
        // A `match` keeps temporaries in the name and the tags alive as long as the timer.
        match $collector.start_timer($name, $tags) {
            _timer => $timed,
        }
    };
}
