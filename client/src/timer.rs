//! Guards that record how long they lived.

use std::time::Instant;

use crate::{MetricsCollector, Tag};

/// Records a timing when it is dropped: at the end of its block, whichever way that is left.
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
#[must_use = "it records when it is dropped; give it a name, such as _timer"]
pub struct Timer<'a> {
    collector: &'a MetricsCollector,
    name: &'a str,
    tags: &'a [Tag<'a>],
    /// And the rate of its sample; `None` where nothing would become of it.
    started: Option<(Instant, f64)>,
}

impl<'a> Timer<'a> {
    pub(crate) fn start(collector: &'a MetricsCollector, name: &'a str, tags: &'a [Tag<'a>]) -> Self {
        let started = collector.take().map(|rate| (Instant::now(), rate));
        Self { collector, name, tags, started }
    }

    /// Records now, with tags that only the end knows.
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

    /// Records nothing.
    pub fn cancel(mut self) {
        self.started = None;
    }

    fn record(&mut self, tags: &[Tag<'_>]) {
        if let Some((started, rate)) = self.started.take() {
            self.collector.record_timer(self.name, started.elapsed(), [self.tags, tags], rate);
        }
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        self.record(&[]);
    }
}
