//! Starts and stops relaying to one server.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Instant;

use parking_lot::Mutex;

use super::counts::Counts;
use super::queue::Queue;
use super::sender::Sender;
use crate::model::Memory;
use crate::net::{ListenerUrl, Threads};

/// A server that gets what listeners receive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct TargetOptions {
    pub(crate) url: ListenerUrl,
    /// The most memory of the queue, in bytes.
    pub(crate) max_queue: usize,
    /// Whether the server gets a probe now and then.
    pub(crate) detects_loops: bool,
}

/// A server that is being relayed to.
#[derive(Debug)]
pub(super) struct Target {
    pub(super) options: TargetOptions,
    pub(super) queue: Arc<Queue>,
    /// Whether the sender may end.
    may_end: Arc<AtomicBool>,
    /// Disconnected when the sender has ended.
    ended: Mutex<mpsc::Receiver<()>>,
}

impl Target {
    /// Starts the thread of a target. `probe` is the line that finds loops.
    ///
    /// # Errors
    ///
    /// Fails if the system provides no thread.
    pub(super) fn start(
        options: TargetOptions,
        probe: &str,
        (memory, counts, threads): (&Memory, Arc<Counts>, &Threads),
    ) -> io::Result<Self> {
        let queue = Arc::new(Queue::new(options.max_queue, memory.clone(), counts));
        let may_end = Arc::new(AtomicBool::new(false));
        let (end, ended) = mpsc::channel();
        let probe = options.detects_loops.then_some(probe);
        let sender = Sender::new(options.url.clone(), Arc::clone(&queue), probe);
        threads.spawn_until(&may_end, "relay", move || {
            let _end = end;
            sender.run();
        })?;
        Ok(Self { options, queue, may_end, ended: Mutex::new(ended) })
    }

    /// Says that no more datagrams come, and by when those in the queue must have been sent.
    pub(super) fn close(&self, deadline: Instant) {
        self.may_end.store(true, Ordering::Release);
        self.queue.close(deadline);
    }

    /// Waits until the sender has ended, or until this time. Returns true if it has ended.
    pub(super) fn wait(&self, until: Instant) -> bool {
        let left = until.saturating_duration_since(Instant::now());
        !matches!(self.ended.lock().recv_timeout(left), Err(mpsc::RecvTimeoutError::Timeout))
    }

    /// Drops what was not sent by the deadline.
    pub(super) fn finish(&self, deadline: Instant) {
        self.close(deadline);
        self.wait(deadline);
        let dropped = self.queue.end();
        if dropped > 0 {
            let server = &self.options.url;
            tracing::error!(%server, datagrams = dropped, "datagrams for a server were dropped at the end");
        }
    }
}
