//! A guard that records its own lifetime.

use std::time::Instant;

use crate::collector::MetricsCollector;
use crate::sample::{Rate, Tag};

/// Records a timing when it is dropped, however its block is left.
///
/// ```
/// # use tallyd_client::MetricsCollector;
/// # static METRICS: MetricsCollector = MetricsCollector::new("ResumeParser");
/// fn parse(text: &str) -> Option<usize> {
///     let _timer = METRICS.start_timer("parse.time", &[]);
///     text.lines().next()?;
///     Some(text.lines().count())
/// }
/// # parse("");
/// ```
#[derive(Debug)]
#[must_use = "a timer records when it is dropped; bind it to a name such as _timer"]
pub struct Timer<'a> {
    collector: &'a MetricsCollector,
    name: &'a str,
    tags: &'a [Tag<'a>],
    /// The start and the sample rate, or `None` if no exporter wants the timing.
    started: Option<(Instant, Rate)>,
}

impl MetricsCollector {
    /// Starts a timer. It records the elapsed time when it is dropped or [stopped](Timer::stop).
    ///
    /// Tags that are built at run time must outlive the timer. Bind them first, as in `let tags = [("source",
    /// source)];`.
    #[inline]
    pub fn start_timer<'a>(&'a self, name: &'a str, tags: &'a [Tag<'a>]) -> Timer<'a> {
        let started = self.sample_call().map(|rate| (Instant::now(), rate));
        Timer { collector: self, name, tags, started }
    }
}

impl Timer<'_> {
    /// Records the elapsed time now, with further tags such as the result.
    ///
    /// ```
    /// # use tallyd_client::MetricsCollector;
    /// # static METRICS: MetricsCollector = MetricsCollector::new("ResumeParser");
    /// # fn fetch() -> Result<String, std::io::Error> { Ok(String::new()) }
    /// let timer = METRICS.start_timer("fetch.time", &[]);
    /// let fetched = fetch();
    /// timer.stop(&[("outcome", if fetched.is_ok() { "ok" } else { "error" })]);
    /// ```
    pub fn stop(mut self, tags: &[Tag<'_>]) {
        self.record(tags);
    }

    /// Ends the timer without recording anything.
    pub fn cancel(mut self) {
        self.started = None;
    }

    fn record(&mut self, end_tags: &[Tag<'_>]) {
        if let Some((started, rate)) = self.started.take() {
            self.collector.record_elapsed(self.name, started.elapsed(), [self.tags, end_tags], rate);
        }
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        self.record(&[]);
    }
}
