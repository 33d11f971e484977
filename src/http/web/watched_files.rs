//! Reads files, and checks whether they have changed since.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The files of a configuration, each with the state in which it was read.
#[derive(Debug, Default)]
pub(super) struct WatchedFiles(Vec<(PathBuf, Option<Stamp>)>);

/// Distinguishes one state of a file from another. The time also changes with mode and owner, so tallyd notices that an
/// unreadable file became readable.
#[derive(Debug, PartialEq, Eq)]
struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path) -> Option<Self> {
        let file = fs::metadata(path).ok()?;
        let changed = (file.ctime(), file.ctime_nsec());
        Some(Self { device: file.dev(), inode: file.ino(), size: file.size(), changed })
    }
}

impl WatchedFiles {
    /// Reads a file, and watches it even if it cannot be read.
    pub(super) fn read(&mut self, path: &Path) -> io::Result<Vec<u8>> {
        // The stamp is taken before reading, so a change in between counts as a later change.
        self.0.push((path.to_owned(), Stamp::of(path)));
        fs::read(path)
    }

    /// Returns true if any of the files has changed since it was read.
    pub(super) fn have_changed(&self) -> bool {
        self.0.iter().any(|(path, stamp)| Stamp::of(path) != *stamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_written_replaced_removed_or_created_has_changed() {
        let directory = tempfile::tempdir().unwrap();
        let [file, other] = ["file", "other"].map(|name| directory.path().join(name));
        let changes: [&dyn Fn(); 4] = [
            &|| fs::write(&file, "longer").unwrap(),
            &|| {
                fs::write(&other, "longer").unwrap();
                fs::rename(&other, &file).unwrap();
            },
            &|| fs::remove_file(&file).unwrap(),
            &|| fs::write(&file, "new").unwrap(),
        ];
        fs::write(&file, "short").unwrap();
        for change in changes {
            let mut files = WatchedFiles::default();
            _ = files.read(&file);
            assert!(!files.have_changed());
            change();
            assert!(files.have_changed());
        }
    }
}
