//! Runs an exporter on a thread of its own, behind a queue.

use std::fmt;
use std::io;
use std::mem;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::Instant;

use enum_map::EnumMap;

use super::exporter::Exporter;
use super::exporter_status::{ExporterStatus, ExporterStatuses};
use super::outcome::{ExportOutcome, MergeReason, QuarantineReason};
use crate::model::{Counter, Memory, MemoryPart, Repeated, Snapshot, Telemetry, Thinned};
use crate::net::Threads;
use crate::state::PartSender;

/// The number of snapshots that wait for a slow exporter. If one more arrives, the oldest is dropped.
const QUEUE: usize = 4;

/// The flush's end of an exporter's queue.
#[derive(Debug)]
pub struct ExporterQueue {
    name: &'static str,
    snapshots: async_channel::Sender<Queued>,
    snapshots_dropped: Counter,
    samples_undelivered: Counter,
    /// The samples of the snapshots that the exporter has not handled yet.
    waiting: Arc<AtomicU64>,
    dropped: Thinned,
    /// The exporter's end of the queue, to drop the oldest snapshots.
    oldest: async_channel::WeakReceiver<Queued>,
    memory: Memory,
}

/// A snapshot in the queue of an exporter.
#[derive(Debug)]
pub struct Queued {
    /// The snapshot.
    pub snapshot: Arc<Snapshot>,
    /// Whether the exporter hands over its state after this snapshot.
    is_saved: bool,
}

impl ExporterQueue {
    /// Connects an exporter with the flush, and registers its counters. Returns both ends of the queue. The exporter hands
    /// over its state through `state`, if it has any. Its snapshots give way to new ones if `memory` is used up.
    #[must_use]
    pub fn connect<E: Exporter>(
        exporter: E,
        state: Option<PartSender>,
        (memory, telemetry, statuses): (&Memory, &Telemetry, &ExporterStatuses),
    ) -> (Self, ExporterThread<E>) {
        let name = exporter.name();
        let tags = [("exporter", name)];
        let (sender, receiver) = async_channel::bounded(QUEUE);
        let oldest = receiver.downgrade();
        let samples_undelivered = telemetry.counter("samples_undelivered", &tags);
        let waiting = Arc::default();
        let thread = ExporterThread {
            exporter,
            state,
            snapshots: receiver,
            deadline: Arc::default(),
            exporting: None,
            failures: Thinned::default(),
            is_failing: false,
            errors: telemetry.counter("export_errors", &tags),
            samples_undelivered: samples_undelivered.clone(),
            status: statuses.add(name, Arc::clone(&waiting)),
            waiting,
            quarantined: telemetry.counters("series_quarantined", &tags, "reason"),
            merged: telemetry.counters("series_merged", &tags, "by"),
            absorbed: telemetry.counter("increases_absorbed", &tags),
            windows_dropped: telemetry.counter("percentile_windows_dropped", &tags),
        };
        let queue = Self {
            name,
            snapshots: sender,
            snapshots_dropped: telemetry.counter("snapshots_dropped", &tags),
            samples_undelivered,
            waiting: Arc::clone(&thread.waiting),
            dropped: Thinned::default(),
            oldest,
            memory: memory.clone(),
        };
        (queue, thread)
    }

    /// Returns the samples of the snapshots that the exporter has not handled yet.
    #[must_use]
    pub fn waiting(&self) -> u64 {
        self.waiting.load(Relaxed)
    }

    /// Puts a snapshot into the exporter's queue without waiting. If the queue is full, the oldest snapshot is dropped.
    /// If `is_saved` is true, the exporter hands over its state after this snapshot.
    pub fn deliver(&mut self, snapshot: &Arc<Snapshot>, is_saved: bool) {
        self.waiting.fetch_add(snapshot.overview.samples, Relaxed);
        let queued = Queued { snapshot: Arc::clone(snapshot), is_saved };
        let mut is_whole = true;
        while self.memory.room(MemoryPart::Snapshots) == 0
            && let Some(oldest) = self.take_oldest()
        {
            is_whole = false;
            self.lose(
                &oldest,
                "it is too slow for the memory of snapshots; raise memory.max, or make it faster",
            );
        }
        match self.snapshots.force_send(queued) {
            Ok(None) if is_whole => {
                if let Some(lost) = self.dropped.rest() {
                    self.log(lost, "its queue was full");
                }
            }
            Ok(None) => {}
            Ok(Some(oldest)) => {
                self.lose(&oldest, "it is too slow, and loses the oldest snapshot of its queue");
            }
            Err(closed) => self.lose(&closed.into_inner(), "its thread has ended"),
        }
    }

