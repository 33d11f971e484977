//! Starts threads that run until tallyd stops, and reports each that ends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use nix::errno::Errno;
use tokio::sync::mpsc;

/// Starts threads and collects the reports of their ends. Clones report to the same receiver.
///
/// A thread that ends before the stop has failed, because nothing else does its work. tallyd then delivers what it
/// holds and exits with an error.
#[derive(Debug, Clone)]
pub(crate) struct Threads(mpsc::UnboundedSender<ThreadEnd>);

/// The report that a thread has ended, or that it can no longer do its work.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct ThreadEnd {
    /// A sentence for the log.
    pub(crate) sentence: String,
    /// Whether this is a failure even during a stop.
    pub(crate) is_failure: bool,
}

/// Receives the reports of threads.
pub(crate) type ThreadEnds = mpsc::UnboundedReceiver<ThreadEnd>;

impl Threads {
    /// Creates the reporter of threads, and the receiver of the reports.
    pub(crate) fn new() -> (Self, ThreadEnds) {
        // It is unbounded, so a thread never waits to report. Each thread reports at most twice.
        let (reports, received) = mpsc::unbounded_channel();
        (Self(reports), received)
    }

    /// Starts a thread. Its end is reported, whether it returns or panics.
    ///
    /// # Errors
    ///
    /// Fails if the system provides no thread.
    pub(crate) fn spawn<T: Send + 'static>(
        &self,
        name: &str,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<T>> {
        self.spawn_until(&Arc::default(), name, run)
    }

    /// Starts a thread. Its end is reported, unless it returns after `stopping` was set. So a single thread can be
    /// stopped while tallyd runs.
    ///
    /// # Errors
    ///
    /// Fails if the system provides no thread.
    pub(crate) fn spawn_until<T: Send + 'static>(
        &self,
        stopping: &Arc<AtomicBool>,
        name: &str,
        run: impl FnOnce() -> T + Send + 'static,
    ) -> io::Result<JoinHandle<T>> {
        let stopping = Arc::clone(stopping);
        let guard = EndGuard { name: name.to_owned(), threads: self.clone(), stopping };
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            let _guard = guard;
            run()
        })
    }

    /// Reports the reason why a thread can no longer do its work.
    pub(crate) fn report(&self, failure: String) {
        self.send(ThreadEnd { sentence: failure, is_failure: true });
    }

    fn send(&self, end: ThreadEnd) {
        // Sending fails only while the process exits.
        _ = self.0.send(end);
    }
}

/// Reports the end of its thread when the thread drops it.
struct EndGuard {
    name: String,
    threads: Threads,
    stopping: Arc<AtomicBool>,
}

impl Drop for EndGuard {
    fn drop(&mut self) {
        let is_failure = thread::panicking();
        if self.stopping.load(Ordering::Acquire) && !is_failure {
            return;
        }
        let how = if is_failure { "panicked" } else { "ended" };
        self.threads.send(ThreadEnd { sentence: format!("the thread {} {how}", self.name), is_failure });
    }
}

/// Returns true if a call on a socket will always fail like this, so repeating it is of no use.
///
/// `accept` also returns errors of the new connection, such as `EPERM` and `EOPNOTSUPP`. So these do not count.
pub(crate) fn is_lasting(error: Errno) -> bool {
    matches!(error, Errno::ENOSYS | Errno::EBADF | Errno::ENOTSOCK | Errno::EINVAL | Errno::EFAULT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_thread_is_reported_with_its_name() {
        let (threads, mut ends) = Threads::new();
        let end = |sentence: &str, is_failure| Ok(ThreadEnd { sentence: sentence.to_owned(), is_failure });
        let panicking = threads.spawn("flush", || panic!("a test")).unwrap();
        assert!(panicking.join().is_err());
        assert_eq!(ends.try_recv(), end("the thread flush panicked", true));
        threads.spawn("udp-0", || ()).unwrap().join().unwrap();
        assert_eq!(ends.try_recv(), end("the thread udp-0 ended", false));
        let stopping = Arc::new(AtomicBool::new(true));
        threads.spawn_until(&stopping, "udp-0", || ()).unwrap().join().unwrap();
        assert!(ends.try_recv().is_err());
    }
}
