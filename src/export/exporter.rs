//! Defines exporters and their errors.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use super::outcome::ExportOutcome;
use crate::model::Snapshot;

/// The number of rendered bytes after which exporters write.
pub(super) const PIECE: usize = 64 << 10;

/// Renders snapshots and delivers them.
pub trait Exporter: Send + 'static {
    /// Whether a later snapshot also delivers the samples of one that failed, because the exporter adds them up.
    const KEEPS_TOTALS: bool = false;

    /// Returns the exporter's name in the configuration, for example `console`.
    fn name(&self) -> &'static str;

    /// Delivers one snapshot. It may block, because each exporter has a thread of its own.
    ///
    /// # Errors
    ///
    /// Fails if the snapshot could not be delivered as a whole.
    fn export(&mut self, snapshot: &Arc<Snapshot>) -> Result<ExportOutcome, ExportError>;

    /// Returns the state that outlives the process, if the exporter has any.
    fn state(&self) -> Option<Vec<u8>> {
        None
    }

    /// Ends the exporter after the last snapshot. tallyd waits for it at most `patience`.
    ///
    /// # Errors
    ///
    /// Fails if the exporter could not clean up as configured.
    fn finish(&mut self, _patience: Duration) -> Result<(), ExportError> {
        Ok(())
    }
}

/// The error of a delivery. It says what failed, where, and what to do.
#[derive(Debug)]
pub struct ExportError {
    action: String,
    source: io::Error,
}

impl ExportError {
    /// Creates the error of an action, for example `cannot write to /var/log/metrics`.
    #[must_use]
    pub fn new(action: impl Into<String>, source: io::Error) -> Self {
        Self { action: action.into(), source }
    }
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.action, self.source)?;
        match self.source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                f.write_str("; free some space there")
            }
            io::ErrorKind::NotFound => f.write_str("; create the directory"),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                f.write_str("; let tallyd's user write there, or configure another path")
            }
            _ => Ok(()),
        }
    }
}

impl std::error::Error for ExportError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}
