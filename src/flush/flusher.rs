//! Ends intervals on time, on a thread of its own.
//!
//! Only [`Flusher::run`] waits and reads the clocks. The steps that it takes get the time as an argument, so a simulation
//! can take them, too.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use enum_map::EnumMap;

use super::{Aggregator, Ended, IntervalResults, LiveSeries, ReloadableSettings, Schedule};
use crate::model::{Counter, Gauge, Named, Origin, Repeated, Snapshot, Telemetry, Thinned, WarnOnce};
use crate::protocol::RejectReason;
use crate::resolve::{Excess, RefuseReason};
use crate::text::visible::shortened;

/// A command to the flusher to use new settings.
#[derive(Debug)]
pub struct Reload {
    /// The settings of series.
    pub settings: ReloadableSettings,
    /// The length of intervals.
    pub interval: Duration,
}

/// Accepts the snapshots that the flusher makes.
pub trait Deliver: Send {
    /// Accepts a snapshot. It must not block, because that would delay the next flush. `is_last` is true at a stop.
    /// `live` returns the state of the series after the snapshot.
    fn deliver(&mut self, snapshot: &Arc<Snapshot>, is_last: bool, live: impl FnOnce() -> LiveSeries);
}

/// The time of the flusher's clock when it starts. Series of an earlier process had their latest samples before it. It
/// leaves room for 68 years on either side.
pub const CLOCK_ORIGIN: Duration = Duration::from_secs(1 << 31);

/// Makes receivers record what has arrived.
pub trait Drain: Send {
    /// Waits until the receivers have recorded what had arrived before the call, but only for a moment. `lateness` is
    /// given if the flush is so late that much may have arrived.
    fn drain(&self, lateness: Option<Duration>);
}

/// Flushes at the end of each interval.
#[derive(Debug)]
pub struct Flusher<D, R> {
    aggregator: Aggregator,
    /// The start of the first interval.
    begin: Instant,
    /// The schedule starts before the receivers do, so the first rates divide by the full time since the start.
    schedule: Schedule,
    receivers: R,
    exporters: D,
    telemetry: FlushTelemetry,
    messages: FlushMessages,
    /// True if a command was executed after the latest flush, although the next one was due.
    has_put_off: bool,
    /// True if the latest command came after the end of the interval, so the flusher had overslept.
    has_overslept: bool,
}

/// The reason why the flusher wakes.
#[derive(Debug)]
enum Event {
    Command(Box<Reload>),
    /// The interval has ended while the flusher slept, or during the previous flush.
    IntervalEnd {
        overslept: bool,
    },
    Stop,
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
    overflowed: Thinned,
    too_long: Thinned,
    no_memory: Thinned,
    rejected: EnumMap<RejectReason, Thinned>,
    /// The samples whose names clients or rules may not give.
    misnamed: EnumMap<RefuseReason, Thinned>,
    /// The series that were named because they absorbed samples.
    absorbing: WarnOnce,
}

impl<D: Deliver, R: Drain> Flusher<D, R> {
    /// Creates a flusher that hands each snapshot to `exporters`. At the end of an interval, it drains `receivers` first.
    #[must_use]
    pub fn new(
        aggregator: Aggregator,
        schedule: Schedule,
        receivers: R,
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
        let messages = FlushMessages::default();
        Self {
            aggregator,
            begin: schedule.started(),
            schedule,
            receivers,
            exporters,
            telemetry,
            messages,
            has_put_off: false,
            has_overslept: false,
        }
    }

    /// Flushes at the end of each interval and executes commands until all senders of `commands` are gone. Then flushes
    /// the open interval.
    pub(crate) fn run(mut self, commands: &Receiver<Reload>) {
        loop {
            let overslept = match self.next_event(commands) {
                Event::Command(command) => {
                    self.reload(*command, Instant::now(), SystemTime::now());
                    continue;
                }
                Event::IntervalEnd { overslept } => Some(overslept),
                Event::Stop => None,
            };
            self.wake(Instant::now(), overslept);
            let start = Instant::now();
            let ended = self.end_interval(start, SystemTime::now(), overslept.is_none());
            let duration = start.elapsed();
            self.telemetry.duration.set(duration.as_secs_f64());
            tracing::debug!(?duration, late = ended.late, "flushed");
            if overslept.is_none() {
                return;
            }
        }
    }

