//! Writes snapshots to standard output or to a file, for people or for programs that tail it.

mod json;
mod text;

use std::io;
use std::path::PathBuf;

use super::append::Append;
use super::{ExportError, Exported, Exporter, PIECE};
use crate::snapshot::{Row, Snapshot};

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
}

impl Console {
    /// Appends to the file at `path`; `-` is standard output.
    #[must_use]
    pub fn new(format: Format, path: PathBuf) -> Self {
        Self { format, append: Append::new(path) }
    }

    /// Writes piece by piece: the text of a million rows takes more memory than the rows.
    fn write(&mut self, mut text: String, rows: &[Row], push: impl Fn(&mut String, &Row)) -> io::Result<()> {
        for row in rows {
            push(&mut text, row);
            if text.len() >= PIECE {
                self.append.append(&text)?;
                text.clear();
            }
        }
        self.append.append(&text)
    }
}

impl Exporter for Console {
    fn name(&self) -> &'static str {
        "console"
    }

    fn export(&mut self, snapshot: &Snapshot) -> Result<Exported, ExportError> {
        let written = match self.format {
            Format::Text => {
                let table = text::Table::of(snapshot);
                self.write(table.progress(), &snapshot.rows, |text, row| table.push(text, row))
            }
            Format::Json => {
                let lines = json::Lines::of(snapshot);
                self.write(String::new(), &snapshot.rows, |text, row| lines.push(text, row))
            }
        };
        match written {
            Ok(()) => Ok(Exported::default()),
            Err(error) => Err(ExportError::new(format!("cannot write to {}", self.append.place()), error)),
        }
    }

    fn reopen(&mut self) {
        self.append.reopen();
    }
}
