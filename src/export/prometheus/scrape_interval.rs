//! Notices scrapers that are too slow for the percentiles of summaries.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::model::{Exposition, Gauge, Policies, Snapshot, Telemetry};

/// The number of slow scrapes in a row after which tallyd warns. A single one may follow a restart of Prometheus.
const SLOW_SCRAPES: u32 = 3;

/// The time between scrapes, compared with the time that the percentiles of a page cover.
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
    /// The time that the percentiles of every summary cover. `None` while no series is shown as a summary.
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

    /// Notes the time that the percentiles of a page with this snapshot cover.
    pub(super) fn note_snapshot(&self, snapshot: &Snapshot) {
        let covered = shortest_window(&snapshot.policies).map(|window| window.max(snapshot.interval));
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

/// Returns the shortest window of the policies that show summaries.
fn shortest_window(policies: &Policies) -> Option<Duration> {
    let summaries = policies.iter().filter(|policy| policy.exposition == Exposition::Summary);
    summaries.map(|policy| policy.percentile_window).min()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{Policy, Rows};

    fn interval(exposition: Exposition, percentile_window: Duration) -> ScrapeInterval {
        let scrapes = ScrapeInterval::register(&Telemetry::default());
        let policy = Policy { exposition, percentile_window, ..Policy::default() };
        let policies = Arc::new(Policies::new(vec![policy]));
        scrapes.note_snapshot(&Snapshot { policies, ..Rows::default().into() });
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
        assert_eq!(warnings(&interval(Exposition::Summary, Duration::ZERO), minute), [3]);
        assert_eq!(warnings(&interval(Exposition::Summary, minute), minute), [0; 0]);
        assert_eq!(warnings(&interval(Exposition::Histogram, Duration::ZERO), minute), [0; 0]);
        assert_eq!(warnings(&interval(Exposition::Summary, Duration::ZERO), minute / 6), [0; 0]);
    }
}
