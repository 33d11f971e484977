//! The state file: its format, its lock, and how it is read and replaced.
//!
//! ```text
//!  "tallyd state\n"  version  length of the body  body                                    checksum
//!  13 bytes          u32      u64                 time, then each part: name, its bytes   u32 (CRC-32 of all before)
//! ```
//!
//! Numbers of the frame are little-endian. The body is encoded as postcard does.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use flate2::Crc;

use super::disk::{Disk, FileSystem, NewFile};
use crate::model::{Decoder, Encoder, InvalidState};

const MAGIC: &[u8; 13] = b"tallyd state\n";

/// The version of the format of the frame and of all parts. A change of any of them needs a new version.
const VERSION: u32 = 2;

/// The bytes before the body: the magic, the version and the length.
const HEADER: usize = MAGIC.len() + 4 + 8;

/// The bytes of the checksum.
const CHECKSUM: usize = 4;

/// The end of the name of the file to which a file that is not valid is renamed.
const REFUSED: &str = ".refused";

/// The end of the name of the file that exists while a tallyd runs, and after a crash.
const RUNNING: &str = ".running";

/// The state file of this process.
#[derive(Debug)]
pub struct StateFile<D: Disk = FileSystem> {
    disk: D,
    path: PathBuf,
    /// The lock. It has a file of its own, because each write replaces the state file.
    lock: Option<D::Lock>,
}

/// The reason why tallyd cannot start with a state file.
#[derive(Debug)]
pub enum OpenError {
    /// Another process has locked it.
    InUse(PathBuf),
    /// The path leads to something that is no file.
    NoFile(PathBuf),
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            OpenError::InUse(path) => write!(
                f,
                "another tallyd uses the state file {}; stop it, or give each a state.path of its own",
                path.display()
            ),
            OpenError::NoFile(path) => write!(
                f,
                "cannot keep the state in {}: it is not a file; give state.path the path of a file",
                path.display()
            ),
        }
    }
}

impl std::error::Error for OpenError {}

/// The content of a state file whose checksum is right.
#[derive(Debug)]
pub struct SavedState {
    bytes: Vec<u8>,
    is_after_stop: bool,
}

/// The decoded frame of a state file.
#[derive(Debug, PartialEq)]
pub struct Parts<'a> {
    /// The time of the write.
    pub time: SystemTime,
    /// The bytes of each part, by name.
    pub parts: BTreeMap<&'a str, &'a [u8]>,
}

/// The reason why a file is refused.
#[derive(Debug, PartialEq, Eq)]
enum Refusal {
    Foreign,
    Version(u32),
    Torn { expected: u64, found: u64 },
    Checksum,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Foreign => f.write_str("tallyd did not write it"),
            Refusal::Version(version) => {
                write!(f, "it has version {version}, and this tallyd reads version {VERSION}")
            }
            Refusal::Torn { expected, found } => {
                write!(f, "it should have {expected} bytes and has {found}")
            }
            Refusal::Checksum => f.write_str("its checksum is wrong"),
        }
    }
}

impl StateFile {
    /// Opens the state file at `path`, which need not exist, and locks it.
    ///
    /// # Errors
    ///
    /// Fails if another process has locked the file, or if the path leads to something that is no file.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenError> {
        // A write replaces the file to which a link leads, and not the link.
        let path = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if fs::metadata(&path).is_ok_and(|metadata| !metadata.is_file()) {
            return Err(OpenError::NoFile(path));
        }
        Self::on_disk(FileSystem, path)
    }
}

