//! Runs an exporter on a thread of its own, behind a queue.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use enum_map::EnumMap;
use parking_lot::Mutex;

use super::exporter::Exporter;
use super::outcome::{ExportOutcome, MergeReason, QuarantineReason};
use crate::model::{Counter, Snapshot, Telemetry};

/// The number of snapshots that wait for a slow exporter. If one more arrives, the oldest is dropped.
const QUEUE: usize = 4;

/// The flush's handle of an exporter. It fills the queue and notices the end of the thread.
#[derive(Debug)]
pub(crate) struct ExporterHandle {
    name: &'static str,
    queue: async_channel::Sender<Arc<Snapshot>>,
    snapshots_dropped: Counter,
    /// The time by which the exporter must finish. It is set when no more snapshots come.
    deadline: Arc<OnceLock<Instant>>,
    /// Disconnected once the thread has ended. The lock lets threads share the handle.
    ended: Mutex<mpsc::Receiver<()>>,
}

impl ExporterHandle {
    /// Starts the thread of an exporter and registers its counters. If `reopens` has changed, the exporter reopens its
    /// files before the next snapshot.
    ///
    /// # Errors
    ///
    /// Fails if the system cannot start a thread.
    pub(crate) fn start(
        exporter: impl Exporter,
        reopens: &Arc<AtomicU64>,
        telemetry: &Telemetry,
    ) -> io::Result<Self> {
        let name = exporter.name();
        let tags = [("exporter", name)];
        let (queue, snapshots) = async_channel::bounded(QUEUE);
        let (end, ended) = mpsc::channel();
        let deadline = Arc::default();
        let thread = ExporterThread {
            exporter,
            snapshots,
            reopens: Arc::clone(reopens),
            deadline: Arc::clone(&deadline),
            errors: telemetry.counter("export_errors", &tags),
            quarantined: telemetry.counters("series_quarantined", &tags, "reason"),
            merged: telemetry.counters("series_merged", &tags, "by"),
            absorbed: telemetry.counter("increases_absorbed", &tags),
        };
        thread::Builder::new().name(format!("export-{name}")).spawn(move || {
            thread.run();
            drop(end);
        })?;
        let snapshots_dropped = telemetry.counter("snapshots_dropped", &tags);
        Ok(Self { name, queue, snapshots_dropped, deadline, ended: Mutex::new(ended) })
    }

    /// Returns the exporter's name in the configuration.
    #[must_use]
    pub(crate) fn name(&self) -> &'static str {
        self.name
    }

    /// Puts a snapshot into the exporter's queue without waiting. If the queue is full, the oldest snapshot is dropped.
    pub(crate) fn deliver(&self, snapshot: &Arc<Snapshot>) {
        let sent = self.queue.force_send(Arc::clone(snapshot));
        if matches!(sent, Ok(None)) {
            return;
        }
        self.snapshots_dropped.increment();
        let dropped = self.snapshots_dropped.pending();
        let reason = if sent.is_ok() {
            "the exporter is too slow, and its oldest snapshot was dropped"
        } else {
            "the exporter panicked; all of its snapshots are dropped until tallyd is restarted"
        };
        tracing::error!(exporter = self.name, dropped, "{reason}");
    }

    /// Lets the exporter deliver the rest of its queue, and waits at most `patience`. Returns true if it has finished.
    pub(crate) fn finish(&self, patience: Duration) -> bool {
        // If this is called again, the first deadline stays in force.
        _ = self.deadline.set(Instant::now() + patience);
        self.queue.close();
        let has_finished =
            self.ended.lock().recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Disconnected);
        if !has_finished {
            tracing::error!(
                exporter = self.name,
                ?patience,
                "the exporter did not finish in time; its last snapshots may be lost"
            );
        }
        has_finished
    }
}

/// The thread that runs an exporter.
struct ExporterThread<E> {
    exporter: E,
    snapshots: async_channel::Receiver<Arc<Snapshot>>,
    /// The number of requests to reopen files.
    reopens: Arc<AtomicU64>,
    deadline: Arc<OnceLock<Instant>>,
    errors: Counter,
    quarantined: EnumMap<QuarantineReason, Counter>,
    merged: EnumMap<MergeReason, Counter>,
    absorbed: Counter,
}

impl<E: Exporter> ExporterThread<E> {
    fn run(mut self) {
        let name = self.exporter.name();
        let mut reopens = self.reopens.load(Relaxed);
        let mut failures = 0_u64;
        while let Ok(snapshot) = self.snapshots.recv_blocking() {
            let latest = self.reopens.load(Relaxed);
            if latest != reopens {
                reopens = latest;
                self.exporter.reopen();
            }
            match self.exporter.export(&snapshot) {
                Ok(outcome) => {
                    self.count(outcome);
                    if failures > 0 {
                        tracing::info!(exporter = name, failures, "exporting works again");
                    }
                    failures = 0;
                }
                Err(error) => {
                    self.errors.increment();
                    failures += 1;
                    // The log gets failures 1, 2, 4, 8 and so on. The counter has all of them.
                    if failures.is_power_of_two() {
                        tracing::error!(exporter = name, failures, "a snapshot was not delivered: {error}");
                    }
                }
            }
        }
        let deadline = self.deadline.get().copied().unwrap_or_else(Instant::now);
        if let Err(error) = self.exporter.finish(deadline.saturating_duration_since(Instant::now())) {
            tracing::error!(exporter = name, "{error}");
        }
    }

