//! Writes the Prometheus text format to a file that node_exporter reads.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, UNIX_EPOCH};

use super::prometheus::{Format, Totals};
use super::{ExportError, ExportOutcome, Exporter};
use crate::model::Snapshot;
use crate::text::number::push_number;

/// What becomes of the file when tallyd stops. node_exporter serves a file that is left for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnExit {
    /// It stays.
    Keep,
    /// It is removed.
    Remove,
}

/// The text file exporter.
#[derive(Debug)]
pub struct Textfile {
    path: PathBuf,
    on_exit: OnExit,
    totals: Totals,
}

impl Textfile {
    /// Replaces the file at `path`, which must end in `.prom`, with the page of these totals after each snapshot.
    #[must_use]
    pub fn new(path: PathBuf, on_exit: OnExit, totals: Totals) -> Self {
        Self { path, on_exit, totals }
    }

    /// Readers see the old page or the new one, never a part: it is written beside the file, under a name that
    /// node_exporter does not read, and then takes its place.
    fn replace(&self, snapshot: &Snapshot) -> io::Result<()> {
        let beside = self.path.with_added_extension("new");
        let written = (|| {
            let mut file = File::create(&beside)?;
            // node_exporter runs as another user, whatever our umask is.
            file.set_permissions(Permissions::from_mode(0o644))?;
            Format::Text.render(&self.totals, |piece| file.write_all(piece))?;
            file.write_all(heartbeat(snapshot).as_bytes())?;
            // A rename that survives a crash must not name a file whose content did not.
            file.sync_data()?;
            fs::rename(&beside, &self.path)
        })();
        if written.is_err() {
            // On a full disk the part that was written would keep it full.
            _ = fs::remove_file(&beside);
        }
        written
    }
}

impl Exporter for Textfile {
    fn name(&self) -> &'static str {
        "textfile"
    }

    fn export(&mut self, snapshot: &Snapshot) -> Result<ExportOutcome, ExportError> {
        let exported = self.totals.add(snapshot);
        self.replace(snapshot)
            .map(|()| exported)
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

/// Tells a reader how old the page is; there even where telemetry is turned off.
fn heartbeat(snapshot: &Snapshot) -> String {
    const NAME: &str = "tallyd_textfile_timestamp_seconds";
    let mut text = format!("# HELP {NAME} When tallyd wrote this file.\n# TYPE {NAME} gauge\n{NAME} ");
    push_number(&mut text, snapshot.time.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
    text.push('\n');
    text
}
