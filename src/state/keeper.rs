//! Collects the parts of the state, and writes them to the file on a thread of its own.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::disk::{Disk, FileSystem};
use super::file::StateFile;
use crate::model::{Counter, Gauge, Repeated, Telemetry, Thinned};
use crate::net::Threads;

/// A part of the state, which the keeper's thread encodes.
struct Encode(Box<dyn FnOnce() -> Vec<u8> + Send>);

impl fmt::Debug for Encode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Encode")
    }
}

#[derive(Debug)]
enum Message {
    Part(Part),
    Finish,
}

#[derive(Debug)]
struct Part {
    owner: &'static str,
    encode: Encode,
    /// Whether the owner hands over no later part.
    is_last: bool,
}

/// The keeper of the state before its thread starts. Parts that are handed over meanwhile wait. A simulation takes them in
/// without a thread.
#[derive(Debug)]
pub struct StateKeeper<D: Disk = FileSystem> {
    writer: Writer<D>,
    messages: Sender<Message>,
    received: Receiver<Message>,
}

/// The thread that writes the state.
#[derive(Debug)]
pub(crate) struct StateHandle {
    messages: Sender<Message>,
    /// Receives the outcome of the last write when the thread ends.
    ended: Receiver<Result<(), String>>,
}

/// Hands the part of one owner to the keeper.
#[derive(Debug, Clone)]
pub struct PartSender {
    name: &'static str,
    messages: Sender<Message>,
    /// The number of parts that the thread has not taken in yet.
    waiting: Arc<AtomicUsize>,
}

impl PartSender {
    /// Hands over the state of the owner. It does not wait.
    /// `is_last` is true at a stop.
    pub fn hand_over(&self, is_last: bool, encode: impl FnOnce() -> Vec<u8> + Send + 'static) {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let part = Part { owner: self.name, encode: Encode(Box::new(encode)), is_last };
        // Sending fails only if the thread panicked, and then tallyd stops.
        _ = self.messages.send(Message::Part(part));
    }

    /// Returns true if the thread has taken in the parts of all owners. Otherwise, the disk is slow, and further parts
    /// would only take memory.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) == 0
    }
}

impl<D: Disk> StateKeeper<D> {
    /// Creates the keeper of the state in a file.
    #[must_use]
    pub fn new(file: StateFile<D>, telemetry: StateTelemetry) -> Self {
        let (messages, received) = mpsc::channel();
        let writer = Writer {
            file,
            owners: Vec::new(),
            telemetry,
            waiting: Arc::default(),
            parts: BTreeMap::new(),
            last: Ok(()),
            last_parts: 0,
            finished: 0,
            failures: Thinned::default(),
        };
        Self { writer, messages, received }
    }

    /// Adds an owner of a part, and returns the sender of its part.
    pub fn add_owner(&mut self, name: &'static str) -> PartSender {
        self.writer.owners.push(name);
        PartSender { name, messages: self.messages.clone(), waiting: Arc::clone(&self.writer.waiting) }
    }

    /// Starts the thread that writes the state.
    ///
    /// # Errors
    ///
    /// Fails if the system provides no thread.
    pub(crate) fn start(self, threads: &Threads) -> io::Result<StateHandle> {
        self.note_start();
        let Self { writer, messages, received } = self;
        let (end, ended) = mpsc::channel();
        threads.spawn("state", move || {
            // Sending fails only if the stop has given up on the thread.
            _ = end.send(writer.run(&received));
        })?;
        Ok(StateHandle { messages, ended })
    }

    /// Notes that the totals in the file may become older than those that exporters show.
    pub fn note_start(&self) {
        self.writer.file.note_start();
    }

    /// Takes in the part that has waited longest, and writes the state if it is complete then. Returns false if no part
    /// waits. `now` is the time of the write.
    pub fn take_in(&mut self, now: SystemTime) -> bool {
        let Ok(Message::Part(part)) = self.received.try_recv() else { return false };
        self.writer.take_in(part, now);
        true
    }

    /// Writes the parts that were taken in since the latest write.
    ///
    /// # Errors
    ///
    /// Returns the reason if the latest state may not be in the file.
    pub fn finish(&mut self, now: SystemTime) -> Result<(), String> {
        self.writer.finish(now)
    }

    /// Notes that tallyd has stopped, after [`finish`](Self::finish).
    pub fn note_stop(&self) {
        self.writer.note_stop();
    }
}

