//! Decides whether the flush still works, for the health checks of the endpoint and the watchdog of systemd.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::export::Health;
use crate::model::{Overview, Snapshot};

/// The shortest silence of the flush that counts as a failure.
const SHORTEST: Duration = Duration::from_secs(15);

/// The number of intervals without a flush that count as a failure.
const INTERVALS: u32 = 3;

/// Remembers the latest flush.
#[derive(Debug)]
pub(super) struct FlushHealth(Mutex<Latest>);

#[derive(Debug, Clone, Copy)]
struct Latest {
    /// The time of the latest flush, of the start, or of the latest change of the interval.
    at: Instant,
    interval: Duration,
    /// The figures of the latest interval, and how long it really was.
    overview: Overview,
    elapsed: Duration,
}

impl FlushHealth {
    pub(super) fn new(interval: Duration) -> Self {
        let (overview, elapsed) = (Overview::default(), Duration::ZERO);
        Self(Mutex::new(Latest { at: Instant::now(), interval, overview, elapsed }))
    }

    /// Notes that the flush has ended an interval.
    pub(super) fn flushed(&self, snapshot: &Snapshot) {
        let mut latest = self.0.lock();
        latest.at = Instant::now();
        latest.overview = snapshot.overview;
        latest.elapsed = snapshot.interval;
    }

    /// Returns the figures of the latest interval in a sentence for people.
    pub(super) fn figures(&self) -> String {
        let Latest { overview, elapsed, .. } = *self.0.lock();
        let Overview { series, lines, rejected, refused, datagrams_dropped, .. } = overview;
        let dropped = datagrams_dropped.map_or_else(|| "unknown".to_owned(), |count| count.to_string());
        let seconds = elapsed.as_secs_f64();
        format!(
            "{series} series; in the last {seconds:.1} s: {lines} lines, {rejected} rejected, {refused} refused, \
             {dropped} datagrams dropped"
        )
    }

    /// Changes the length of intervals. The time until the next flush counts from now.
    pub(super) fn change_interval(&self, interval: Duration) {
        let mut latest = self.0.lock();
        if latest.interval != interval {
            latest.at = Instant::now();
            latest.interval = interval;
        }
    }
}

impl Health for FlushHealth {
    fn check(&self) -> Result<(), String> {
        let Latest { at, interval, .. } = *self.0.lock();
        check(at.elapsed(), interval)
    }
}

fn check(silence: Duration, interval: Duration) -> Result<(), String> {
    let allowed = (interval * INTERVALS).max(SHORTEST);
    if silence <= allowed {
        return Ok(());
    }
    let [silence, allowed] = [silence, allowed].map(|time| time.as_secs_f64());
    Err(format!("the last flush was {silence:.0} s ago, and {allowed:.0} s are allowed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flush_is_overdue_after_three_intervals_or_fifteen_seconds() {
        let rows = [(1, 15_000, true), (1, 15_001, false), (10, 30_000, true), (10, 30_001, false)];
        for (interval, silence, is_healthy) in rows {
            let checked = check(Duration::from_millis(silence), Duration::from_secs(interval));
            assert_eq!(checked.is_ok(), is_healthy, "{interval} s: {checked:?}");
        }
        let error = check(Duration::from_mins(1), Duration::from_secs(10)).unwrap_err();
        assert_eq!(error, "the last flush was 60 s ago, and 30 s are allowed");
    }
}