    /// Takes the oldest snapshot out of the queue.
    fn take_oldest(&self) -> Option<Queued> {
        self.oldest.upgrade()?.try_recv().ok()
    }

    /// Counts a snapshot that the exporter never gets.
    fn lose(&mut self, Queued { snapshot, .. }: &Queued, reason: &str) {
        self.snapshots_dropped.increment();
        self.samples_undelivered.add(snapshot.overview.samples);
        self.waiting.fetch_sub(snapshot.overview.samples, Relaxed);
        if let Some(lost) = self.dropped.add(snapshot.overview.samples) {
            self.log(lost, reason);
        }
    }

    fn log(&self, Repeated { times, amount }: Repeated, reason: &str) {
        let exporter = self.name;
        tracing::error!(
            exporter,
            snapshots = times,
            samples = amount,
            "an exporter lost snapshots: {reason}"
        );
    }
}

/// A running exporter.
#[derive(Debug)]
pub(crate) struct ExporterHandle {
    name: &'static str,
    /// Closes the queue at the stop, even if the flush has panicked.
    snapshots: async_channel::Sender<Queued>,
    /// The time by which the exporter must finish. It is set when no more snapshots come.
    deadline: Arc<OnceLock<Instant>>,
    waiting: Arc<AtomicU64>,
    samples_undelivered: Counter,
    /// Receives the outcome of the last delivery when the thread ends. Disconnected without one if the thread panicked.
    ended: mpsc::Receiver<Result<(), String>>,
}

/// The reason why an exporter may not have delivered the last interval.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Undelivered {
    exporter: &'static str,
    reason: String,
}

impl fmt::Display for Undelivered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { exporter, reason } = self;
        write!(f, "{exporter} ({reason})")
    }
}

impl ExporterHandle {
    /// Starts the thread of an exporter and registers its counters. The exporter hands over its state through `state`, if
    /// it has any.
    ///
    /// # Errors
    ///
    /// Fails if the system cannot start a thread.
    pub(crate) fn start(
        exporter: impl Exporter,
        state: Option<PartSender>,
        shared: (&Memory, &Telemetry, &ExporterStatuses),
        threads: &Threads,
    ) -> io::Result<(Self, ExporterQueue)> {
        let name = exporter.name();
        let (queue, thread) = ExporterQueue::connect(exporter, state, shared);
        let (end, ended) = mpsc::channel();
        let handle = Self {
            name,
            snapshots: queue.snapshots.clone(),
            deadline: Arc::clone(&thread.deadline),
            waiting: Arc::clone(&queue.waiting),
            samples_undelivered: queue.samples_undelivered.clone(),
            ended,
        };
        threads.spawn(&format!("export-{name}"), move || {
            // Sending fails only if the stop has given up on the exporter.
            _ = end.send(thread.run());
        })?;
        Ok((handle, queue))
    }

    /// Returns the exporter's name in the configuration.
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Tells the exporter that no more snapshots come, and by when it must have delivered the rest of its queue.
    pub(crate) fn close(&self, deadline: Instant) {
        // If this is called again, the first deadline stays in force.
        _ = self.deadline.set(deadline);
        self.snapshots.close();
    }

    /// Waits until the exporter has finished, but not longer than the deadline. Then it counts the samples that are left.
    ///
    /// # Errors
    ///
    /// Fails if the exporter may not have delivered the last interval.
    pub(crate) fn finish(self, deadline: Instant) -> Result<(), Undelivered> {
        self.close(deadline);
        let waiting = || self.waiting.load(Relaxed);
        let reason = match self.ended.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => error,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                self.samples_undelivered.add(waiting());
                format!("not finished within shutdown.timeout, with {} samples left", waiting())
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                format!("it panicked, with {} samples left", waiting())
            }
        };
        Err(Undelivered { exporter: self.name, reason })
    }
}

