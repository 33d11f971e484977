//! Ends intervals on time, on a thread of its own.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{Aggregator, Ended, IntervalResults, ReloadableSettings, Schedule};
use crate::model::{Counter, DrainRequests, Gauge, Repeated, Snapshot, Telemetry, Thinned, WarnOnce};
use crate::text::visible::shortened;

/// The longest wait of a late flush for receivers. Draining a full receive buffer takes less. A receiver that sleeps
/// does not answer, and one whose senders never pause may not see its socket empty.
const DRAIN_PATIENCE: Duration = Duration::from_millis(250);

/// The time between two looks at the answers of receivers.
const DRAIN_LOOK: Duration = Duration::from_millis(1);

/// A command to the flusher to use new settings.
#[derive(Debug)]
pub(crate) struct Reload {
    /// The settings of series.
    pub settings: ReloadableSettings,
    /// The length of intervals.
    pub interval: Duration,
}

/// Accepts the snapshots that the flusher makes.
pub(crate) trait Deliver: Send {
    /// Accepts a snapshot. It must not block, because that would delay the next flush.
    fn deliver(&mut self, snapshot: &Arc<Snapshot>);
}

/// Flushes at the end of each interval.
#[derive(Debug)]
pub(crate) struct Flusher<D> {
    aggregator: Aggregator,
    /// The schedule starts before the receivers do, so the first rates divide by the full time since the start.
    schedule: Schedule,
    drains: DrainRequests,
    exporters: D,
    telemetry: FlushTelemetry,
    messages: FlushMessages,
}

/// The telemetry of the flusher.
#[derive(Debug)]
struct FlushTelemetry {
    duration: Gauge,
    late: Counter,
    last_flush: Gauge,
}

/// The messages of the flusher that can repeat in every interval.
#[derive(Debug, Default)]
struct FlushMessages {
    late: Thinned,
    events_dropped: Thinned,
    refused: Thinned,
    /// The series that were named because they absorbed samples.
    absorbing: WarnOnce,
}

impl<D: Deliver> Flusher<D> {
    /// Creates a flusher that hands each snapshot to `exporters`.
    #[must_use]
    pub(crate) fn new(
        aggregator: Aggregator,
        schedule: Schedule,
        drains: DrainRequests,
        telemetry: &Telemetry,
        exporters: D,
    ) -> Self {
        let duration = telemetry.gauge("flush_duration_seconds", &[]);
        duration.set(0.0);
        let telemetry = FlushTelemetry {
            duration,
            late: telemetry.counter("flush_late", &[]),
            last_flush: telemetry.gauge("last_flush_timestamp_seconds", &[]),
        };
        Self { aggregator, schedule, drains, exporters, telemetry, messages: FlushMessages::default() }
    }

