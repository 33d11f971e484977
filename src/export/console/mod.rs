//! Writes snapshots to standard output or to a file, for people or for programs.

mod json;
mod screen;
mod text;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc::Sender;

use super::append::Append;
use super::exporter::{ExportError, Exporter, PIECE};
use super::outcome::ExportOutcome;
use crate::model::{Event, Row, Snapshot};
use screen::Screen;

/// The format of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum ConsoleFormat {
    /// Aligned columns, for people.
    Text,
    /// One JSON object per line, for programs.
    Json,
}

/// The exporter `console`.
#[derive(Debug)]
pub struct Console {
    format: ConsoleFormat,
    append: Append,
    /// The most rows per interval on a terminal. 0 means no limit.
    max_rows: usize,
    /// Gets a message if the reader of standard output is gone.
    closed: Option<Sender<()>>,
}

impl Console {
    /// Creates an exporter that appends to the file at `path`. The path `-` means standard output.
    #[must_use]
    pub fn new(format: ConsoleFormat, path: PathBuf) -> Self {
        Self { format, append: Append::new(path), max_rows: 0, closed: None }
    }

    /// Limits the rows per interval on a terminal. 0 means no limit.
    #[must_use]
    pub(crate) fn with_max_rows(self, max_rows: usize) -> Self {
        Self { max_rows, ..self }
    }

    /// Sends a message to `closed` if the reader of standard output is gone.
    #[must_use]
    pub(crate) fn with_closed_notice(self, closed: Option<Sender<()>>) -> Self {
        Self { closed, ..self }
    }

    /// Writes a snapshot in pieces, because the text of a million rows takes more memory than the rows.
    fn write(
        &mut self,
        Snapshot { rows, events, .. }: &Snapshot,
        mut text: String,
        push_row: impl Fn(&mut String, Row<'_>),
        push_event: impl Fn(&mut String, &Event),
        footer: impl FnOnce() -> String,
    ) -> io::Result<()> {
        for row in rows {
            push_row(&mut text, row);
            self.write_piece(&mut text)?;
        }
        for event in events {
            push_event(&mut text, event);
            self.write_piece(&mut text)?;
        }
        text.push_str(&footer());
        self.append.append(&text)
    }

    fn write_piece(&mut self, text: &mut String) -> io::Result<()> {
        if text.len() >= PIECE {
            self.append.append(text)?;
            text.clear();
        }
        Ok(())
    }
}

impl Exporter for Console {
    fn name(&self) -> &'static str {
        "console"
    }

    fn export(&mut self, snapshot: &Arc<Snapshot>) -> Result<ExportOutcome, ExportError> {
        if self.append.close_if_moved() {
            let path = self.append.describe();
            tracing::info!(path, "the console's file was moved or deleted; tallyd opens its path again");
        }
        let written = match self.format {
            ConsoleFormat::Text => {
                let screen = self.append.is_terminal().then(|| Screen::now(self.max_rows));
                let table = text::Table::new(snapshot, screen);
                let row = |text: &mut String, row: Row<'_>| table.push(text, row);
                let event = |text: &mut String, event: &Event| table.push_event(text, event);
                self.write(snapshot, table.header(), row, event, || table.footer())
            }
            ConsoleFormat::Json => {
                let lines = json::JsonLines::new(snapshot);
                let row = |text: &mut String, row: Row<'_>| lines.push(text, row);
                self.write(
                    snapshot,
                    String::new(),
                    row,
                    |text, event| lines.push_event(text, event),
                    String::new,
                )
            }
        };
        match written {
            Ok(()) => Ok(ExportOutcome::default()),
            Err(error) => {
                if error.kind() == io::ErrorKind::BrokenPipe
                    && self.append.is_stdout()
                    && let Some(closed) = &self.closed
                {
                    // The daemon stops after the first message, so a full channel is no loss.
                    _ = closed.try_send(());
                }
                Err(ExportError::new(format!("cannot write to {}", self.append.describe()), error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::model::{AlertType, Kind, Priority, Rows, Series, Value};

    #[test]
    fn snapshot_of_many_pieces_is_written_once_and_completely() {
        let row = |n| (Series::new(Kind::Gauge, &format!("row.{n}"), &[]), Value::Gauge(1.0));
        let event = |n| Event {
            timestamp: None,
            title: format!("event.{n}"),
            text: String::new(),
            alert_type: AlertType::Info,
            priority: Priority::Normal,
            hostname: None,
            aggregation_key: None,
            source_type: None,
            tags: Vec::new(),
        };
        let many = 3 * PIECE / "  gauge  row.1  1".len();
        let rows: Rows = (0..many).map(row).collect();
        let snapshot = Arc::new(Snapshot { events: (0..many).map(event).collect(), ..rows.into() });
        let directory = tempfile::tempdir().unwrap();
        for (format, other_lines) in [(ConsoleFormat::Text, 1), (ConsoleFormat::Json, 0)] {
            let path = directory.path().join(format!("{format:?}"));
            Console::new(format, path.clone()).export(&snapshot).unwrap();
            let written = std::fs::read_to_string(path).unwrap();
            assert_eq!(written.lines().count(), 2 * many + other_lines);
            assert_eq!(written.lines().collect::<BTreeSet<_>>().len(), 2 * many + other_lines);
        }
    }
}