    /// Returns the time at which the open interval should end.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.schedule.deadline()
    }

    /// Executes a command.
    pub fn reload(&mut self, Reload { settings, interval }: Reload, now: Instant, wall: SystemTime) {
        self.aggregator.reload(settings);
        self.schedule.change_interval(interval, now, wall);
    }

    /// Begins a flush: notes how late it is, and drains the receivers. `overslept` is true if the flusher slept beyond the
    /// end of the interval, and `None` at a stop.
    pub fn wake(&mut self, now: Instant, overslept: Option<bool>) {
        let lateness = self.schedule.wake(now);
        // At a stop, the receivers have already drained their sockets and ended. If only the previous flush was slow,
        // they have received meanwhile.
        if let Some(overslept) = overslept {
            self.receivers.drain(lateness.filter(|_| overslept));
        }
    }

    /// Ends the open interval at `now`, and hands its snapshot to the exporters. `is_last` is true at a stop.
    pub fn end_interval(&mut self, now: Instant, wall: SystemTime, is_last: bool) -> Ended {
        let ended = self.schedule.end(now, wall);
        self.flush(CLOCK_ORIGIN + now.saturating_duration_since(self.begin), ended, is_last);
        (self.has_put_off, self.has_overslept) = (false, false);
        ended
    }

    /// Waits for a command until the interval ends. If the interval has ended already, at most one command comes before
    /// the flush. So commands take effect even if each flush takes longer than the interval, and cannot delay a flush,
    /// however many arrive.
    fn next_event(&mut self, commands: &Receiver<Reload>) -> Event {
        let deadline = self.schedule.deadline();
        let wait = deadline.saturating_duration_since(Instant::now());
        if !wait.is_zero() {
            let received = commands.recv_timeout(wait);
            self.has_overslept = Instant::now() > deadline;
            return match received {
                Ok(command) => Event::Command(Box::new(command)),
                Err(RecvTimeoutError::Timeout) => Event::IntervalEnd { overslept: true },
                Err(RecvTimeoutError::Disconnected) => Event::Stop,
            };
        }
        let overslept = self.has_overslept;
        if std::mem::replace(&mut self.has_put_off, true) {
            return Event::IntervalEnd { overslept };
        }
        match commands.try_recv() {
            Ok(command) => Event::Command(Box::new(command)),
            Err(TryRecvError::Empty) => Event::IntervalEnd { overslept },
            Err(TryRecvError::Disconnected) => Event::Stop,
        }
    }

    fn flush(&mut self, now: Duration, ended: Ended, is_last: bool) {
        let Ended { time, length, late } = ended;
        self.telemetry.late.add(u64::from(late));
        let unix_time = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.telemetry.last_flush.set(unix_time.as_secs_f64());
        let results = self.aggregator.end_interval(now);
        self.messages.log(&results, late, length);
        let snapshot = Arc::new(results.into_snapshot(time, length));
        self.exporters.deliver(&snapshot, is_last, || self.aggregator.live_series(now));
    }
}

impl FlushMessages {
    /// Logs what went wrong in an interval. Messages that repeat become ever fewer.
    fn log(&mut self, results: &IntervalResults, late: bool, length: Duration) {
        self.log_absorbed(results);
        self.log_rejected(results);
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
        self.log_excess(results);
        let without_memory = results.counts.refused[RefuseReason::Memory];
        if let Some(Repeated { times, amount: samples }) = self.no_memory.round(without_memory) {
            tracing::error!(
                samples,
                intervals = times,
                "samples were refused because the memory for series or values was used up; raise memory.max, or send fewer tags"
            );
        }
    }

    /// Shows the latest invalid line of each reason, and who sent it. Does the same for samples with a name that is not
    /// permitted. Other samples that were refused are named by their metrics.
    fn log_rejected(&mut self, results: &IntervalResults) {
        let latest = |reason| results.rejected.iter().rfind(|line| line.reason == reason);
        for (reason, &count) in &results.counts.rejected {
            if let Some(Repeated { times, amount: lines }) = self.rejected[reason].round(count)
                && let Some(line) = latest(reason.name())
            {
                let Origin { listener, sender } = line.origin;
                tracing::error!(
                    reason = line.reason,
                    lines,
                    intervals = times,
                    line = line.shortened(),
                    column = line.column(),
                    listener,
                    %sender,
                    "lines were rejected; `tallyd explain` says what is wrong with one"
                );
            }
        }
        for reason in [RefuseReason::ReservedName, RefuseReason::MappingEmptyName] {
            let count = results.counts.refused[reason];
            if let Some(Repeated { times, amount: samples }) = self.misnamed[reason].round(count)
                && let Some(line) = latest(reason.name())
            {
                let Origin { listener, sender } = line.origin;
                tracing::error!(
                    reason = line.reason,
                    samples,
                    intervals = times,
                    line = line.shortened(),
                    listener,
                    %sender,
                    "samples were refused because of their names"
                );
            }
        }
    }

