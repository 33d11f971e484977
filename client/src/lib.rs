//! Times functions, counts what they do, and sends it to tallyd or any other `StatsD` server.
//!
//! ```
//! use tallyd_client::{Config, MetricsCollector, timed};
//!
//! struct ResumeParser;
//!
//! impl ResumeParser {
//!     /// Its time is `ResumeParser.parse.execution_time`, in milliseconds.
//!     #[timed]
//!     fn parse(&self, text: &str) -> usize {
//!         METRICS.increment_counter("resumes", 1, &[("source", "upload")]);
//!         text.lines().count()
//!     }
//! }
//!
//! static METRICS: MetricsCollector = MetricsCollector::new("ResumeParser");
//!
//! # fn main() -> Result<(), tallyd_client::ConfigError> {
//! // Once, where the application starts. Without it nothing is sent, and a call costs a branch.
//! tallyd_client::configure(&Config::new().tag("env", "prod"))?;
//! ResumeParser.parse("one\ntwo");
//! tallyd_client::flush();
//! # Ok(())
//! # }
//! ```
//!
//! A call never fails, and never waits for a socket: what cannot be sent is dropped, and [`lost`] counts it.
//!
//! ```text
//!  call --> sample --+--> statsd: lines --> buffer --> socket --> tallyd
//!                         +--> console: a record of the log
//!                         +--> prometheus: a registry --> scrapes
//! ```

mod collector;
mod config;
mod exporters;
mod metrics;
mod number;
mod outcome;
mod sample;
mod span;
mod timer;

pub use collector::MetricsCollector;
pub use config::{Config, ConfigError, Exporter};
#[cfg(feature = "prometheus")]
pub use metrics::render_prometheus;
pub use metrics::{Metrics, configure, flush, lost};
pub use number::Number;
pub use tallyd_client_macros::timed;
pub use timer::Timer;

/// Its example runs with the others.
#[cfg(all(doctest, feature = "toml"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// A tag: its key and its value.
pub type Tag<'a> = (&'a str, &'a str);

/// What the attribute and the macro are made of; it changes without notice.
#[doc(hidden)]
pub mod __private {
    pub use crate::outcome::{Fallible, Outcome, Returned, Subject, call};
    pub use crate::span::{Site, Span};
}

/// Times a block or another expression, and is what that is; also where it is left by `?`, `return` or `break`.
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
    ($collector:expr, $name:expr, $work:expr $(,)?) => {
        $crate::time!($collector, $name, &[], $work)
    };
    ($collector:expr, $name:expr, $tags:expr, $work:expr $(,)?) => {
        // What the name and the tags are made of lives as long as the timer.
        match $collector.start_timer($name, $tags) {
            _timer => $work,
        }
    };
}
