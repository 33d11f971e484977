//! Keeps batches in a directory, one file each, so that they outlive the process.
//!
//! ```text
//!  PATH/remote_write-mimir/lock
//!                          00000000000000000041.batch    magic, checksum, points, time, body
//!                          00000000000000000042.batch
//! ```
//!
//! A file is written under another name and renamed, so a crash of tallyd leaves only whole files. tallyd does not wait for the
//! disk. A crash of the machine can therefore leave a file without its content, which the checksum detects.

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use flate2::Crc;

use super::batch::Batch;

/// The first bytes of each file: what it is, and the version of the format.
const MAGIC: &[u8; 8] = b"tallydB1";
/// The length of what comes before the body: the magic, the checksum, the points, and the time.
const HEAD: usize = 8 + 4 + 8 + 8;

/// The directory of one endpoint.
#[derive(Debug)]
pub(super) struct Spool {
    directory: PathBuf,
    /// The lock that keeps other processes out.
    _lock: File,
}

/// A batch in the directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Spooled {
    /// The position of the batch. Batches are sent in the order of their numbers.
    pub(super) number: u64,
    pub(super) points: u64,
    /// The size of the file.
    pub(super) bytes: u64,
}

impl Spool {
    /// Opens the directory, and creates it if there is none. Returns the batches in it, in their order, and the number of files
    /// that are no batches although they are named like some. Those are removed.
    ///
    /// # Errors
    ///
    /// Fails if the directory cannot be used, or if another process uses it.
    pub(super) fn open(directory: PathBuf) -> io::Result<(Self, Vec<Spooled>, u64)> {
        DirBuilder::new().recursive(true).mode(0o700).create(&directory)?;
        let lock = File::create(directory.join("lock"))?;
        lock.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => {
                io::Error::new(io::ErrorKind::ResourceBusy, "another process uses it")
            }
            TryLockError::Error(error) => error,
        })?;
        let spool = Self { directory, _lock: lock };
        let (mut batches, mut unreadable) = (Vec::new(), 0);
        for entry in fs::read_dir(&spool.directory)? {
            let name = entry?.file_name();
            let Some(name) = name.to_str() else { continue };
            if name.starts_with(INCOMPLETE) {
                // An earlier process ended while it wrote the file, and has not counted the points as kept.
                _ = fs::remove_file(spool.directory.join(name));
            }
            let number = name.strip_suffix(SUFFIX).and_then(|number| number.parse().ok());
            let Some(number) = number else { continue };
            if let Ok(spooled) = spool.read_head(number) {
                batches.push(spooled);
            } else {
                unreadable += 1;
                _ = fs::remove_file(spool.path(number));
            }
        }
        batches.sort_unstable_by_key(|spooled| spooled.number);
        Ok((spool, batches, unreadable))
    }

    /// Writes a batch. Returns the size of its file.
    ///
    /// # Errors
    ///
    /// Fails for the reason of the disk, and leaves no file then.
    pub(super) fn write(&self, number: u64, batch: &Batch) -> io::Result<u64> {
        let mut file = tempfile::Builder::new().prefix(INCOMPLETE).tempfile_in(&self.directory)?;
        let fields = fields(batch);
        file.write_all(MAGIC)?;
        file.write_all(&checksum(&fields, &batch.body).to_le_bytes())?;
        file.write_all(&fields)?;
        file.write_all(&batch.body)?;
        file.persist(self.path(number))?;
        Ok(Self::bytes(batch))
    }

    /// Returns the size of the file of a batch.
    pub(super) fn bytes(batch: &Batch) -> u64 {
        (HEAD + batch.body.len()) as u64
    }

    /// Reads a batch.
    ///
    /// # Errors
    ///
    /// Fails for the reason of the disk, or with [`io::ErrorKind::InvalidData`] if the file is not what was written.
    pub(super) fn read(&self, number: u64) -> io::Result<Batch> {
        let content = Bytes::from(fs::read(self.path(number))?);
        let (checksum_of_file, points, time) = head(&content)?;
        let body = content.slice(HEAD..);
        if checksum(&content[12..HEAD], &body) != checksum_of_file {
            return Err(damaged());
        }
        Ok(Batch { body, points, time })
    }

    /// Removes a batch.
    pub(super) fn remove(&self, number: u64) {
        // If the file stays, the next process sends it again. Nothing is lost.
        _ = fs::remove_file(self.path(number));
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    fn read_head(&self, number: u64) -> io::Result<Spooled> {
        let mut file = File::open(self.path(number))?;
        let bytes = file.metadata()?.len();
        let mut start = [0; HEAD];
        io::Read::read_exact(&mut file, &mut start)?;
        let (_, points, _) = head(&start)?;
        Ok(Spooled { number, points, bytes })
    }

    fn path(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{number:020}{SUFFIX}"))
    }
}

