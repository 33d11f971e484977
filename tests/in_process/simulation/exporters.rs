//! Exporters that write to a simulated disk, which can be full or broken, and that can stall.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use parking_lot::Mutex;
use tallyd::export::prometheus::{Format, Totals};
use tallyd::export::{ExportError, ExportOutcome, Exporter, ExporterThread, Queued};
use tallyd::model::Snapshot;

/// The names of the exporters.
pub(super) const FORGETFUL: &str = "forgetful";
pub(super) const PAGE: &str = "page";

/// A disk with one file.
#[derive(Debug)]
pub(super) struct Disk {
    /// The number of the error with which writing fails at present.
    pub(super) fault: Option<i32>,
    pub(super) file: String,
}

impl Disk {
    fn write(&mut self, file: String) -> Result<(), ExportError> {
        if let Some(fault) = self.fault {
            return Err(ExportError::new("cannot write", io::Error::from_raw_os_error(fault)));
        }
        self.file = file;
        Ok(())
    }
}

/// Forgets each snapshot once it is written, as the console does.
pub(super) struct Forgetful(pub(super) Arc<Mutex<Disk>>);

impl Exporter for Forgetful {
    fn name(&self) -> &'static str {
        FORGETFUL
    }

    fn export(&mut self, _: &Arc<Snapshot>) -> Result<ExportOutcome, ExportError> {
        self.0.lock().write(String::new())?;
        Ok(ExportOutcome::default())
    }
}

/// Adds snapshots up and writes a Prometheus page, as the text file does.
pub(super) struct Page {
    disk: Arc<Mutex<Disk>>,
    totals: Totals,
}

impl Page {
    pub(super) fn new(disk: Arc<Mutex<Disk>>, totals: Totals) -> Self {
        Self { disk, totals }
    }
}

impl Exporter for Page {
    const KEEPS_TOTALS: bool = true;

    fn name(&self) -> &'static str {
        PAGE
    }

    fn export(&mut self, snapshot: &Arc<Snapshot>) -> Result<ExportOutcome, ExportError> {
        let outcome = self.totals.add(snapshot);
        self.disk.lock().write(text_of(&self.totals))?;
        Ok(outcome)
    }

    fn state(&self) -> Option<Vec<u8>> {
        Some(self.totals.encode())
    }
}

/// Returns the page of these totals.
pub(super) fn text_of(totals: &Totals) -> String {
    let mut page = Vec::new();
    let Ok(()) = Format::Text.render(totals, |piece| -> Result<(), Infallible> {
        page.extend_from_slice(piece);
        Ok(())
    });
    String::from_utf8(page).unwrap()
}

/// An exporter behind its queue, without a thread.
pub(super) struct Worker<E> {
    pub(super) name: &'static str,
    pub(super) thread: ExporterThread<E>,
    pub(super) disk: Arc<Mutex<Disk>>,
    pub(super) is_stalled: bool,
    /// The snapshot with which the exporter stalls.
    held: Option<Queued>,
    /// The samples of the snapshots that reached the output.
    pub(super) delivered: u64,
}

/// A snapshot that an exporter has handled.
pub(super) struct Handled {
    pub(super) snapshot: Arc<Snapshot>,
    /// Whether it was written.
    pub(super) is_written: bool,
}

impl<E: Exporter> Worker<E> {
    pub(super) fn new(name: &'static str, thread: ExporterThread<E>, disk: Arc<Mutex<Disk>>) -> Self {
        Self { name, thread, disk, is_stalled: false, held: None, delivered: 0 }
    }

    /// Handles the next snapshot, if there is one and the exporter does not stall.
    pub(super) fn step(&mut self) -> Option<Handled> {
        self.held = self.held.take().or_else(|| self.thread.take());
        if self.is_stalled {
            return None;
        }
        let queued = self.held.take()?;
        let is_written = self.thread.export(&queued).is_ok();
        let Queued { snapshot, .. } = queued;
        if is_written || E::KEEPS_TOTALS {
            self.delivered += snapshot.overview.samples;
        }
        Some(Handled { snapshot, is_written })
    }
}