impl StateHandle {
    /// Writes what the owners have handed over, but waits not longer than `patience`.
    ///
    /// # Errors
    ///
    /// Returns the reason if the state of the stop may not be in the file.
    pub(crate) fn finish(self, patience: Duration) -> Result<(), String> {
        // Sending fails only if the thread panicked.
        _ = self.messages.send(Message::Finish);
        match self.ended.recv_timeout(patience) {
            Ok(outcome) => outcome,
            Err(RecvTimeoutError::Timeout) => Err(format!("the disk took longer than {patience:?}")),
            Err(RecvTimeoutError::Disconnected) => Err("its thread panicked".to_owned()),
        }
    }
}

/// tallyd's own series about the state.
#[derive(Debug)]
pub struct StateTelemetry {
    bytes: Gauge,
    written: Gauge,
    errors: Counter,
}

impl StateTelemetry {
    /// Registers the series.
    #[must_use]
    pub fn register(telemetry: &Telemetry) -> Self {
        let state = Self {
            bytes: telemetry.gauge("state_bytes", &[]),
            written: telemetry.gauge("state_written_timestamp_seconds", &[]),
            errors: telemetry.counter("state_write_errors", &[]),
        };
        state.note(UNIX_EPOCH, 0);
        state
    }

    /// Notes the time and the size of the state in the file.
    pub(crate) fn note(&self, time: SystemTime, bytes: u64) {
        self.written.set(time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        self.bytes.set(bytes as f64);
    }
}

/// Collects and writes the parts.
#[derive(Debug)]
struct Writer<D: Disk> {
    file: StateFile<D>,
    owners: Vec<&'static str>,
    telemetry: StateTelemetry,
    /// The number of parts that were not taken in yet.
    waiting: Arc<AtomicUsize>,
    /// The parts that were taken in since the latest write.
    parts: BTreeMap<&'static str, Vec<u8>>,
    /// The outcome of the latest write.
    last: Result<(), String>,
    /// The number of parts that are the last ones of their owners, and not written yet.
    last_parts: usize,
    /// The number of owners whose last part is in the file.
    finished: usize,
    failures: Thinned,
}

impl<D: Disk> Writer<D> {
    /// Takes in parts until the stop.
    fn run(mut self, messages: &Receiver<Message>) -> Result<(), String> {
        while let Ok(Message::Part(part)) = messages.recv() {
            self.take_in(part, SystemTime::now());
        }
        let outcome = self.finish(SystemTime::now());
        self.note_stop();
        outcome
    }

    /// Notes that the last parts of all owners are in the file. Otherwise, its totals may be older than those that exporters
    /// have shown.
    fn note_stop(&self) {
        if self.finished == self.owners.len() {
            self.file.note_stop();
        }
    }

    /// Takes in a part. Writes whenever all owners have handed over their parts.
    ///
    /// If an owner hands over its next part first, another one hangs. Then the others are written, and the one that hangs
    /// keeps the part that is in the file. Each part is complete by itself, so the parts of a file may differ in age.
    fn take_in(&mut self, Part { owner, encode: Encode(encode), is_last }: Part, now: SystemTime) {
        if self.parts.contains_key(owner) {
            self.write(now);
        }
        self.parts.insert(owner, encode());
        self.last_parts += usize::from(is_last);
        if self.parts.len() == self.owners.len() {
            self.write(now);
        }
        self.waiting.fetch_sub(1, Ordering::Relaxed);
    }

    /// Writes the parts that were taken in since the latest write. Returns the outcome of the latest write.
    fn finish(&mut self, now: SystemTime) -> Result<(), String> {
        if !self.parts.is_empty() {
            self.write(now);
        }
        self.last.clone()
    }

    fn write(&mut self, time: SystemTime) {
        let begin = Instant::now();
        let mut parts = mem::take(&mut self.parts);
        let last_parts = mem::take(&mut self.last_parts);
        let added = self.add_old_parts(&mut parts);
        self.last = match added.and_then(|()| self.file.write(time, &parts)) {
            Ok(bytes) => {
                self.finished += last_parts;
                self.telemetry.note(time, bytes);
                let duration = begin.elapsed();
                tracing::debug!(?duration, bytes, "the state was written");
                if self.failures.rest().is_some() || self.last.is_err() {
                    tracing::info!("writing the state works again");
                }
                Ok(())
            }
            Err(error) => {
                self.telemetry.errors.increment();
                let path = self.file.path().display();
                if let Some(Repeated { times, .. }) = self.failures.add(0) {
                    tracing::error!(
                        times,
                        "cannot write the state to {path}: {error}; after a crash, gauges continue from the state before; free some space there, and let tallyd's user write there"
                    );
                }
                Err(format!("cannot write {path}: {error}"))
            }
        };
    }

