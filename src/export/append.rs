//! A file that is appended to, and opened again when somebody rotated it; or standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

/// Where text is appended.
#[derive(Debug)]
pub(super) enum Append {
    Stdout,
    File {
        path: PathBuf,
        open: Option<File>,
        /// Whether the file may end in the midst of a line, since the disk was full, say.
        torn: bool,
    },
}

impl Append {
    /// `-` is standard output.
    pub(super) fn new(path: PathBuf) -> Self {
        if path.as_os_str() == "-" { Self::Stdout } else { Self::File { path, open: None, torn: false } }
    }

    /// Writes all of it, which is whole lines. A file that is not there is created; one that failed is opened again next
    /// time, and goes on in a new line.
    pub(super) fn append(&mut self, text: &str) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(text.as_bytes())?;
                stdout.flush()
            }
            Self::File { path, open, torn } => {
                let mut file = match open.take() {
                    Some(file) => file,
                    None => OpenOptions::new().create(true).append(true).open(path)?,
                };
                write_lines(&mut file, text.as_bytes(), torn)?;
                *open = Some(file);
                Ok(())
            }
        }
    }

    /// The next text goes to the file that then has the path.
    pub(super) fn reopen(&mut self) {
        if let Self::File { open, torn, .. } = self {
            *open = None;
            *torn = false;
        }
    }

    /// For messages: where.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Stdout => "standard output".to_owned(),
            Self::File { path, .. } => path.display().to_string(),
        }
    }
}

/// Writes lines; behind a torn one, a line feed first, so that only that one cannot be read.
fn write_lines(file: &mut impl Write, mut lines: &[u8], torn: &mut bool) -> io::Result<()> {
    if *torn {
        file.write_all(b"\n")?;
        *torn = false;
    }
    while !lines.is_empty() {
        match file.write(lines) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => {
                *torn = lines[written - 1] != b'\n';
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

    /// A disk with room for so many bytes.
    struct Disk {
        room: usize,
        text: String,
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let taken = bytes.len().min(self.room);
            if taken == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.room -= taken;
            self.text.push_str(std::str::from_utf8(&bytes[..taken]).unwrap());
            Ok(taken)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn what_follows_a_line_that_the_disk_had_no_room_for_begins_a_line() {
        for (room, expected) in [(7, "one\ntwo\nfour\n"), (4, "one\nfour\n"), (0, "four\n")] {
            let mut disk = Disk { room, text: String::new() };
            let mut torn = false;
            assert!(write_lines(&mut disk, b"one\ntwo\nthree\n", &mut torn).is_err());
            assert!(write_lines(&mut disk, b"lost\n", &mut torn).is_err());
            disk.room = 100;
            write_lines(&mut disk, b"four\n", &mut torn).unwrap();
            assert_eq!(disk.text, expected);
        }
    }
}
