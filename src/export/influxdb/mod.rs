//! Pushes snapshots to InfluxDB, with the names and the fields of Telegraf.

mod encode;
mod escape;
mod transport;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use encode::InfluxContent;
pub(crate) use transport::InfluxTransport;

use super::endpoints::Endpoints;
use super::exporter::{ExportError, Exporter};
use super::outcome::ExportOutcome;
use crate::model::Snapshot;

/// The exporter `influxdb`.
#[derive(Debug)]
pub(crate) struct InfluxDb {
    endpoints: Endpoints<InfluxContent>,
}

impl InfluxDb {
    /// Creates an exporter that pushes to these endpoints.
    pub(crate) fn new(endpoints: Endpoints<InfluxContent>) -> Self {
        Self { endpoints }
    }
}

impl Exporter for InfluxDb {
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
