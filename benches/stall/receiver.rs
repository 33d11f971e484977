//! A thread that records datagrams like a receiver, and measures the longest time per datagram.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tallyd::aggregate::Shard;

use crate::wait_clock::WaitClock;

/// The handle of the recording thread.
pub(crate) struct Receiver {
    progress: Arc<Progress>,
    thread: JoinHandle<io::Result<()>>,
}

#[derive(Default)]
struct Progress {
    /// The number of datagrams recorded so far.
    recorded: AtomicU64,
    /// The longest time for a datagram since the last read, in nanoseconds.
    longest: AtomicU64,
    /// The number of datagrams that the thread records repeatedly.
    sent: AtomicUsize,
    stopping: AtomicBool,
}

impl Receiver {
    /// Starts a thread that records all datagrams repeatedly.
    pub(crate) fn start(shard: Arc<Mutex<Shard>>, datagrams: Arc<[String]>) -> Self {
        let progress = Arc::new(Progress { sent: datagrams.len().into(), ..Progress::default() });
        let shared = Arc::clone(&progress);
        let thread = thread::spawn(move || record(&shard, &datagrams, &shared));
        Self { progress, thread }
    }

    /// Restricts the thread to the first `datagrams` datagrams.
    pub(crate) fn send_first(&self, datagrams: usize) {
        self.progress.sent.store(datagrams, Ordering::Relaxed);
    }

    /// Waits until the thread has recorded every selected datagram again.
    pub(crate) fn wait_for_pass(&self) {
        // The thread may be recording a datagram that is no longer selected.
        self.wait_for(self.progress.sent.load(Ordering::Relaxed) as u64 + 1);
    }

    /// Returns the longest time for a datagram since the last call, including the datagram in progress.
    pub(crate) fn take_longest(&self) -> Duration {
        self.wait_for(1);
        Duration::from_nanos(self.progress.longest.swap(0, Ordering::Relaxed))
    }

    fn wait_for(&self, records: u64) {
        let recorded = || self.progress.recorded.load(Ordering::Acquire);
        let end = recorded() + records;
        while recorded() < end {
            assert!(!self.thread.is_finished(), "the receiver ended");
            thread::sleep(Duration::from_micros(100));
        }
    }

    pub(crate) fn stop(self) {
        self.progress.stopping.store(true, Ordering::Relaxed);
        self.thread.join().expect("recording does not panic").expect("the kernel counts waiting");
    }
}

fn record(shard: &Mutex<Shard>, datagrams: &[String], progress: &Progress) -> io::Result<()> {
    let kernel = WaitClock::of("/proc/thread-self")?;
    let mut waited = kernel.read()?;
    let mut next = 0;
    while !progress.stopping.load(Ordering::Relaxed) {
        next = if next < progress.sent.load(Ordering::Relaxed) { next } else { 0 };
        let begin = Instant::now();
        shard.lock().record(datagrams[next].as_bytes());
        let elapsed = begin.elapsed();
        next += 1;
        let before = std::mem::replace(&mut waited, kernel.read()?);
        let longest = elapsed.saturating_sub(waited.saturating_sub(before));
        progress.longest.fetch_max(longest.as_nanos() as u64, Ordering::Relaxed);
        progress.recorded.fetch_add(1, Ordering::Release);
    }
    Ok(())
}