/// The thread that runs an exporter. A simulation runs its steps without a thread.
#[derive(Debug)]
pub struct ExporterThread<E> {
    exporter: E,
    state: Option<PartSender>,
    snapshots: async_channel::Receiver<Queued>,
    deadline: Arc<OnceLock<Instant>>,
    /// The samples of the snapshot that is being exported.
    exporting: Option<u64>,
    failures: Thinned,
    /// True if the latest message says that exporting fails.
    is_failing: bool,
    errors: Counter,
    samples_undelivered: Counter,
    status: Arc<ExporterStatus>,
    waiting: Arc<AtomicU64>,
    quarantined: EnumMap<QuarantineReason, Counter>,
    merged: EnumMap<MergeReason, Counter>,
    absorbed: Counter,
    windows_dropped: Counter,
}

impl<E: Exporter> ExporterThread<E> {
    /// Delivers snapshots until the queue is closed and empty.
    ///
    /// # Errors
    ///
    /// Returns the error of the last delivery, or of the end.
    fn run(mut self) -> Result<(), String> {
        let mut last = Ok(());
        while let Ok(queued) = self.snapshots.recv_blocking() {
            last = self.export(&queued);
        }
        last.and(self.end())
    }

    /// Returns the oldest snapshot in the queue without waiting, or `None` if the queue is empty.
    #[must_use]
    pub fn take(&self) -> Option<Queued> {
        self.snapshots.try_recv().ok()
    }

    /// Delivers a snapshot that was taken from the queue, and counts the outcome.
    ///
    /// # Errors
    ///
    /// Returns the error of the delivery.
    pub fn export(&mut self, Queued { snapshot, is_saved }: &Queued) -> Result<(), String> {
        let (name, samples) = (self.exporter.name(), snapshot.overview.samples);
        self.exporting = Some(samples);
        let delivered = match self.exporter.export(snapshot) {
            Ok(outcome) => {
                self.count(outcome);
                _ = self.failures.rest();
                if mem::take(&mut self.is_failing) {
                    tracing::info!(exporter = name, "exporting works again");
                }
                Ok(())
            }
            Err(error) => {
                self.errors.increment();
                if !E::KEEPS_TOTALS {
                    self.samples_undelivered.add(samples);
                }
                if let Some(Repeated { times, amount }) = self.failures.add(samples) {
                    self.is_failing = true;
                    tracing::error!(
                        exporter = name,
                        snapshots = times,
                        samples = amount,
                        "snapshots were not delivered: {error}"
                    );
                }
                Err(error.to_string())
            }
        };
        self.status.note(&delivered);
        self.exporting = None;
        self.waiting.fetch_sub(samples, Relaxed);
        if *is_saved {
            self.hand_over_state(false);
        }
        delivered
    }

    /// Ends the exporter after the last snapshot, and hands over its state.
    ///
    /// # Errors
    ///
    /// Returns the error of the end.
    pub fn end(&mut self) -> Result<(), String> {
        self.hand_over_state(true);
        let deadline = self.deadline.get().copied().unwrap_or_else(Instant::now);
        let finished = self.exporter.finish(deadline.saturating_duration_since(Instant::now()));
        finished.map_err(|error| error.to_string())
    }

    fn hand_over_state(&self, is_last: bool) {
        if let Some(sender) = &self.state
            && let Some(state) = self.exporter.state()
        {
            sender.hand_over(is_last, || state);
        }
    }

    fn count(&self, outcome: ExportOutcome) {
        let ExportOutcome { quarantined, merged, absorbed, windows_dropped } = outcome;
        self.absorbed.add(absorbed);
        self.windows_dropped.add(windows_dropped);
        quarantined.into_iter().for_each(|(reason, rows)| self.quarantined[reason].add(rows));
        merged.into_iter().for_each(|(reason, rows)| self.merged[reason].add(rows));
    }
}

