//! The queue and the thread in front of an exporter.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{ExportOutcome, Exporter};
use crate::model::Snapshot;

/// Snapshots that wait for a slow exporter; with one more it loses the oldest.
const QUEUE: usize = 4;

/// Where the flush leaves snapshots for one exporter.
#[derive(Debug)]
pub struct ExporterHandle {
    name: &'static str,
    queue: async_channel::Sender<Arc<Snapshot>>,
    state: Arc<State>,
    /// Disconnected when the thread has ended.
    ended: mpsc::Receiver<()>,
}

#[derive(Debug, Default)]
struct State {
    snapshots_dropped: AtomicU64,
    errors: AtomicU64,
    /// What became of rows since [`ExporterHandle::take_counts`].
    exported: Mutex<ExportOutcome>,
    /// How often files were to be opened again.
    reopens: Arc<AtomicU64>,
    /// How long the exporter is waited for, once it is to finish.
    deadline: OnceLock<Instant>,
}

/// What an exporter did not deliver.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Snapshots that the queue had no room for.
    pub snapshots_dropped: u64,
    /// Snapshots that could not be delivered.
    pub errors: u64,
    /// What became of the rows of those that were delivered.
    pub exported: ExportOutcome,
}

impl ExporterHandle {
    /// Starts the exporter's thread. Whenever `reopens` has changed, the exporter opens its files again before the next
    /// snapshot.
    ///
    /// # Errors
    ///
    /// If the system gives no thread.
    pub fn start(exporter: impl Exporter, reopens: &Arc<AtomicU64>) -> io::Result<Self> {
        let name = exporter.name();
        let (queue, snapshots) = async_channel::bounded(QUEUE);
        let (end, ended) = mpsc::channel();
        let state = Arc::new(State { reopens: Arc::clone(reopens), ..State::default() });
        let shared = Arc::clone(&state);
        thread::Builder::new().name(format!("export-{name}")).spawn(move || {
            work(exporter, &snapshots, &shared);
            drop(end);
        })?;
        Ok(Self { name, queue, state, ended })
    }

    /// The exporter's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Leaves a snapshot for the exporter, and never waits: if the queue is full, the oldest one in it is lost.
    pub fn offer(&self, snapshot: &Arc<Snapshot>) {
        let sent = self.queue.force_send(Arc::clone(snapshot));
        if matches!(sent, Ok(None)) {
            return;
        }
        let lost = self.state.snapshots_dropped.fetch_add(1, Relaxed) + 1;
        let why = if sent.is_ok() {
            "the exporter does not keep up and lost its oldest snapshot"
        } else {
            "the exporter ended by a panic, and loses all snapshots until tallyd is started again"
        };
        tracing::error!(exporter = self.name, lost, "{why}");
    }

    /// What was not delivered since the last call.
    #[must_use]
    pub fn take_counts(&self) -> Counts {
        let State { snapshots_dropped, errors, exported, .. } = &*self.state;
        Counts {
            snapshots_dropped: snapshots_dropped.swap(0, Relaxed),
            errors: errors.swap(0, Relaxed),
            exported: std::mem::take(&mut *exported.lock()),
        }
    }

    /// Lets the exporter deliver what is left in its queue, and waits for that up to `patience`. Whether it is done.
    pub fn finish(self, patience: Duration) -> bool {
        // There is none yet: an outlet finishes once.
        _ = self.state.deadline.set(Instant::now() + patience);
        drop(self.queue);
        let is_done = self.ended.recv_timeout(patience) == Err(mpsc::RecvTimeoutError::Disconnected);
        if !is_done {
            tracing::error!(
                exporter = self.name,
                ?patience,
                "the exporter did not finish in time; its last snapshots may be lost"
            );
        }
        is_done
    }
}

