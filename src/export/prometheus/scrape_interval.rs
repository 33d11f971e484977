//! Notices scrapers that are too slow for the percentiles of summaries.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::model::{Gauge, Telemetry};

/// The number of slow scrapes in a row after which tallyd warns. A single one may follow a restart of Prometheus.
const SLOW_SCRAPES: u32 = 3;

/// Compares the time between scrapes with the time that the percentiles of a page cover.
///
/// A scrape shows percentiles of the latest interval, or of the configured window. If Prometheus scrapes less often, it
/// never sees the percentiles of the time between.
#[derive(Debug)]
pub(super) struct ScrapeInterval {
    state: Mutex<State>,
    between_scrapes: Gauge,
    covered: Gauge,
}

#[derive(Debug, Default)]
struct State {
    latest: Option<Instant>,
    /// The time that the percentiles of every summary cover. `None` while the page has no summary.
    covered: Option<Duration>,
    /// The number of slow scrapes in a row.
    slow: u32,
    has_warned: bool,
}

impl ScrapeInterval {
    pub(super) fn register(telemetry: &Telemetry) -> Self {
        let gauge = |name| {
            let gauge = telemetry.gauge(name, &[]);
            gauge.set(0.0);
            gauge
        };
        Self {
            state: Mutex::default(),
            between_scrapes: gauge("scrape_interval_seconds"),
            covered: gauge("percentile_window_seconds"),
        }
    }

    /// Notes the shortest window of the summaries on the page, and the length of the latest interval.
    pub(super) fn note_window(&self, shortest: Option<Duration>, interval: Duration) {
        let covered = shortest.map(|window| window.max(interval));
        self.covered.set(covered.map_or(f64::NAN, |covered| covered.as_secs_f64()));
        self.state.lock().covered = covered;
    }

    /// Notes a scrape. Returns the time since the previous scrape if it is time to warn.
    pub(super) fn note_scrape(&self, now: Instant) -> Option<SlowScrapes> {
        let mut state = self.state.lock();
        let between = now.saturating_duration_since(state.latest.replace(now)?);
        self.between_scrapes.set(between.as_secs_f64());
        let covered = state.covered?;
        // Scrapes are not exactly periodic.
        state.slow = if between > covered * 3 / 2 { state.slow + 1 } else { 0 };
        let warns = state.slow >= SLOW_SCRAPES && !state.has_warned;
        state.has_warned |= warns;
        warns.then_some(SlowScrapes { between, covered })
    }
}

/// Scrapes that miss percentiles.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct SlowScrapes {
    between: Duration,
    covered: Duration,
}

impl SlowScrapes {
    pub(super) fn warn(&self) {
        let Self { between, covered } = self;
        tracing::warn!(
            scrape_interval = ?between,
            percentiles_cover = ?covered,
            "Prometheus misses percentiles between its scrapes; set exporters.prometheus.percentile_window to its scrape \
             interval, or timings = \"histogram\""
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the state after an interval of ten seconds with summaries of this window.
    fn interval(window: Option<Duration>) -> ScrapeInterval {
        let scrapes = ScrapeInterval::register(&Telemetry::default());
        scrapes.note_window(window, Duration::from_secs(10));
        scrapes
    }

    /// Scrapes at this distance, and returns the number of the scrapes at which tallyd warns.
    fn warnings(scrapes: &ScrapeInterval, distance: Duration) -> Vec<u32> {
        let begin = Instant::now();
        (0..10).filter(|&scrape| scrapes.note_scrape(begin + distance * scrape).is_some()).collect()
    }

    #[test]
    fn slow_scrapes_of_summaries_are_warned_of_once() {
        let minute = Duration::from_mins(1);
        assert_eq!(warnings(&interval(Some(Duration::ZERO)), minute), [3]);
        assert_eq!(warnings(&interval(Some(minute)), minute), [0; 0]);
        assert_eq!(warnings(&interval(None), minute), [0; 0]);
        assert_eq!(warnings(&interval(Some(Duration::ZERO)), minute / 6), [0; 0]);
    }
}
