//! Ends intervals on time, on a thread of its own.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::{Aggregator, Ended, IntervalResults, ReloadableSettings, Schedule};
use crate::aggregate::RefusedNames;
use crate::model::{Counter, DrainRequests, Gauge, Snapshot, Telemetry, WarnOnce};

/// The longest wait of a late flush for receivers. Draining a full receive buffer takes less. A receiver that sleeps does not
/// answer, and one whose senders never pause may not see its socket empty.
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
    fn deliver(&self, snapshot: &Arc<Snapshot>);
}

/// Flushes at the end of each interval.
#[derive(Debug)]
pub(crate) struct Flusher<D> {
    aggregator: Aggregator,
    /// The schedule starts before the receivers do, so the first rates divide by the full time since the start.
    schedule: Schedule,
    drains: DrainRequests,
    sink: D,
    telemetry: FlushTelemetry,
    /// The series that were named in the log because they absorbed samples.
    named: WarnOnce,
}

/// The telemetry of the flusher.
#[derive(Debug)]
struct FlushTelemetry {
    duration: Gauge,
    late: Counter,
    last_flush: Gauge,
}

impl<D: Deliver> Flusher<D> {
    /// Creates a flusher that hands each snapshot to `sink`.
    #[must_use]
    pub(crate) fn new(
        aggregator: Aggregator,
        schedule: Schedule,
        drains: DrainRequests,
        telemetry: &Telemetry,
        sink: D,
    ) -> Self {
        let duration = telemetry.gauge("flush_duration_seconds", &[]);
        duration.set(0.0);
        let telemetry = FlushTelemetry {
            duration,
            late: telemetry.counter("flush_late", &[]),
            last_flush: telemetry.gauge("last_flush_timestamp_seconds", &[]),
        };
        Self { aggregator, schedule, drains, sink, telemetry, named: WarnOnce::default() }
    }

    /// Flushes at the end of each interval and executes commands until all senders of `commands` are gone. Then flushes
    /// the open interval and returns the sink.
    pub(crate) fn run(mut self, commands: &Receiver<Reload>) -> D {
        let begin = Instant::now();
        loop {
            let wait = self.schedule.deadline().saturating_duration_since(Instant::now());
            let is_stopping = match commands.recv_timeout(wait) {
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
                return self.sink;
            }
        }
    }

    /// Waits until receivers have recorded what had arrived before this moment. If the process was suspended or had no CPU, much
    /// may have arrived. It belongs to the interval that was open meanwhile, because the rates divide by that time. Returns after `patience` at
    /// the latest.
    fn wait_for_receivers(&self, patience: Duration) {
        let begin = Instant::now();
        self.drains.request();
        while !self.drains.is_answered() && begin.elapsed() < patience {
            thread::sleep(DRAIN_LOOK);
        }
    }

    fn flush(&mut self, now: Duration, ended: Ended) {
        let Ended { time, length, late } = ended;
        if late {
            tracing::warn!(?length, "a flush was late; the interval is longer, and its rates are correct");
            self.telemetry.late.increment();
        }
        let unix_time = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.telemetry.last_flush.set(unix_time.as_secs_f64());
        let results = self.aggregator.end_interval(now);
        log_losses(&results);
        log_absorbed(&results, &mut self.named);
        self.sink.deliver(&Arc::new(results.into_snapshot(time, length)));
    }
}

fn log_losses(results: &IntervalResults) {
    log_refused_names(&results.refused);
    if results.counts.events_dropped > 0 {
        tracing::error!(
            events = results.counts.events_dropped,
            "events were dropped because their buffer was full; raise aggregation.event_buffer"
        );
    }
}

fn log_absorbed(results: &IntervalResults, named: &mut WarnOnce) {
    for series in &results.absorbed {
        if named.is_new(series) {
            let series = series.shortened();
            tracing::error!(
                series,
                "samples changed nothing, because the sum is more than 2^53 times as large; look for a wrong value or rate"
            );
        }
    }
    // tallyd.samples_absorbed counts the others.
    _ = named.end_snapshot();
}

fn log_refused_names(refused: &RefusedNames) {
    let mut names = refused.iter().take(5).map(|(name, samples)| format!("{name} ({samples})")).peekable();
    if names.peek().is_some() {
        let names = names.collect::<Vec<_>>().join(", ");
        tracing::error!(
            names,
            "samples of new series were refused; raise aggregation.max_series or max_series_bytes, or send fewer tags"
        );
    }
}