fn work(mut exporter: impl Exporter, snapshots: &async_channel::Receiver<Arc<Snapshot>>, state: &State) {
    let name = exporter.name();
    let mut reopens = state.reopens.load(Relaxed);
    let mut failures = 0_u64;
    while let Ok(snapshot) = snapshots.recv_blocking() {
        if reopens != state.reopens.load(Relaxed) {
            reopens = state.reopens.load(Relaxed);
            exporter.reopen();
        }
        match exporter.export(&snapshot) {
            Ok(exported) => {
                state.exported.lock().add(&exported);
                if failures > 0 {
                    tracing::info!(exporter = name, failures, "exporting works again");
                }
                failures = 0;
            }
            Err(error) => {
                state.errors.fetch_add(1, Relaxed);
                failures += 1;
                // The first, and then ever more seldom: the counter tells the rest.
                if failures.is_power_of_two() {
                    tracing::error!(exporter = name, failures, "a snapshot was not delivered: {error}");
                }
            }
        }
    }
    let deadline = state.deadline.get().copied().unwrap_or_else(Instant::now);
    if let Err(error) = exporter.finish(deadline.saturating_duration_since(Instant::now())) {
        tracing::error!(exporter = name, "{error}");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::SystemTime;

    use super::*;
    use crate::export::ExportError;
    use crate::model::{Overview, Rows};

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

    /// Takes a snapshot, tells so, and waits to be told whether to fail.
    struct Puppet {
        taken: Sender<u64>,
        fail: Receiver<bool>,
    }

    impl Exporter for Puppet {
        fn name(&self) -> &'static str {
            "puppet"
        }
        fn export(&mut self, snapshot: &Snapshot) -> Result<ExportOutcome, ExportError> {
            let number = snapshot.time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            self.taken.send(number).unwrap();
            match self.fail.recv() {
                Ok(true) => Err(ExportError::new("puppet", io::Error::other("told to fail"))),
                _ => Ok(ExportOutcome::default()),
            }
        }
    }

    fn puppet() -> (ExporterHandle, Receiver<u64>, Sender<bool>) {
        let (taken, takes) = channel();
        let (go, fail) = channel();
        (ExporterHandle::start(Puppet { taken, fail }, &Arc::default()).unwrap(), takes, go)
    }

    #[test]
    fn an_exporter_that_hangs_loses_its_oldest_snapshots_and_they_are_counted() {
        let (outlet, takes, go) = puppet();
        outlet.offer(&snapshot(0));
        assert_eq!(takes.recv(), Ok(0));
        (1..=6).for_each(|number| outlet.offer(&snapshot(number)));
        assert_eq!(outlet.take_counts().snapshots_dropped, 2);
        assert_eq!(outlet.take_counts().snapshots_dropped, 0);
        (0..5).for_each(|_| go.send(false).unwrap());
        assert!(outlet.finish(Duration::from_mins(1)));
        assert_eq!(takes.iter().collect::<Vec<_>>(), [3, 4, 5, 6]);
    }

    #[test]
    fn an_exporter_that_fails_is_counted_and_asked_again() {
        let (outlet, takes, go) = puppet();
        for (number, fails) in [(0, true), (1, false), (2, true)] {
            outlet.offer(&snapshot(number));
            assert_eq!(takes.recv(), Ok(number));
            go.send(fails).unwrap();
        }
        outlet.offer(&snapshot(3));
        assert_eq!(takes.recv(), Ok(3));
        assert_eq!(outlet.take_counts().errors, 2);
    }

    #[test]
    fn snapshots_for_an_exporter_that_ended_by_a_panic_are_counted_as_dropped() {
        let (outlet, takes, go) = puppet();
        drop(takes);
        drop(go);
        // It cannot tell that it took the first one.
        outlet.offer(&snapshot(0));
        assert_eq!(outlet.ended.recv(), Err(mpsc::RecvError));
        (1..=3).for_each(|number| outlet.offer(&snapshot(number)));
        assert_eq!(outlet.take_counts().snapshots_dropped, 3);
    }

    #[test]
    fn waiting_for_an_exporter_that_hangs_has_an_end() {
        let (outlet, takes, _go) = puppet();
        outlet.offer(&snapshot(0));
        assert_eq!(takes.recv(), Ok(0));
        assert!(!outlet.finish(Duration::from_millis(1)));
    }
}
