//! Writes the page in Prometheus' text format to a file that node_exporter reads.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use super::exporter::{ExportError, Exporter};
use super::outcome::ExportOutcome;
use super::prometheus::{Format, Totals};
use crate::model::Snapshot;
use crate::text::number::push_number;

/// The action on the file when tallyd stops. node_exporter would serve a leftover file forever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum OnExit {
    /// The file stays.
    Keep,
    /// The file is removed.
    Remove,
}

/// The exporter `textfile`.
#[derive(Debug)]
pub(crate) struct Textfile {
    path: PathBuf,
    on_exit: OnExit,
    totals: Totals,
}

impl Textfile {
    /// Creates an exporter that replaces the file at `path` after each snapshot. The file name must end in `.prom`.
    #[must_use]
    pub(crate) fn new(path: PathBuf, on_exit: OnExit, totals: Totals) -> Self {
        Self { path, on_exit, totals }
    }

    /// Replaces the file. Readers see the old page or the new one, but never a part of a page. The page goes to a
    /// second file, whose name node_exporter ignores, and is renamed at the end.
    fn replace(&self, snapshot: &Snapshot) -> io::Result<()> {
        let temporary = self.path.with_added_extension("new");
        let written = (|| {
            let mut file = File::create(&temporary)?;
            // Any user can read the file, whatever the umask is, because node_exporter runs as another user.
            file.set_permissions(Permissions::from_mode(0o644))?;
            Format::Text.render(&self.totals, |piece| file.write_all(piece))?;
            file.write_all(heartbeat(snapshot).as_bytes())?;
            // Without this, a crash could leave the new name with incomplete content.
            file.sync_data()?;
            fs::rename(&temporary, &self.path)
        })();
        if written.is_err() {
            // On a full disk, the incomplete file would take the space that is needed.
            _ = fs::remove_file(&temporary);
        }
        written
    }
}

impl Exporter for Textfile {
    const KEEPS_TOTALS: bool = true;

    fn name(&self) -> &'static str {
        "textfile"
    }

    fn export(&mut self, snapshot: &Snapshot) -> Result<ExportOutcome, ExportError> {
        let outcome = self.totals.add(snapshot);
        self.replace(snapshot)
            .map(|()| outcome)
            .map_err(|error| ExportError::new(format!("cannot write {}", self.path.display()), error))
    }

    fn finish(&mut self, _: Duration) -> Result<(), ExportError> {
        match self.on_exit {
            OnExit::Keep => Ok(()),
            OnExit::Remove => match fs::remove_file(&self.path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(ExportError::new(format!("cannot remove {}", self.path.display()), error))
                }
                _ => Ok(()),
            },
        }
    }
}

/// Returns a metric with the time of the page. It is present even if telemetry is disabled.
fn heartbeat(snapshot: &Snapshot) -> String {
    const NAME: &str = "tallyd_textfile_timestamp_seconds";
    let mut text = format!("# HELP {NAME} When tallyd wrote this file.\n# TYPE {NAME} gauge\n{NAME} ");
    push_number(&mut text, snapshot.time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
    text.push('\n');
    text
}