/// Counts the snapshots that are lost if the exporter panics.
impl<E> Drop for ExporterThread<E> {
    fn drop(&mut self) {
        if !thread::panicking() {
            return;
        }
        // From now on, the flush counts the snapshots that it cannot deliver.
        self.snapshots.close();
        let queued = std::iter::from_fn(|| self.snapshots.try_recv().ok());
        for samples in queued.map(|queued| queued.snapshot.overview.samples).chain(self.exporting) {
            self.errors.increment();
            self.samples_undelivered.add(samples);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::{Duration, SystemTime};

    use super::*;
    use crate::export::exporter::ExportError;
    use crate::model::{Kind, Overview, Rows, Value};

    /// Returns a snapshot of ten samples.
    fn snapshot(number: u64) -> Arc<Snapshot> {
        Arc::new(Snapshot {
            time: SystemTime::UNIX_EPOCH + Duration::from_secs(number),
            overview: Overview { samples: 10, ..Overview::default() },
            ..Rows::default().into()
        })
    }

    /// An exporter that reports each snapshot it receives, and then waits for the command to fail or to succeed.
    struct FakeExporter {
        taken: Sender<u64>,
        outcomes: Receiver<Result<ExportOutcome, ()>>,
    }

    impl Exporter for FakeExporter {
        fn name(&self) -> &'static str {
            "fake"
        }
        fn export(&mut self, snapshot: &Arc<Snapshot>) -> Result<ExportOutcome, ExportError> {
            let number = snapshot.time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            self.taken.send(number).unwrap();
            match self.outcomes.recv() {
                Ok(Err(())) => Err(ExportError::new("fake", io::Error::other("the test lets it fail"))),
                Ok(Ok(outcome)) => Ok(outcome),
                Err(_) => Ok(ExportOutcome::default()),
            }
        }
    }

    /// A running fake exporter, and the channels that control it.
    struct Fixture {
        handle: ExporterHandle,
        queue: ExporterQueue,
        taken: Receiver<u64>,
        outcomes: Sender<Result<ExportOutcome, ()>>,
        telemetry: Telemetry,
    }

    impl Fixture {
        fn new() -> Self {
            let (taken, takes) = channel();
            let (outcomes, commands) = channel();
            let telemetry = Telemetry::default();
            let fake = FakeExporter { taken, outcomes: commands };
            let threads = Threads::new().0;
            let shared = (&Memory::default(), &telemetry, &ExporterStatuses::default());
            let (handle, queue) = ExporterHandle::start(fake, None, shared, &threads).unwrap();
            Self { handle, queue, taken: takes, outcomes, telemetry }
        }

        /// Returns the counters that are not zero.
        fn counts(&self) -> Vec<(String, f64)> {
            let mut counts = Vec::new();
            self.telemetry.read(|_, series, value| match value {
                Value::Counter(count) if count > 0.0 => counts.push((format!("{series:?}"), count)),
                _ => {}
            });
            counts
        }
    }

    fn count(series: &str, count: f64) -> (String, f64) {
        (format!("tallyd.{series}"), count)
    }

    /// Returns a deadline that is never reached.
    fn later() -> Instant {
        Instant::now() + Duration::from_mins(1)
    }

    #[test]
    fn exporter_that_hangs_loses_its_oldest_snapshots_which_are_counted() {
        let mut fixture = Fixture::new();
        fixture.queue.deliver(&snapshot(0), false);
        assert_eq!(fixture.taken.recv(), Ok(0));
        (1..=6).for_each(|number| fixture.queue.deliver(&snapshot(number), false));
        let lost = [
            count("samples_undelivered|c|#exporter:fake", 20.0),
            count("snapshots_dropped|c|#exporter:fake", 2.0),
        ];
        assert_eq!(fixture.counts(), lost);
        assert_eq!(fixture.counts(), []);
        (0..5).for_each(|_| fixture.outcomes.send(Ok(ExportOutcome::default())).unwrap());
        assert_eq!(fixture.handle.finish(later()), Ok(()));
        assert_eq!(fixture.taken.try_iter().collect::<Vec<_>>(), [3, 4, 5, 6]);
    }

    #[test]
    fn the_oldest_snapshots_give_way_if_the_memory_for_snapshots_is_used_up() {
        let mut fixture = Fixture::new();
        let memory = Memory::limited(16 << 20);
        fixture.queue.memory = memory.clone();
        let large = |number| {
            let mut snapshot = Arc::unwrap_or_clone(snapshot(number));
            snapshot.rows = snapshot.rows.counted_in(&memory, 100);
            Arc::new(snapshot)
        };
        for number in 0..4 {
            fixture.queue.deliver(&large(number), false);
            if number == 0 {
                assert_eq!(fixture.taken.recv(), Ok(0), "the exporter is busy with the first one");
            }
        }
        let lost = [
            count("samples_undelivered|c|#exporter:fake", 20.0),
            count("snapshots_dropped|c|#exporter:fake", 2.0),
        ];
        assert_eq!(fixture.counts(), lost);
        fixture.outcomes.send(Ok(ExportOutcome::default())).unwrap();
        assert_eq!(fixture.taken.recv(), Ok(3));
    }

    #[test]
    fn failures_are_counted_and_the_exporter_gets_the_next_snapshot() {
        let mut fixture = Fixture::new();
        for (number, outcome) in [Err(()), Ok(ExportOutcome::default()), Err(())].into_iter().enumerate() {
            fixture.queue.deliver(&snapshot(number as u64), false);
            assert_eq!(fixture.taken.recv(), Ok(number as u64));
            fixture.outcomes.send(outcome).unwrap();
        }
        fixture.queue.deliver(&snapshot(3), false);
        assert_eq!(fixture.taken.recv(), Ok(3));
        let lost = [
            count("samples_undelivered|c|#exporter:fake", 20.0),
            count("export_errors|c|#exporter:fake", 2.0),
        ];
        assert_eq!(fixture.counts(), lost);
    }

    #[test]
    fn rows_that_were_quarantined_or_merged_are_counted_by_reason() {
        let mut fixture = Fixture::new();
        let mut outcome = ExportOutcome::default();
        outcome.quarantined[QuarantineReason::NameTaken] = 2;
        outcome.merged[MergeReason::Labels] = 3;
        for _ in 0..2 {
            fixture.queue.deliver(&snapshot(0), false);
            fixture.outcomes.send(Ok(outcome)).unwrap();
        }
        fixture.handle.close(later());
        assert_eq!(fixture.handle.ended.recv(), Ok(Ok(())));
        let expected = [
            count("series_quarantined|c|#exporter:fake,reason:name_taken", 4.0),
            count("series_merged|c|#by:labels,exporter:fake", 6.0),
        ];
        assert_eq!(fixture.counts(), expected);
    }

    #[test]
    fn every_snapshot_for_an_exporter_that_panicked_is_counted() {
        let Fixture { handle, mut queue, taken, outcomes, telemetry } = Fixture::new();
        drop((taken, outcomes));
        // The fake exporter panics, because it cannot report this snapshot.
        queue.deliver(&snapshot(0), false);
        assert_eq!(handle.ended.recv(), Err(mpsc::RecvError));
        (1..=3).for_each(|number| queue.deliver(&snapshot(number), false));
        let mut lost = Vec::new();
        telemetry.read(|_, series, value| {
            if series.kind() == Kind::Counter && value != Value::Counter(0.0) {
                lost.push((series.name().to_owned(), value));
            }
        });
        let expected = [("samples_undelivered", 40.0), ("export_errors", 1.0), ("snapshots_dropped", 3.0)];
        let expected = expected.map(|(name, count)| (format!("tallyd.{name}"), Value::Counter(count)));
        assert_eq!(lost, expected);
        let undelivered = handle.finish(later()).unwrap_err();
        assert_eq!(undelivered.to_string(), "fake (it panicked, with 10 samples left)");
    }

    #[test]
    fn finish_stops_waiting_for_an_exporter_that_hangs() {
        let mut fixture = Fixture::new();
        fixture.queue.deliver(&snapshot(0), false);
        assert_eq!(fixture.taken.recv(), Ok(0));
        let undelivered = fixture.handle.finish(Instant::now()).unwrap_err();
        assert_eq!(
            undelivered.to_string(),
            "fake (not finished within shutdown.timeout, with 10 samples left)"
        );
    }

    #[test]
    fn finish_returns_the_error_of_the_last_delivery() {
        for (outcomes, is_delivered) in [([Err(()), Ok(())], true), ([Ok(()), Err(())], false)] {
            let mut fixture = Fixture::new();
            for outcome in outcomes {
                fixture.queue.deliver(&snapshot(0), false);
                fixture.outcomes.send(outcome.map(|()| ExportOutcome::default())).unwrap();
            }
            assert_eq!(fixture.handle.finish(later()).is_ok(), is_delivered);
        }
    }
}