    /// Adds the parts of the file for the owners that have not handed over theirs.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read. A write would then lose the parts of these owners.
    fn add_old_parts(&self, parts: &mut BTreeMap<&'static str, Vec<u8>>) -> io::Result<()> {
        if parts.len() == self.owners.len() {
            return Ok(());
        }
        let Some(saved) = self.file.read_valid()? else { return Ok(()) };
        let Ok(old) = saved.parts() else { return Ok(()) };
        for &owner in &self.owners {
            if let Some(bytes) = old.parts.get(owner) {
                parts.entry(owner).or_insert_with(|| bytes.to_vec());
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::path::Path;
    use std::sync::atomic::AtomicBool;

    use super::*;
    use crate::state::NewFile;

    /// Returns the parts in the file, as text.
    fn parts(path: &std::path::Path) -> Vec<(String, String)> {
        let bytes = std::fs::read(path).unwrap();
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("state");
        std::fs::write(&copy, bytes).unwrap();
        let saved = StateFile::open(&copy).unwrap().read().unwrap();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let parts = saved.parts().unwrap().parts;
        parts.into_iter().map(|(name, bytes)| (name.to_owned(), text(bytes))).collect()
    }

    fn expected(parts: &[(&str, &str)]) -> Vec<(String, String)> {
        parts.iter().map(|(name, bytes)| ((*name).to_owned(), (*bytes).to_owned())).collect()
    }

    #[test]
    fn an_owner_that_hangs_keeps_its_part_while_the_others_are_written() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let telemetry = StateTelemetry::register(&Telemetry::default());
        let mut keeper = StateKeeper::new(StateFile::open(&path).unwrap(), telemetry);
        let [a, b] = ["a", "b"].map(|name| keeper.add_owner(name));
        assert!(a.is_idle());
        let handle = keeper.start(&Threads::new().0).unwrap();
        let hand_over = |owner: &PartSender, part: &'static str| owner.hand_over(false, || part.into());
        hand_over(&a, "a1");
        hand_over(&b, "b1");
        wait_until(|| a.is_idle());
        assert_eq!(parts(&path), expected(&[("a", "a1"), ("b", "b1")]));
        hand_over(&a, "a2");
        hand_over(&a, "a3");
        wait_until(|| a.is_idle());
        assert_eq!(parts(&path), expected(&[("a", "a2"), ("b", "b1")]));
        assert_eq!(handle.finish(Duration::from_mins(1)), Ok(()));
        assert_eq!(parts(&path), expected(&[("a", "a3"), ("b", "b1")]));
    }

    /// A file system in which files can be written, but not always read.
    #[derive(Debug, Clone, Default)]
    struct Unreadable(Arc<AtomicBool>);

    impl Disk for Unreadable {
        type Lock = <FileSystem as Disk>::Lock;

        fn lock(&self, path: &Path) -> io::Result<Self::Lock> {
            FileSystem.lock(path)
        }
        fn open(&self, path: &Path) -> io::Result<(impl Read, u64)> {
            if self.0.load(Ordering::Relaxed) {
                return Err(io::Error::other("no descriptors are left"));
            }
            FileSystem.open(path)
        }
        fn create(&self, path: &Path) -> io::Result<impl NewFile> {
            FileSystem.create(path)
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            FileSystem.rename(from, to)
        }
        fn remove(&self, path: &Path) -> io::Result<()> {
            FileSystem.remove(path)
        }
        fn sync_names(&self, path: &Path) -> io::Result<()> {
            FileSystem.sync_names(path)
        }
    }

    /// The simulation found that the file was set aside, and the part of the owner that hangs was lost.
    #[test]
    fn a_file_that_cannot_be_read_at_present_is_neither_set_aside_nor_replaced_without_a_part() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        let disk = Unreadable::default();
        let file = StateFile::on_disk(disk.clone(), path.clone()).unwrap();
        let mut keeper = StateKeeper::new(file, StateTelemetry::register(&Telemetry::default()));
        let [a, b] = ["a", "b"].map(|name| keeper.add_owner(name));
        let mut hand_over = |owner: &PartSender, part: &'static str| {
            owner.hand_over(false, || part.into());
            keeper.take_in(UNIX_EPOCH);
        };
        hand_over(&a, "a1");
        hand_over(&b, "b1");
        disk.0.store(true, Ordering::Relaxed);
        hand_over(&a, "a2");
        hand_over(&a, "a3");
        assert_eq!(parts(&path), expected(&[("a", "a1"), ("b", "b1")]));
        disk.0.store(false, Ordering::Relaxed);
        hand_over(&a, "a4");
        assert_eq!(parts(&path), expected(&[("a", "a3"), ("b", "b1")]));
    }

    fn wait_until(fact: impl Fn() -> bool) {
        while !fact() {
            std::thread::yield_now();
        }
    }
}
