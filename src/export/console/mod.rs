//! Writes snapshots to standard output or to a file, for people or for programs that tail it.

mod json;
mod text;

use std::path::PathBuf;

use super::append::Append;
use super::{ExportError, Exported, Exporter};
use crate::snapshot::Snapshot;

/// How a snapshot is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Aligned columns, for people.
    Text,
    /// One object a line, for programs.
    Json,
}

/// The console exporter.
#[derive(Debug)]
pub struct Console {
    format: Format,
    append: Append,
    /// The rendered snapshot; kept for its memory.
    text: String,
}

impl Console {
    /// Appends to the file at `path`; `-` is standard output.
    #[must_use]
    pub fn new(format: Format, path: PathBuf) -> Self {
        Self { format, append: Append::new(path), text: String::new() }
    }
}

impl Exporter for Console {
    fn name(&self) -> &'static str {
        "console"
    }

    fn export(&mut self, snapshot: &Snapshot) -> Result<Exported, ExportError> {
        self.text.clear();
        match self.format {
            Format::Text => text::render(&mut self.text, snapshot),
            Format::Json => json::render(&mut self.text, snapshot),
        }
        match self.append.append(&self.text) {
            Ok(()) => Ok(Exported::default()),
            Err(error) => Err(ExportError::new(format!("cannot write to {}", self.append.place()), error)),
        }
    }

    fn reopen(&mut self) {
        self.append.reopen();
    }
}
