//! Holds the endpoints of a push exporter. A reload of the configuration changes them while the exporter runs.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::exporter::{ExportError, Exporter};
use super::exporter_status::ExporterStatuses;
use super::outcome::ExportOutcome;
use crate::deliver::{Batch, Delivery, Endpoint, Transport};
use crate::model::Snapshot;

/// The endpoints of one exporter. Clones share the list. `C` is the description of the content that an endpoint gets.
#[derive(Debug)]
pub(crate) struct Endpoints<C> {
    /// The exporter's name in the configuration.
    exporter: &'static str,
    delivery: Delivery,
    statuses: ExporterStatuses,
    list: Arc<Mutex<Vec<Arc<Running<C>>>>>,
}

/// An endpoint that is running.
#[derive(Debug)]
pub(super) struct Running<C> {
    name: String,
    /// The text of its settings when it was started, to see whether a reload changes them.
    written: String,
    pub(super) content: C,
    endpoint: Endpoint,
}

/// An endpoint as the configuration wants it.
pub(crate) struct Wanted<C, T> {
    pub(crate) name: String,
    /// The text of its settings. If it differs after a reload, the endpoint starts over with the new ones.
    pub(crate) written: String,
    /// The content that it gets.
    pub(crate) content: C,
    pub(crate) transport: T,
}

impl<C> Clone for Endpoints<C> {
    fn clone(&self) -> Self {
        let Self { exporter, delivery, statuses, list } = self;
        Self { exporter, delivery: delivery.clone(), statuses: statuses.clone(), list: Arc::clone(list) }
    }
}

impl<C> Endpoints<C> {
    /// Creates an empty list.
    pub(crate) fn new(exporter: &'static str, delivery: Delivery, statuses: ExporterStatuses) -> Self {
        Self { exporter, delivery, statuses, list: Arc::default() }
    }

    /// Returns the exporter's name in the configuration.
    pub(super) fn exporter(&self) -> &'static str {
        self.exporter
    }

    /// Starts the endpoints that are new, and ends those that are no longer wanted. An endpoint whose settings have changed ends
    /// and starts again: its queue continues on disk, if there is one.
    ///
    /// # Errors
    ///
    /// Returns the error of the first endpoint that cannot be started. The others run.
    pub(crate) fn change<T: Transport>(&self, wanted: Vec<Wanted<C, T>>) -> io::Result<()> {
        // A snapshot that comes meanwhile waits, so that no endpoint misses it.
        let mut running = self.list.lock();
        let stays = |one: &Running<C>| {
            wanted.iter().any(|wanted| wanted.name == one.name && wanted.written == one.written)
        };
        let ending: Vec<_> = running.extract_if(.., |one| !stays(one)).collect();
        let deadline = Instant::now() + LONGEST_END;
        ending.iter().for_each(|one| one.endpoint.close(deadline));
        for one in ending {
            if let Err(lost) = one.endpoint.finish(deadline) {
                tracing::error!("{lost}");
            }
            self.statuses.remove(&self.full_name(&one.name));
        }
        let mut outcome = Ok(());
        for Wanted { name, written, content, transport } in wanted {
            if running.iter().any(|one| one.name == name) {
                continue;
            }
            let status = self.statuses.add(self.full_name(&name), Arc::default());
            let report = Arc::new(move |outcome: &Result<(), String>| status.note(outcome));
            match self.delivery.start(self.exporter, &name, transport, report) {
                Ok(endpoint) => running.push(Arc::new(Running { name, written, content, endpoint })),
                Err(error) => outcome = outcome.and(Err(error)),
            }
        }
        outcome
    }

    /// Returns the endpoints.
    pub(super) fn running(&self) -> Vec<Arc<Running<C>>> {
        self.list.lock().clone()
    }

    /// Waits until the endpoints have sent their queues, but at most for `patience`.
    ///
    /// # Errors
    ///
    /// Fails if points were lost.
    pub(super) fn finish(&self, patience: Duration) -> Result<(), ExportError> {
        let deadline = Instant::now() + patience.mul_f64(SENDING);
        let running = self.running();
        running.iter().for_each(|one| one.endpoint.close(deadline));
        let lost: Vec<_> = running.iter().filter_map(|one| one.endpoint.finish(deadline).err()).collect();
        if lost.is_empty() {
            return Ok(());
        }
        Err(ExportError::new("cannot finish", io::Error::other(lost.join("; "))))
    }

    fn full_name(&self, endpoint: &str) -> String {
        format!("{}/{endpoint}", self.exporter)
    }
}

/// How long a reload waits for an endpoint that ends.
const LONGEST_END: Duration = Duration::from_secs(1);

/// The part of the time of a stop in which endpoints may send. The rest is for writing their queues to the disk.
const SENDING: f64 = 0.8;

impl<C> Running<C> {
    /// Appends a batch to the queue of the endpoint.
    pub(super) fn push(&self, batch: Batch) {
        self.endpoint.push(batch);
    }
}

/// The content of an endpoint whose requests depend on one snapshot only.
pub(crate) trait SnapshotContent: Send + Sync + 'static {
    /// Encodes a snapshot. Calls `push` with each request, and counts the rows that it leaves out.
    fn encode(&self, snapshot: &Snapshot, outcome: &mut ExportOutcome, push: &mut dyn FnMut(Batch));
}

/// Pushes each snapshot to endpoints, without a state of its own.
#[derive(Debug)]
pub(crate) struct Push<C>(pub(crate) Endpoints<C>);

impl<C: SnapshotContent> Exporter for Push<C> {
    fn name(&self) -> &'static str {
        self.0.exporter()
    }

    fn export(&mut self, snapshot: &Arc<Snapshot>) -> Result<ExportOutcome, ExportError> {
        let mut outcome = ExportOutcome::default();
        for endpoint in self.0.running() {
            endpoint.content.encode(snapshot, &mut outcome, &mut |batch| endpoint.push(batch));
        }
        Ok(outcome)
    }

    fn finish(&mut self, patience: Duration) -> Result<(), ExportError> {
        self.0.finish(patience)
    }
}
