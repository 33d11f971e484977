//! Pushes snapshots to OpenTelemetry collectors.
//!
//! ```text
//!  snapshot --> running totals (cumulative only) --> points --> request --> gzip --> queue of each endpoint --> collector
//! ```

mod encode;
mod message;
mod point;
mod running;
mod transport;

use std::sync::Arc;
use std::time::Duration;

pub(crate) use encode::{OtlpContent, Temporality};
pub(crate) use transport::OtlpTransport;

use self::running::Running;
use super::endpoints::Endpoints;
use super::exporter::{ExportError, Exporter};
use super::outcome::ExportOutcome;
use crate::model::Snapshot;

/// The exporter `otlp`.
#[derive(Debug)]
pub(crate) struct Otlp {
    endpoints: Endpoints<OtlpContent>,
    running: Running,
}

impl Otlp {
    /// Creates an exporter that pushes to these endpoints.
    pub(crate) fn new(endpoints: Endpoints<OtlpContent>) -> Self {
        Self { endpoints, running: Running::default() }
    }
}

impl Exporter for Otlp {
    fn name(&self) -> &'static str {
        self.endpoints.exporter()
    }

    fn export(&mut self, snapshot: &Arc<Snapshot>) -> Result<ExportOutcome, ExportError> {
        let mut outcome = ExportOutcome::default();
        let endpoints = self.endpoints.running();
        if endpoints.iter().any(|endpoint| endpoint.content.temporality == Temporality::Cumulative) {
            outcome.absorbed = self.running.add(snapshot);
        }
        for endpoint in endpoints {
            encode::encode(snapshot, &self.running, &endpoint.content, &mut outcome, &mut |batch| {
                endpoint.push(batch);
            });
        }
        Ok(outcome)
    }

    fn finish(&mut self, patience: Duration) -> Result<(), ExportError> {
        self.endpoints.finish(patience)
    }
}
