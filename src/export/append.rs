//! A file that is appended to, and opened again when somebody rotated it; or standard output.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::PathBuf;

/// Where text is appended.
#[derive(Debug)]
pub(super) enum Append {
    Stdout,
    File { path: PathBuf, open: Option<File> },
}

impl Append {
    /// `-` is standard output.
    pub(super) fn new(path: PathBuf) -> Self {
        if path.as_os_str() == "-" { Self::Stdout } else { Self::File { path, open: None } }
    }

    /// Writes all of it. A file that is not there is created; one that failed is opened again next time.
    pub(super) fn append(&mut self, text: &str) -> io::Result<()> {
        match self {
            Self::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(text.as_bytes())?;
                stdout.flush()
            }
            Self::File { path, open } => {
                let mut file = match open.take() {
                    Some(file) => file,
                    None => OpenOptions::new().create(true).append(true).open(path)?,
                };
                file.write_all(text.as_bytes())?;
                *open = Some(file);
                Ok(())
            }
        }
    }

    /// The next text goes to the file that then has the path.
    pub(super) fn reopen(&mut self) {
        if let Self::File { open, .. } = self {
            *open = None;
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