impl<D: Disk> StateFile<D> {
    /// Opens a state file, which need not exist, and locks it.
    ///
    /// If the lock file cannot be written, tallyd starts all the same, and each write tries again.
    ///
    /// # Errors
    ///
    /// Fails if another process has locked the file.
    pub fn on_disk(disk: D, path: PathBuf) -> Result<Self, OpenError> {
        let mut file = Self { disk, path, lock: None };
        match file.lock() {
            Ok(()) => Ok(file),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(OpenError::InUse(file.path)),
            Err(error) => {
                let path = file.path.display();
                tracing::error!(
                    "cannot lock the state file {path}: {error}; let tallyd's user write to its directory"
                );
                Ok(file)
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Locks the file if it is not locked yet.
    fn lock(&mut self) -> io::Result<()> {
        if self.lock.is_some() {
            return Ok(());
        }
        self.lock = Some(self.disk.lock(&with_suffix(&self.path, ".lock"))?);
        Ok(())
    }

    /// Reads the file. Returns `None` if it does not exist. A file that cannot be read or is not valid is set aside.
    #[must_use]
    pub fn read(&self) -> Option<SavedState> {
        self.read_valid().unwrap_or_else(|error| {
            self.set_aside(&error);
            None
        })
    }

    /// Reads the file. Returns `None` if it does not exist. A file that is not valid is set aside.
    ///
    /// # Errors
    ///
    /// Fails if the file cannot be read. It may be valid.
    pub(super) fn read_valid(&self) -> io::Result<Option<SavedState>> {
        match read(&self.disk, &self.path) {
            Ok(Ok(bytes)) => return Ok(Some(SavedState { bytes, is_after_stop: self.is_after_stop() })),
            Ok(Err(refusal)) => self.set_aside(&refusal),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(None)
    }

    /// Renames a file that is of no use, and replaces the one that was renamed before.
    pub(crate) fn set_aside(&self, reason: &dyn fmt::Display) {
        let aside = with_suffix(&self.path, REFUSED);
        let path = self.path.display();
        match self.disk.rename(&self.path, &aside) {
            Ok(()) => tracing::error!(
                "the state file {path} is refused: {reason}; gauges and totals begin again, and the file is now {}",
                aside.display()
            ),
            Err(error) => tracing::error!(
                "the state file {path} is refused: {reason}; gauges and totals begin again, and the next write replaces \
                 the file, because it cannot be renamed: {error}"
            ),
        }
    }

    /// Notes that a tallyd runs, until [`note_stop`](Self::note_stop).
    pub(super) fn note_start(&self) {
        let path = with_suffix(&self.path, RUNNING);
        let noted = self.disk.create(&path).map(drop).and_then(|()| self.disk.sync_names(&path));
        if let Err(error) = noted
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            tracing::error!(
                "cannot write {}: {error}; after a crash, totals may continue from an older state; let tallyd's user write \
                 there",
                path.display()
            );
        }
    }

    /// Returns true if the tallyd that wrote the file has stopped, and had no later state than this one.
    fn is_after_stop(&self) -> bool {
        let running = self.disk.open(&with_suffix(&self.path, RUNNING)).map(|_| ());
        running.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
    }

    /// Notes that a tallyd stopped, and that its latest state is in the file.
    pub(super) fn note_stop(&self) {
        let path = with_suffix(&self.path, RUNNING);
        let noted = self.disk.remove(&path).and_then(|()| self.disk.sync_names(&path));
        if let Err(error) = noted {
            tracing::error!("cannot remove {}: {error}; the next tallyd begins totals again", path.display());
        }
    }

    /// Replaces the file, so that readers and crashes see the old state or the new one. Returns the number of bytes.
    ///
    /// The new file gets a fixed name, so a process that is killed leaves at most one behind. The file is removed first
    /// and must then be new, because in a directory in which others may write it could be a link.
    pub(crate) fn write(&mut self, time: SystemTime, parts: &BTreeMap<&str, Vec<u8>>) -> io::Result<u64> {
        self.lock()?;
        let new = with_suffix(&self.path, ".new");
        let written = write_new(&self.disk, &new, time, parts).and_then(|size| {
            self.disk.rename(&new, &self.path)?;
            self.disk.sync_names(&self.path)?;
            Ok(size)
        });
        if written.is_err() {
            // On a full disk, an incomplete file would take the space that is needed.
            _ = self.disk.remove(&new);
        }
        written
    }
}

impl SavedState {
    /// Decodes the frame.
    ///
    /// # Errors
    ///
    /// Fails if tallyd cannot have written the bytes, although their checksum is right.
    pub fn parts(&self) -> Result<Parts<'_>, InvalidState> {
        let mut decoder = Decoder::new(&self.bytes[HEADER..self.bytes.len() - CHECKSUM]);
        let time = UNIX_EPOCH + Duration::from_millis(decoder.take()?);
        let parts = decoder.take_list(|decoder| {
            let (name, length): (&str, u64) = decoder.take()?;
            let length = usize::try_from(length).map_err(|_| InvalidState)?;
            Ok((name, decoder.take_bytes(length)?))
        })?;
        decoder.end()?;
        Ok(Parts { time, parts: parts.into_iter().collect() })
    }

    /// Returns false if the tallyd that wrote the state has crashed, or could not write its last state. Then its totals in the
    /// file may be older than those that Prometheus has. Prometheus would take a total that falls for one that began again at
    /// 0, and count all of it once more.
    pub(crate) fn has_latest_totals(&self) -> bool {
        self.is_after_stop
    }

    /// Returns the number of bytes of the file.
    pub(crate) fn size(&self) -> usize {
        self.bytes.len()
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn write_new(
    disk: &impl Disk,
    path: &Path,
    time: SystemTime,
    parts: &BTreeMap<&str, Vec<u8>>,
) -> io::Result<u64> {
    match disk.remove(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = disk.create(path)?;
    let size = write_framed(time, parts, |piece| file.write_all(piece))?;
    // Without this, a crash could leave the name with incomplete content.
    file.sync()?;
    Ok(size)
}

/// Writes the frame around the parts. Returns the number of bytes.
fn write_framed(
    time: SystemTime,
    parts: &BTreeMap<&str, Vec<u8>>,
    mut write: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<u64> {
    let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let mut encoder = Encoder::default();
    encoder.push(&u64::try_from(millis).unwrap_or(u64::MAX));
    encoder.push(&(parts.len() as u32));
    let mut heads = vec![encoder.finish()];
    heads.extend(parts.iter().map(|(name, bytes)| {
        let mut encoder = Encoder::default();
        encoder.push(&(name, bytes.len() as u64));
        encoder.finish()
    }));
    let body = heads.iter().map(Vec::len).sum::<usize>() + parts.values().map(Vec::len).sum::<usize>();
    let (version, length) = (VERSION.to_le_bytes(), (body as u64).to_le_bytes());
    let header = [&MAGIC[..], &version, &length].concat();
    let parts = heads[1..].iter().zip(parts.values()).flat_map(|(head, bytes)| [head, bytes]);
    let mut checksum = Crc::new();
    for piece in [&header, &heads[0]].into_iter().chain(parts) {
        checksum.update(piece);
        write(piece)?;
    }
    write(&checksum.sum().to_le_bytes())?;
    Ok((HEADER + body + CHECKSUM) as u64)
}

/// Reads a file whose checksum is right. It reads a header first, so a wrong length or a large foreign file takes no
/// memory.
fn read(disk: &impl Disk, path: &Path) -> io::Result<Result<Vec<u8>, Refusal>> {
    let (mut file, found) = disk.open(path)?;
    let mut bytes = vec![0; HEADER];
    match file.read_exact(&mut bytes) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Err(Refusal::Foreign)),
        read => read?,
    }
    let Some(expected) = expected_size(&bytes) else { return Ok(Err(Refusal::Foreign)) };
    let expected = match expected {
        Ok(expected) if expected == found => expected,
        Ok(expected) => return Ok(Err(Refusal::Torn { expected, found })),
        Err(refusal) => return Ok(Err(refusal)),
    };
    bytes.reserve_exact(expected as usize - HEADER);
    file.take(expected - HEADER as u64).read_to_end(&mut bytes)?;
    Ok(verified(bytes))
}

/// Returns the size of the file with this header. Returns `None` if tallyd did not write it.
fn expected_size(header: &[u8]) -> Option<Result<u64, Refusal>> {
    let rest = header.strip_prefix(MAGIC)?;
    let (version, rest) = rest.split_first_chunk()?;
    let (length, _) = rest.split_first_chunk()?;
    let version = u32::from_le_bytes(*version);
    if version != VERSION {
        return Some(Err(Refusal::Version(version)));
    }
    Some(Ok(u64::from_le_bytes(*length).saturating_add((HEADER + CHECKSUM) as u64)))
}

/// Returns the bytes of a file if their checksum is right.
fn verified(bytes: Vec<u8>) -> Result<Vec<u8>, Refusal> {
    let (covered, sum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(Refusal::Checksum)?;
    let mut checksum = Crc::new();
    checksum.update(covered);
    if checksum.sum() == u32::from_le_bytes(*sum) { Ok(bytes) } else { Err(Refusal::Checksum) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts() -> BTreeMap<&'static str, Vec<u8>> {
        [("prometheus", vec![7; 300]), ("series", (0..=255).collect())].into()
    }

    fn time() -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(1_795_969_790_250)
    }

    /// A directory with a state file in it.
    fn written() -> (tempfile::TempDir, StateFile) {
        let directory = tempfile::tempdir().unwrap();
        let mut file = StateFile::open(&directory.path().join("state")).unwrap();
        let size = file.write(time(), &parts()).unwrap();
        assert_eq!(fs::metadata(file.path()).unwrap().len(), size);
        (directory, file)
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_replaced_as_a_whole() {
        let (directory, mut file) = written();
        let (saved, written) = (file.read().unwrap(), parts());
        let expected = written.iter().map(|(name, bytes)| (*name, &bytes[..])).collect();
        assert_eq!(saved.parts(), Ok(Parts { time: time(), parts: expected }));
        let other = [("series", vec![1, 2, 3])].into();
        fs::write(with_suffix(file.path(), ".new"), "a killed process left this").unwrap();
        file.write(time(), &other).unwrap();
        assert_eq!(file.read().unwrap().parts().unwrap().parts["series"], [1, 2, 3]);
        let mut names: Vec<_> =
            fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["state", "state.lock"]);
    }

    /// Each change is refused, because a file is read only if its length and its checksum are right.
    #[test]
    fn no_file_that_is_cut_or_changed_is_read() {
        let (directory, file) = written();
        let bytes = fs::read(file.path()).unwrap();
        let mut random = fastrand::Rng::with_seed(7);
        let aside = directory.path().join("state.refused");
        for round in 0..1000 {
            let at = random.usize(..bytes.len());
            let changed = if round % 2 == 0 {
                bytes[..at].to_vec()
            } else {
                let mut changed = bytes.clone();
                changed[at] ^= 1 << random.u8(..8);
                changed
            };
            fs::write(file.path(), &changed).unwrap();
            assert!(file.read().is_none(), "{round}: {at}");
            assert_eq!(fs::read(&aside).unwrap(), changed);
            assert!(!file.path().exists());
        }
    }

    #[test]
    fn a_refusal_says_what_is_wrong() {
        let (_directory, file) = written();
        let bytes = fs::read(file.path()).unwrap();
        let [mut newer, mut flipped] = [bytes.clone(), bytes.clone()];
        newer[MAGIC.len()] = 7;
        flipped[HEADER] ^= 1;
        let torn = bytes[..bytes.len() - 1].to_vec();
        let cases = [
            (b"tallyd".to_vec(), "tallyd did not write it"),
            (vec![b'x'; 100], "tallyd did not write it"),
            (newer, "it has version 7, and this tallyd reads version 2"),
            (flipped, "its checksum is wrong"),
            (torn, "it should have 614 bytes and has 613"),
        ];
        for (content, expected) in cases {
            fs::write(file.path(), content).unwrap();
            assert_eq!(read(&FileSystem, file.path()).unwrap().unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_second_process_cannot_open_the_file() {
        let (_directory, file) = written();
        let error = StateFile::open(file.path()).unwrap_err();
        assert!(error.to_string().starts_with("another tallyd uses the state file "), "{error}");
        let path = file.path().to_owned();
        drop(file);
        StateFile::open(&path).unwrap();
    }

    #[test]
    fn a_directory_is_never_set_aside() {
        let directory = tempfile::tempdir().unwrap();
        let error = StateFile::open(directory.path()).unwrap_err();
        assert!(error.to_string().contains("it is not a file"), "{error}");
    }

    #[test]
    fn a_write_replaces_the_target_of_a_link() {
        let (directory, file) = written();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(file.path(), &link).unwrap();
        drop(file);
        let mut file = StateFile::open(&link).unwrap();
        file.write(time(), &[("series", vec![9])].into()).unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(file.read().unwrap().parts().unwrap().parts["series"], [9]);
    }
}
