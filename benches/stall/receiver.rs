//! A thread that records as a receiver does, and notes for how long it was kept from it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tallyd::aggregate::Shard;

/// The thread, seen from outside.
pub(crate) struct Receiver {
    progress: Arc<Progress>,
    thread: JoinHandle<io::Result<()>>,
}

#[derive(Default)]
struct Progress {
    /// How many datagrams have been recorded.
    recorded: AtomicU64,
    /// The longest that one of them took since this was last taken, in nanoseconds.
    longest: AtomicU64,
    /// How many datagrams are sent, over and over.
    sent: AtomicUsize,
    stopping: AtomicBool,
}

impl Receiver {
    /// Records all datagrams, over and over.
    pub(crate) fn start(shard: Arc<Mutex<Shard>>, datagrams: Arc<[String]>) -> Self {
        let progress = Arc::new(Progress { sent: datagrams.len().into(), ..Progress::default() });
        let shared = Arc::clone(&progress);
        let thread = thread::spawn(move || record(&shard, &datagrams, &shared));
        Self { progress, thread }
    }

    /// From now on, records the first few datagrams only.
    pub(crate) fn send_first(&self, datagrams: usize) {
        self.progress.sent.store(datagrams, Ordering::Relaxed);
    }

    /// Waits until every datagram that is sent has been recorded again.
    pub(crate) fn pass(&self) {
        // It may just have begun with one that is sent no more.
        self.wait_for(self.progress.sent.load(Ordering::Relaxed) as u64 + 1);
    }

    /// The longest that a datagram took since the last call, that which is being recorded included.
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
    let kernel = Waited::of_this_thread()?;
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

/// For how long a thread was ready while others had the cores.
struct Waited(File);

impl Waited {
    fn of_this_thread() -> io::Result<Self> {
        File::open("/proc/thread-self/schedstat").map(Self)
    }

    /// From the thread's start. Takes about a microsecond, as a call for datagrams does.
    fn read(&self) -> io::Result<Duration> {
        let mut text = [0; 64];
        let length = self.0.read_at(&mut text, 0)?;
        // Nanoseconds on a core, nanoseconds waiting for one, and how often it got one.
        let waited = text[..length].split(|&byte| byte == b' ').nth(1);
        let waited = waited.and_then(|number| std::str::from_utf8(number).ok()?.parse().ok());
        waited.map(Duration::from_nanos).ok_or_else(|| io::Error::other("schedstat has another format"))
    }
}