const SUFFIX: &str = ".batch";
/// The beginning of the names of files that are being written.
const INCOMPLETE: &str = ".new-";

/// Returns the fields between the checksum and the body.
fn fields(batch: &Batch) -> [u8; 16] {
    let micros = batch.time.duration_since(UNIX_EPOCH).unwrap_or_default().as_micros() as u64;
    let mut fields = [0; 16];
    fields[..8].copy_from_slice(&batch.points.to_le_bytes());
    fields[8..].copy_from_slice(&micros.to_le_bytes());
    fields
}

fn checksum(fields: &[u8], body: &[u8]) -> u32 {
    let mut checksum = Crc::new();
    checksum.update(fields);
    checksum.update(body);
    checksum.sum()
}

/// Reads the checksum, the points and the time.
fn head(content: &[u8]) -> io::Result<(u32, u64, SystemTime)> {
    let field =
        |at: usize| content.get(at..at + 8).and_then(|bytes| bytes.try_into().ok()).map(u64::from_le_bytes);
    let checksum = content.get(8..12).and_then(|bytes| bytes.try_into().ok()).map(u32::from_le_bytes);
    match (content.get(..8), checksum, field(12), field(20)) {
        (Some(magic), Some(checksum), Some(points), Some(micros)) if magic == MAGIC => {
            Ok((checksum, points, UNIX_EPOCH + Duration::from_micros(micros)))
        }
        _ => Err(damaged()),
    }
}

fn damaged() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the file is damaged")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(points: u64) -> Batch {
        let time = UNIX_EPOCH + Duration::from_micros(1_795_969_790_250_001);
        Batch { body: vec![7; 1000].into(), points, time }
    }

    #[test]
    fn batches_are_found_again_in_their_order() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a/b");
        let (spool, found, unreadable) = Spool::open(path.clone()).unwrap();
        assert_eq!((found, unreadable), (vec![], 0));
        for number in [10, 9, 2] {
            assert_eq!(spool.write(number, &batch(number)).unwrap(), 1028);
        }
        let busy = Spool::open(path.clone()).unwrap_err();
        assert_eq!(busy.to_string(), "another process uses it");
        drop(spool);
        fs::write(path.join(".new-x"), "half").unwrap();
        let (spool, found, _) = Spool::open(path.clone()).unwrap();
        assert!(!path.join(".new-x").exists());
        assert_eq!(found, [2, 9, 10].map(|number| Spooled { number, points: number, bytes: 1028 }));
        assert_eq!(spool.read(9).unwrap(), batch(9));
        spool.remove(9);
        assert_eq!(spool.read(9).unwrap_err().kind(), io::ErrorKind::NotFound);
    }

    #[test]
    fn a_damaged_file_is_never_sent() {
        let directory = tempfile::tempdir().unwrap();
        let (spool, ..) = Spool::open(directory.path().to_owned()).unwrap();
        spool.write(1, &batch(5)).unwrap();
        let file = spool.path(1);
        let whole = fs::read(&file).unwrap();
        for position in [0, 9, 13, 22, 28, 1027] {
            let mut changed = whole.clone();
            changed[position] ^= 1;
            fs::write(&file, changed).unwrap();
            assert_eq!(spool.read(1).unwrap_err().kind(), io::ErrorKind::InvalidData, "byte {position}");
        }
        for length in [0, 27, 28, 1027] {
            fs::write(&file, &whole[..length]).unwrap();
            assert_eq!(spool.read(1).unwrap_err().kind(), io::ErrorKind::InvalidData, "{length} bytes");
        }
        fs::write(&file, "").unwrap();
        drop(spool);
        let (_, found, unreadable) = Spool::open(directory.path().to_owned()).unwrap();
        assert_eq!((found, unreadable), (vec![], 1));
        assert!(!file.exists());
    }
}
