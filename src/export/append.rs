//! Appends text to standard output or to a file, and opens the path again if the file was moved.

use std::fs::{self, File, OpenOptions};
use std::io::{self, IsTerminal, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The destination of appended text.
#[derive(Debug)]
pub(super) enum Append {
    Stdout,
    File {
        path: PathBuf,
        open: Option<File>,
        /// True if the file may end in the middle of a line, for example because the disk was full.
        is_torn: bool,
    },
}

impl Append {
    /// Creates the destination of this path. The path `-` means standard output.
    pub(super) fn new(path: PathBuf) -> Self {
        if path.as_os_str() == "-" { Self::Stdout } else { Self::File { path, open: None, is_torn: false } }
    }

    /// Appends whole lines. It creates a missing file. After a failure, the next call opens the file again and begins
    /// on a new line.
    pub(super) fn append(&mut self, text: &str) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(text.as_bytes())?;
                stdout.flush()
            }
            Self::File { path, open, is_torn } => {
                let mut file = match open.take() {
                    Some(file) => file,
                    None => OpenOptions::new().create(true).append(true).open(path)?,
                };
                write_lines(&mut file, text.as_bytes(), is_torn)?;
                *open = Some(file);
                Ok(())
            }
        }
    }

    /// Returns true if the text goes to standard output.
    pub(super) fn is_stdout(&self) -> bool {
        matches!(self, Self::Stdout)
    }

    /// Closes the file if its path no longer leads to it, because it was moved or deleted. Later text would be lost
    /// otherwise. Returns true if it closed the file.
    pub(super) fn close_if_moved(&mut self) -> bool {
        match self {
            Self::File { path, open, is_torn } if open.as_ref().is_some_and(|file| has_moved(file, path)) => {
                *open = None;
                *is_torn = false;
                true
            }
            _ => false,
        }
    }

    /// Returns true if the text goes to a terminal.
    pub(super) fn is_terminal(&self) -> bool {
        self.is_stdout() && io::stdout().is_terminal()
    }

    /// Returns the name of the destination in messages.
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Stdout => "standard output".to_owned(),
            Self::File { path, .. } => path.display().to_string(),
        }
    }
}

/// Returns true if the path leads to another file or to none. If the path cannot be looked up, tallyd keeps the file.
pub(crate) fn has_moved(file: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata().map(identity), fs::metadata(path).map(identity)) {
        (Ok(open), Ok(at_path)) => open != at_path,
        (Ok(_), Err(error)) => error.kind() == io::ErrorKind::NotFound,
        (Err(_), _) => false,
    }
}

/// Writes lines. After a torn line it writes a line feed first, so only the torn line is unreadable.
fn write_lines(file: &mut impl Write, mut lines: &[u8], is_torn: &mut bool) -> io::Result<()> {
    if *is_torn {
        file.write_all(b"\n")?;
        *is_torn = false;
    }
    while !lines.is_empty() {
        match file.write(lines) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                *is_torn = lines[written - 1] != b'\n';
                lines = &lines[written..];
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A disk with free space for some bytes.
    struct Disk {
        free: usize,
        text: String,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.free);
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.free -= taken;
            self.text.push_str(std::str::from_utf8(&bytes[..taken]).unwrap());
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn text_goes_to_the_file_that_has_the_path() {
        let directory = tempfile::tempdir().unwrap();
        let [path, moved] = ["log", "log.1"].map(|name| directory.path().join(name));
        let mut append = Append::new(path.clone());
        let mut write = |text: &str| {
            let has_moved = append.close_if_moved();
            append.append(text).unwrap();
            has_moved
        };
        assert!(!write("one\n") && !write("two\n"));
        fs::rename(&path, &moved).unwrap();
        assert!(write("three\n") && !write("four\n"));
        fs::remove_file(&path).unwrap();
        assert!(write("five\n"));
        fs::remove_file(&path).unwrap();
        fs::write(&path, "zero\n").unwrap();
        assert!(write("six\n"));
        assert_eq!(fs::read_to_string(&path).unwrap(), "zero\nsix\n");
        assert_eq!(fs::read_to_string(&moved).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn text_after_a_torn_line_begins_on_a_new_line() {
        for (free, expected) in [(7, "one\ntwo\nfour\n"), (4, "one\nfour\n"), (0, "four\n")] {
            let mut disk = Disk { free, text: String::new() };
            let mut is_torn = false;
            assert!(write_lines(&mut disk, b"one\ntwo\nthree\n", &mut is_torn).is_err());
            assert!(write_lines(&mut disk, b"lost\n", &mut is_torn).is_err());
            disk.free = 100;
            write_lines(&mut disk, b"four\n", &mut is_torn).unwrap();
            assert_eq!(disk.text, expected);
        }
    }
}