    /// Names the metrics with samples beyond a limit, and those that took the room.
    fn log_excess(&mut self, results: &IntervalResults) {
        let samples = |way| results.excess[way].iter().map(|(_, samples)| samples).sum();
        let names = |way| named(results.excess[way].iter());
        let most_series = || named(results.talkers.series.iter());
        let most_new_series = || named(results.talkers.added.iter());
        if let Some(Repeated { times, amount: samples }) = self.refused.round(samples(Excess::Refused)) {
            tracing::error!(
                samples,
                intervals = times,
                names = names(Excess::Refused),
                most_series = most_series(),
                most_new_series = most_new_series(),
                "samples of new series were refused; send fewer tags, or raise the limit that tallyd.series_refused names"
            );
        }
        if let Some(Repeated { times, amount: samples }) = self.overflowed.round(samples(Excess::Overflowed))
        {
            tracing::warn!(
                samples,
                intervals = times,
                names = names(Excess::Overflowed),
                most_series = most_series(),
                most_new_series = most_new_series(),
                "samples of new series were recorded in the overflow series of their metrics; send fewer tags, or raise the limit that tallyd.samples_overflowed names"
            );
        }
        if let Some(Repeated { times, amount: samples }) = self.too_long.round(samples(Excess::NameTooLong)) {
            tracing::error!(
                samples,
                intervals = times,
                names = names(Excess::NameTooLong),
                "samples were refused because their names are too long; raise aggregation.max_name, or move parts of the names into tags"
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

/// Returns the first five names with their counts, in words.
fn named<'a>(names: impl Iterator<Item = (&'a str, u64)>) -> String {
    let names: Vec<_> = names.take(5).map(|(name, count)| format!("{} ({count})", shortened(name))).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::aggregate::AggregationOptions;

    struct Discard;

    impl Deliver for Discard {
        fn deliver(&mut self, _: &Arc<Snapshot>, _: bool, _: impl FnOnce() -> LiveSeries) {}
    }

    struct NoReceivers;

    impl Drain for NoReceivers {
        fn drain(&self, _: Option<Duration>) {}
    }

    /// Returns a flusher whose open interval of a second has lasted for `age`.
    fn flusher(age: Duration) -> Flusher<Discard, NoReceivers> {
        let telemetry = Telemetry::default();
        let settings = ReloadableSettings::default();
        let aggregator = Aggregator::new(AggregationOptions::default(), settings, telemetry.clone());
        let (now, wall) = (Instant::now().checked_sub(age).unwrap(), SystemTime::UNIX_EPOCH);
        let schedule = Schedule::new(Duration::from_secs(1), now, wall);
        Flusher::new(aggregator, schedule, NoReceivers, &telemetry, Discard)
    }

    fn reload() -> Reload {
        Reload { settings: ReloadableSettings::default(), interval: Duration::from_secs(1) }
    }

    #[test]
    fn at_most_one_waiting_reload_comes_before_a_flush_that_is_due() {
        let (sender, commands) = mpsc::channel();
        (0..3).for_each(|_| sender.send(reload()).unwrap());
        let mut due = flusher(Duration::from_secs(2));
        assert!(matches!(due.next_event(&commands), Event::Command(_)));
        for _ in 0..2 {
            assert!(matches!(due.next_event(&commands), Event::IntervalEnd { overslept: false }));
        }
        assert!(matches!(flusher(Duration::ZERO).next_event(&commands), Event::Command(_)));
    }

    #[test]
    fn a_stop_is_noticed_even_if_every_flush_is_due() {
        let (sender, commands) = mpsc::channel();
        drop(sender);
        assert!(matches!(flusher(Duration::from_secs(2)).next_event(&commands), Event::Stop));
    }
}