    /// Flushes at the end of each interval and executes commands until all senders of `commands` are gone. Then flushes
    /// the open interval.
    pub(crate) fn run(mut self, commands: &Receiver<Reload>) {
        let begin = Instant::now();
        loop {
            let is_stopping = match self.next_command(commands) {
                Ok(Reload { settings, interval }) => {
                    self.aggregator.reload(settings);
                    self.schedule.change_interval(interval, Instant::now(), SystemTime::now());
                    continue;
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => true,
            };
            if !is_stopping && let Some(lateness) = self.schedule.overdue(Instant::now()) {
                self.wait_for_receivers(lateness.min(DRAIN_PATIENCE));
            }
            let start = Instant::now();
            let ended = self.schedule.end(start, SystemTime::now());
            self.flush(begin.elapsed(), ended);
            let duration = start.elapsed();
            self.telemetry.duration.set(duration.as_secs_f64());
            tracing::debug!(?duration, late = ended.late, "flushed");
            if is_stopping {
                return;
            }
        }
    }

    /// Waits until receivers have recorded all datagrams that arrived before this moment, but at most for `patience`.
    ///
    /// If the process was suspended or had no CPU, many datagrams may wait. They belong to the interval that was open
    /// in that time, because its rates divide by that time.
    fn wait_for_receivers(&self, patience: Duration) {
        let begin = Instant::now();
        self.drains.request();
        while !self.drains.is_answered() && begin.elapsed() < patience {
            thread::sleep(DRAIN_LOOK);
        }
    }

    /// Waits for a command until the interval ends. A flush that is due comes before commands that wait, so commands
    /// cannot delay it, however many arrive.
    fn next_command(&self, commands: &Receiver<Reload>) -> Result<Reload, RecvTimeoutError> {
        match self.schedule.deadline().checked_duration_since(Instant::now()) {
            Some(wait) if !wait.is_zero() => commands.recv_timeout(wait),
            _ => Err(RecvTimeoutError::Timeout),
        }
    }

    fn flush(&mut self, now: Duration, ended: Ended) {
        let Ended { time, length, late } = ended;
        self.telemetry.late.add(u64::from(late));
        let unix_time = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.telemetry.last_flush.set(unix_time.as_secs_f64());
        let results = self.aggregator.end_interval(now);
        self.messages.log(&results, late, length);
        self.exporters.deliver(&Arc::new(results.into_snapshot(time, length)));
    }
}

impl FlushMessages {
    /// Logs what went wrong in an interval. Messages that repeat become ever fewer.
    fn log(&mut self, results: &IntervalResults, late: bool, length: Duration) {
        self.log_absorbed(results);
        if let Some(Repeated { times, .. }) = self.late.round(u64::from(late)) {
            tracing::warn!(
                ?length,
                times,
                "flushes were late; their intervals are longer, and the rates are correct"
            );
        }
        if let Some(Repeated { times, amount: events }) =
            self.events_dropped.round(results.counts.events_dropped)
        {
            tracing::error!(
                events,
                intervals = times,
                "events were dropped because their buffer was full; raise aggregation.event_buffer"
            );
        }
        let refused = results.refused.iter().map(|(_, samples)| samples).sum();
        if let Some(Repeated { times, amount: samples }) = self.refused.round(refused) {
            let names = results.refused.iter().take(5);
            let names: Vec<_> =
                names.map(|(name, samples)| format!("{} ({samples})", shortened(name))).collect();
            tracing::error!(
                samples,
                intervals = times,
                names = names.join(", "),
                "samples of new series were refused; raise aggregation.max_series or max_series_bytes, or send fewer tags"
            );
        }
    }

    /// Names each series once that absorbed samples.
    fn log_absorbed(&mut self, results: &IntervalResults) {
        for series in &results.absorbed {
            if self.absorbing.is_new(series) {
                let series = series.shortened();
                tracing::error!(
                    series,
                    "samples changed nothing, because the sum is more than 2^53 times as large; look for a wrong value or rate"
                );
            }
        }
        // `tallyd.samples_absorbed` counts the others.
        _ = self.absorbing.end_snapshot();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::aggregate::AggregationOptions;

    struct Discard;

    impl Deliver for Discard {
        fn deliver(&mut self, _: &Arc<Snapshot>) {}
    }

    /// Returns a flusher whose open interval of a second has lasted for `age`.
    fn flusher(age: Duration) -> Flusher<Discard> {
        let telemetry = Telemetry::default();
        let settings = ReloadableSettings::default();
        let aggregator = Aggregator::new(AggregationOptions::default(), settings, telemetry.clone());
        let (now, wall) = (Instant::now().checked_sub(age).unwrap(), SystemTime::UNIX_EPOCH);
        Flusher::new(
            aggregator,
            Schedule::new(Duration::from_secs(1), now, wall),
            DrainRequests::default(),
            &telemetry,
            Discard,
        )
    }

    #[test]
    fn a_flush_that_is_due_comes_before_waiting_reloads() {
        let (sender, commands) = mpsc::channel();
        let settings = ReloadableSettings::default();
        sender.send(Reload { settings, interval: Duration::from_secs(1) }).unwrap();
        let due = flusher(Duration::from_secs(2)).next_command(&commands);
        assert!(matches!(due, Err(RecvTimeoutError::Timeout)), "{due:?}");
        assert!(flusher(Duration::ZERO).next_command(&commands).is_ok());
    }
}
