//! Pushes snapshots to Graphite, with the names and the numbers of statsd.

mod encode;
mod names;
mod timer;
mod transport;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use encode::GraphiteContent;
pub(crate) use names::{GraphiteNames, GraphiteTags};
pub(crate) use transport::{GraphiteProtocol, GraphiteTransport};

use super::endpoints::Endpoints;
use super::exporter::{ExportError, Exporter};
use super::outcome::ExportOutcome;
use crate::model::Snapshot;

/// The exporter `graphite`.
#[derive(Debug)]
pub(crate) struct Graphite {
    endpoints: Endpoints<GraphiteContent>,
}

impl Graphite {
    /// Creates an exporter that pushes to these endpoints.
    pub(crate) fn new(endpoints: Endpoints<GraphiteContent>) -> Self {
        Self { endpoints }
    }
}

impl Exporter for Graphite {
    fn name(&self) -> &'static str {
        self.endpoints.exporter()
    }

    fn export(&mut self, snapshot: &Arc<Snapshot>) -> Result<ExportOutcome, ExportError> {
        let mut outcome = ExportOutcome::default();
        for endpoint in self.endpoints.running() {
            encode::encode(snapshot, &endpoint.content, &mut outcome, |batch| endpoint.push(batch));
        }
        Ok(outcome)
    }

    fn finish(&mut self, patience: Duration) -> Result<(), ExportError> {
        self.endpoints.finish(patience)
    }
}
