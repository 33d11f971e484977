//! The disk of the state. It can be full, broken or out of descriptors, and the machine can lose its power while it writes.

use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use fastrand::Rng;
use parking_lot::Mutex;
use tallyd::state::{Disk, NewFile};

/// The errors of a disk: no space, a broken device, and no descriptor left.
pub(super) const FAULTS: [i32; 3] = [NO_SPACE, BROKEN, NO_DESCRIPTOR];

const NO_SPACE: i32 = 28;
const BROKEN: i32 = 5;
const NO_DESCRIPTOR: i32 = 24;

/// The path of the state file.
pub(super) const STATE: &str = "/var/lib/tallyd/state";

/// The path of the file that exists while tallyd runs, and after a crash.
const RUNNING: &str = "/var/lib/tallyd/state.running";

/// A disk, which all its clones share.
#[derive(Debug, Clone, Default)]
pub(super) struct StateDisk(Arc<Mutex<Files>>);

#[derive(Debug, Default)]
struct Files {
    /// The files as processes see them.
    seen: BTreeMap<PathBuf, Arc<Mutex<Content>>>,
    /// The names that survive a loss of power.
    safe: BTreeMap<PathBuf, Arc<Mutex<Content>>>,
    /// The number that new files get.
    write: u64,
    /// The number of the error with which operations fail at present.
    fault: Option<i32>,
    /// The number of bytes for which there is room at present.
    room: Option<usize>,
    /// The number of operations after which the machine loses its power.
    power: Option<u32>,
    /// The number of operations that failed.
    failed: u64,
}

#[derive(Debug, Default)]
struct Content {
    write: u64,
    bytes: Vec<u8>,
    /// The number of bytes that survive a loss of power.
    safe: usize,
}

/// The operations, as far as their faults differ.
#[derive(Clone, Copy, PartialEq)]
enum Operation {
    /// Takes a descriptor.
    Open,
    /// Takes a descriptor and space.
    Create,
    Change,
}

impl Files {
    fn fail<T>(&mut self, error: i32) -> io::Result<T> {
        self.failed += 1;
        Err(io::Error::from_raw_os_error(error))
    }

    /// Fails if the operation cannot be done at present.
    fn begin(&mut self, operation: Operation) -> io::Result<()> {
        if let Some(left) = &mut self.power {
            let Some(less) = left.checked_sub(1) else { return self.fail(BROKEN) };
            *left = less;
        }
        match self.fault {
            Some(NO_SPACE) if operation == Operation::Create => self.fail(NO_SPACE),
            Some(NO_DESCRIPTOR) if operation != Operation::Change => self.fail(NO_DESCRIPTOR),
            Some(BROKEN) => self.fail(BROKEN),
            _ => Ok(()),
        }
    }
}

impl StateDisk {
    /// Numbers the next write.
    pub(super) fn begin_write(&self) -> u64 {
        let files = &mut *self.0.lock();
        files.write += 1;
        files.write
    }

    /// Lets something fail at random, or makes the disk work again.
    pub(super) fn change_fault(&self, rng: &mut Rng) {
        let files = &mut *self.0.lock();
        files.fault = (rng.u8(..4) == 0).then(|| FAULTS[rng.usize(..FAULTS.len())]);
        files.room = (rng.u8(..4) == 0).then(|| rng.usize(..5000));
    }

    /// Lets the machine lose its power after some operations.
    pub(super) fn cut_power_after(&self, operations: u32) {
        self.0.lock().power = Some(operations);
    }

    /// Starts the machine again after it has lost its power. What was not safe may be gone.
    pub(super) fn lose_power(&self, rng: &mut Rng) {
        let Files { seen, safe, .. } = &mut *self.0.lock();
        if rng.bool() {
            *seen = safe.clone();
        } else {
            *safe = seen.clone();
        }
        for content in seen.values() {
            let Content { bytes, safe, .. } = &mut *content.lock();
            bytes.truncate(rng.usize(*safe..=bytes.len()));
            *safe = bytes.len();
        }
    }

    /// Repairs the disk.
    pub(super) fn repair(&self) {
        let Files { fault, room, power, .. } = &mut *self.0.lock();
        (*fault, *room, *power) = (None, None, None);
    }

    /// Returns true if the file says that tallyd runs, or has crashed.
    pub(super) fn has_running(&self) -> bool {
        self.0.lock().seen.contains_key(Path::new(RUNNING))
    }

    /// Returns the number of operations that failed.
    pub(super) fn failed(&self) -> u64 {
        self.0.lock().failed
    }

    /// Returns true if the state file would be that of a write even after a loss of power.
    pub(super) fn is_safe(&self, write: u64) -> bool {
        let is_whole = |content: &Content| content.write == write && content.safe == content.bytes.len();
        self.0.lock().safe.get(Path::new(STATE)).is_some_and(|content| is_whole(&content.lock()))
    }

    /// Returns the number of the write that made the state file, if there is one.
    pub(super) fn write_of_state(&self) -> Option<u64> {
        self.0.lock().seen.get(Path::new(STATE)).map(|content| content.lock().write)
    }
}

impl Disk for StateDisk {
    type Lock = ();

    fn lock(&self, _: &Path) -> io::Result<()> {
        self.0.lock().begin(Operation::Open)
    }

    fn open(&self, path: &Path) -> io::Result<(impl Read, u64)> {
        let files = &mut *self.0.lock();
        files.begin(Operation::Open)?;
        let content = files.seen.get(path).ok_or(io::ErrorKind::NotFound)?;
        let bytes = content.lock().bytes.clone();
        let size = bytes.len() as u64;
        Ok((io::Cursor::new(bytes), size))
    }

    fn create(&self, path: &Path) -> io::Result<impl NewFile> {
        let files = &mut *self.0.lock();
        files.begin(Operation::Create)?;
        if files.seen.contains_key(path) {
            assert_eq!(path, Path::new(RUNNING), "a new state file must not exist yet");
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        let content = Arc::new(Mutex::new(Content { write: files.write, ..Content::default() }));
        files.seen.insert(path.to_owned(), Arc::clone(&content));
        Ok(OpenFile { disk: self.clone(), content })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let files = &mut *self.0.lock();
        files.begin(Operation::Change)?;
        let content = files.seen.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.seen.insert(to.to_owned(), content);
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let files = &mut *self.0.lock();
        files.begin(Operation::Change)?;
        files.seen.remove(path).map(drop).ok_or(io::ErrorKind::NotFound.into())
    }

    fn sync_names(&self, _: &Path) -> io::Result<()> {
        let files = &mut *self.0.lock();
        files.begin(Operation::Open)?;
        files.safe = files.seen.clone();
        Ok(())
    }
}

struct OpenFile {
    disk: StateDisk,
    content: Arc<Mutex<Content>>,
}

impl Write for OpenFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let files = &mut *self.disk.0.lock();
        files.begin(Operation::Change)?;
        let Content { bytes: written, .. } = &mut *self.content.lock();
        let room = files.room.map_or(usize::MAX, |room| room.saturating_sub(written.len()));
        if room == 0 && !bytes.is_empty() {
            return files.fail(NO_SPACE);
        }
        let length = bytes.len().min(room);
        written.extend_from_slice(&bytes[..length]);
        Ok(length)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl NewFile for OpenFile {
    fn sync(&self) -> io::Result<()> {
        self.disk.0.lock().begin(Operation::Change)?;
        let content = &mut *self.content.lock();
        content.safe = content.bytes.len();
        Ok(())
    }
}
