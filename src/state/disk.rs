//! The few operations on files that a state needs.

use std::fmt;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// Keeps files.
pub trait Disk: fmt::Debug + Send + 'static {
    /// Keeps a file locked until it is dropped.
    type Lock: fmt::Debug + Send;

    /// Locks a file, and creates it first if it does not exist.
    ///
    /// # Errors
    ///
    /// Fails with [`io::ErrorKind::WouldBlock`] if another process has locked the file, or for the reason of the disk.
    fn lock(&self, path: &Path) -> io::Result<Self::Lock>;

    /// Opens a file, and returns it with its size in bytes.
    ///
    /// # Errors
    ///
    /// Fails with [`io::ErrorKind::NotFound`] if there is no such file, or for the reason of the disk.
    fn open(&self, path: &Path) -> io::Result<(impl Read, u64)>;

    /// Creates a file that only its owner may read.
    ///
    /// # Errors
    ///
    /// Fails with [`io::ErrorKind::AlreadyExists`] if the file exists, or for the reason of the disk.
    fn create(&self, path: &Path) -> io::Result<impl NewFile>;

    /// Renames a file, and replaces the file that had the new name.
    ///
    /// # Errors
    ///
    /// Fails for the reason of the disk.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    ///
    /// Fails with [`io::ErrorKind::NotFound`] if there is no such file, or for the reason of the disk.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Waits until a crash of the machine can no longer undo the changes of names in the directory of `path`.
    ///
    /// # Errors
    ///
    /// Fails for the reason of the disk.
    fn sync_names(&self, path: &Path) -> io::Result<()>;
}

/// A file that is being written.
pub trait NewFile: Write {
    /// Waits until a crash of the machine can no longer undo the writes.
    ///
    /// # Errors
    ///
    /// Fails for the reason of the disk.
    fn sync(&self) -> io::Result<()>;
}

/// The file system of the machine.
#[derive(Debug, Clone, Copy)]
pub struct FileSystem;

impl Disk for FileSystem {
    type Lock = File;

    fn lock(&self, path: &Path) -> io::Result<File> {
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => {
                Err(io::Error::new(io::ErrorKind::WouldBlock, "another tallyd uses it"))
            }
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn open(&self, path: &Path) -> io::Result<(impl Read, u64)> {
        let file = File::open(path)?;
        let size = file.metadata()?.len();
        Ok((file, size))
    }

    fn create(&self, path: &Path) -> io::Result<impl NewFile> {
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_names(&self, path: &Path) -> io::Result<()> {
        let directory = path.parent().filter(|directory| !directory.as_os_str().is_empty());
        File::open(directory.unwrap_or(Path::new(".")))?.sync_all()
    }
}

impl NewFile for File {
    fn sync(&self) -> io::Result<()> {
        self.sync_all()
    }
}
