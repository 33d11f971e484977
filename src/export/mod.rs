//! Delivers snapshots: each exporter on a thread of its own, behind a bounded queue of its own.

mod append;
mod console;
mod outlet;
pub mod prometheus;
mod textfile;

pub use console::{Console, Format};
pub use outlet::{Counts, ExporterHandle};
pub use prometheus::{Endpoint, MergeReason, QuarantineReason, ReloadRequest, check_web};
pub use textfile::{OnExit, Textfile};

use std::fmt;
use std::io;
use std::time::Duration;

use crate::model::Snapshot;

/// Bytes that are rendered before they are written.
const PIECE: usize = 64 << 10;

/// Renders snapshots and delivers them.
pub trait Exporter: Send + 'static {
    /// As it is called in the configuration: `console`.
    fn name(&self) -> &'static str;

    /// Delivers one snapshot. It may block: nobody else waits for it.
    ///
    /// # Errors
    ///
    /// If the snapshot could not be delivered whole.
    fn export(&mut self, snapshot: &Snapshot) -> Result<ExportOutcome, ExportError>;

    /// Opens its files again, because somebody moved them away.
    fn reopen(&mut self) {}

    /// Called once, after the last snapshot. It is waited for up to `patience`.
    ///
    /// # Errors
    ///
    /// If what it leaves behind is not as configured.
    fn finish(&mut self, _patience: Duration) -> Result<(), ExportError> {
        Ok(())
    }
}

/// What became of a snapshot that was delivered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExportOutcome {
    /// Rows that could not be shown, by [`QuarantineReason`].
    pub quarantined: [u64; QuarantineReason::ALL.len()],
    /// Rows that are shown, but not as they were sent, by [`MergeReason`].
    pub merged: [u64; MergeReason::ALL.len()],
}

impl ExportOutcome {
    fn add(&mut self, other: &Self) {
        let Self { quarantined, merged } = other;
        self.quarantined.iter_mut().zip(quarantined).for_each(|(own, other)| *own += other);
        self.merged.iter_mut().zip(merged).for_each(|(own, other)| *own += other);
    }
}

/// Why a snapshot was not delivered: what failed, where, and what to do.
#[derive(Debug)]
pub struct ExportError {
    what: String,
    source: io::Error,
}

impl ExportError {
    fn new(what: impl Into<String>, source: io::Error) -> Self {
        Self { what: what.into(), source }
    }
}

impl fmt::Display for ExportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.source)?;
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
