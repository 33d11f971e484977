//! Says whether exporters deliver, for people who watch.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use parking_lot::Mutex;
use serde::Serialize;

/// The states of all exporters. Clones share the list.
#[derive(Debug, Clone, Default)]
pub struct ExporterStatuses(Arc<Mutex<Vec<Arc<ExporterStatus>>>>);

/// The state of one exporter.
#[derive(Debug)]
pub(super) struct ExporterStatus {
    name: Arc<str>,
    /// The samples of the snapshots that the exporter has not handled yet.
    waiting: Arc<AtomicU64>,
    deliveries: Mutex<Deliveries>,
}

#[derive(Debug, Default)]
struct Deliveries {
    latest: Option<Instant>,
    /// The number of failures since then.
    failures: u64,
    /// The latest failure.
    error: Option<String>,
}

/// The state of an exporter in an answer.
#[derive(Debug, Serialize)]
pub(super) struct ExporterReport {
    pub(super) name: String,
    /// The time since it last delivered a snapshot.
    pub(super) age_seconds: Option<f64>,
    waiting_samples: u64,
    /// The number of snapshots since then that it could not deliver.
    pub(super) failures: u64,
    /// The reason of the latest failure.
    error: Option<String>,
}

impl ExporterStatuses {
    /// Adds an exporter.
    pub(super) fn add(&self, name: impl Into<Arc<str>>, waiting: Arc<AtomicU64>) -> Arc<ExporterStatus> {
        let status = Arc::new(ExporterStatus { name: name.into(), waiting, deliveries: Mutex::default() });
        self.0.lock().push(Arc::clone(&status));
        status
    }

    /// Removes an exporter.
    pub(super) fn remove(&self, name: &str) {
        self.0.lock().retain(|status| *status.name != *name);
    }

    pub(super) fn report(&self) -> Vec<ExporterReport> {
        self.0.lock().iter().map(|status| status.report()).collect()
    }
}

impl ExporterStatus {
    /// Notes that a snapshot was delivered, or why it was not.
    pub(super) fn note(&self, delivered: &Result<(), String>) {
        let mut deliveries = self.deliveries.lock();
        match delivered {
            Ok(()) => {
                deliveries.latest = Some(Instant::now());
                deliveries.failures = 0;
            }
            Err(error) => {
                deliveries.failures += 1;
                deliveries.error = Some(error.clone());
            }
        }
    }

    fn report(&self) -> ExporterReport {
        let Deliveries { latest, failures, error } = &*self.deliveries.lock();
        ExporterReport {
            name: self.name.to_string(),
            age_seconds: latest.map(|latest| latest.elapsed().as_secs_f64()),
            waiting_samples: self.waiting.load(Relaxed),
            failures: *failures,
            error: error.clone(),
        }
    }
}
