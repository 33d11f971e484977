//! Starts and stops the delivery to one server.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use parking_lot::Mutex;

use super::batch::Batch;
use super::counts::Counts;
use super::queue::{DeliveryLimits, Queue};
use super::sender::{Messages, Report, Sender};
use super::spool::Spool;
use super::transport::Transport;
use crate::model::{Memory, Telemetry};
use crate::net::{Backoff, Threads};

/// The settings and the counters that all endpoints share.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    options: DeliveryOptions,
    memory: Memory,
    telemetry: Telemetry,
    threads: Threads,
    /// The counts of all endpoints that ever ran, by name. An endpoint that comes back goes on counting.
    counts: Arc<Mutex<HashMap<String, Arc<Counts>>>>,
}

/// Where queues are, and how long they may become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct DeliveryOptions {
    /// The directory of the queues. `None` keeps them in memory only.
    pub(crate) path: Option<PathBuf>,
    pub(crate) limits: DeliveryLimits,
}

impl Delivery {
    pub(crate) fn new(
        options: DeliveryOptions,
        memory: &Memory,
        telemetry: &Telemetry,
        threads: &Threads,
    ) -> Self {
        let (memory, telemetry, threads) = (memory.clone(), telemetry.clone(), threads.clone());
        Self { options, memory, telemetry, threads, counts: Arc::default() }
    }

    /// Opens the queue of an endpoint, and starts to send what an earlier process left in it. `report` gets the outcome of each
    /// request.
    ///
    /// # Errors
    ///
    /// Fails if the directory of the queue cannot be used, or if the system provides no thread.
    pub(crate) fn start(
        &self,
        exporter: &'static str,
        name: &str,
        transport: impl Transport,
        report: Report,
    ) -> io::Result<Endpoint> {
        let full_name = format!("{exporter}/{name}");
        let counts = {
            let mut all = self.counts.lock();
            let counts = all.entry(full_name.clone());
            Arc::clone(counts.or_insert_with(|| Arc::new(Counts::register(&self.telemetry, exporter, name))))
        };
        let spool = self.options.path.as_ref().map(|path| {
            let directory = path.join(format!("{exporter}-{name}"));
            let in_words =
                |error| io::Error::other(format!("{}: {error}; see delivery.path", directory.display()));
            Spool::open(directory.clone()).map_err(in_words)
        });
        let spool = spool.transpose()?.map(|(spool, batches, unreadable)| {
            if unreadable > 0 {
                let files = unreadable;
                tracing::error!(
                    endpoint = full_name,
                    files,
                    "files of the queue on disk were damaged, and are lost"
                );
            }
            let points: u64 = batches.iter().map(|batch| batch.points).sum();
            if points > 0 {
                tracing::info!(endpoint = full_name, points, "tallyd sends what was left in the queue");
            }
            (spool, batches)
        });
        let queue =
            Arc::new(Queue::new(full_name, spool, (self.options.limits, self.memory.clone(), counts)));
        let (may_end, ended) = start_sender(&queue, transport, report, &self.threads)?;
        Ok(Endpoint { queue, may_end, ended: Mutex::new(ended) })
    }
}

/// The delivery to one server.
#[derive(Debug)]
pub(crate) struct Endpoint {
    queue: Arc<Queue>,
    /// Whether the sender may end.
    may_end: Arc<AtomicBool>,
    /// Disconnected when the sender has ended.
    ended: Mutex<mpsc::Receiver<()>>,
}

impl Endpoint {
    /// Appends a batch to the queue. It waits neither for the server nor for other endpoints.
    pub(crate) fn push(&self, batch: Batch) {
        self.queue.push(batch);
    }

    /// Says that no more batches come, and by when those in the queue must have been sent.
    pub(crate) fn close(&self, deadline: Instant) {
        self.may_end.store(true, Ordering::Release);
        self.queue.close(deadline);
    }

    /// Waits for the sender until the deadline. Then it keeps the rest of the queue on disk.
    ///
    /// # Errors
    ///
    /// Says how many points were lost, because no disk keeps them.
    pub(crate) fn finish(&self, deadline: Instant) -> Result<(), String> {
        self.close(deadline);
        // Both outcomes mean that there is nothing more to wait for.
        _ = self.ended.lock().recv_timeout(deadline.saturating_duration_since(Instant::now()));
        match self.queue.end() {
            0 => Ok(()),
            points => Err(format!(
                "{}: {points} points were not sent in time and are lost; delivery.path keeps them for the next start",
                self.queue.name()
            )),
        }
    }
}

fn start_sender(
    queue: &Arc<Queue>,
    transport: impl Transport,
    report: Report,
    threads: &Threads,
) -> io::Result<(Arc<AtomicBool>, mpsc::Receiver<()>)> {
    let may_end = Arc::new(AtomicBool::new(false));
    let (end, ended) = mpsc::channel();
    let sender = Sender {
        queue: Arc::clone(queue),
        transport,
        report,
        backoff: Backoff::default(),
        messages: Messages::default(),
    };
    // The kernel shows the first 15 bytes of a thread's name.
    let name = format!("send-{}", queue.name().rsplit('/').next().unwrap_or_default());
    threads.spawn_until(&may_end, &name, move || {
        let _end = end;
        sender.run();
    })?;
    Ok((may_end, ended))
}