    fn count(&self, ExportOutcome { quarantined, merged, absorbed }: ExportOutcome) {
        self.absorbed.add(absorbed);
        quarantined.into_iter().for_each(|(reason, rows)| self.quarantined[reason].add(rows));
        merged.into_iter().for_each(|(reason, rows)| self.merged[reason].add(rows));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::SystemTime;

    use super::*;
    use crate::export::exporter::ExportError;
    use crate::model::{Overview, Rows, Value};

    fn snapshot(number: u64) -> Arc<Snapshot> {
        Arc::new(Snapshot {
            time: SystemTime::UNIX_EPOCH + Duration::from_secs(number),
            interval: Duration::from_secs(1),
            policies: Arc::default(),
            rows: Rows::default(),
            events: Vec::new(),
            overview: Overview::default(),
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
        fn export(&mut self, snapshot: &Snapshot) -> Result<ExportOutcome, ExportError> {
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
            let handle = ExporterHandle::start(fake, &Arc::default(), &telemetry).unwrap();
            Self { handle, taken: takes, outcomes, telemetry }
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

    #[test]
    fn exporter_that_hangs_loses_its_oldest_snapshots_which_are_counted() {
        let fixture = Fixture::new();
        fixture.handle.deliver(&snapshot(0));
        assert_eq!(fixture.taken.recv(), Ok(0));
        (1..=6).for_each(|number| fixture.handle.deliver(&snapshot(number)));
        assert_eq!(fixture.counts(), [count("snapshots_dropped|c|#exporter:fake", 2.0)]);
        assert_eq!(fixture.counts(), []);
        (0..5).for_each(|_| fixture.outcomes.send(Ok(ExportOutcome::default())).unwrap());
        assert!(fixture.handle.finish(Duration::from_mins(1)));
        assert_eq!(fixture.taken.try_iter().collect::<Vec<_>>(), [3, 4, 5, 6]);
    }

    #[test]
    fn failures_are_counted_and_the_exporter_gets_the_next_snapshot() {
        let fixture = Fixture::new();
        for (number, outcome) in [Err(()), Ok(ExportOutcome::default()), Err(())].into_iter().enumerate() {
            fixture.handle.deliver(&snapshot(number as u64));
            assert_eq!(fixture.taken.recv(), Ok(number as u64));
            fixture.outcomes.send(outcome).unwrap();
        }
        fixture.handle.deliver(&snapshot(3));
        assert_eq!(fixture.taken.recv(), Ok(3));
        assert_eq!(fixture.counts(), [count("export_errors|c|#exporter:fake", 2.0)]);
    }

    #[test]
    fn rows_that_were_quarantined_or_merged_are_counted_by_reason() {
        let fixture = Fixture::new();
        let mut outcome = ExportOutcome::default();
        outcome.quarantined[QuarantineReason::NameTaken] = 2;
        outcome.merged[MergeReason::Labels] = 3;
        for _ in 0..2 {
            fixture.handle.deliver(&snapshot(0));
            fixture.outcomes.send(Ok(outcome)).unwrap();
        }
        assert!(fixture.handle.finish(Duration::from_mins(1)));
        let expected = [
            count("series_quarantined|c|#exporter:fake,reason:name_taken", 4.0),
            count("series_merged|c|#by:labels,exporter:fake", 6.0),
        ];
        assert_eq!(fixture.counts(), expected);
    }

    #[test]
    fn snapshots_for_an_exporter_that_panicked_are_counted_as_dropped() {
        let Fixture { handle, taken, outcomes, telemetry } = Fixture::new();
        drop((taken, outcomes));
        // The fake exporter panics, because it cannot report this snapshot.
        handle.deliver(&snapshot(0));
        assert_eq!(handle.ended.lock().recv(), Err(mpsc::RecvError));
        (1..=3).for_each(|number| handle.deliver(&snapshot(number)));
        let mut dropped = Vec::new();
        telemetry.read(|_, series, value| {
            if series.name() == "tallyd.snapshots_dropped" {
                dropped.push(value);
            }
        });
        assert_eq!(dropped, [Value::Counter(3.0)]);
    }

    #[test]
    fn finish_stops_waiting_for_an_exporter_that_hangs() {
        let fixture = Fixture::new();
        fixture.handle.deliver(&snapshot(0));
        assert_eq!(fixture.taken.recv(), Ok(0));
        assert!(!fixture.handle.finish(Duration::from_millis(1)));
    }
}
