//! Pushes running totals to servers by Prometheus' remote write.
//!
//! ```text
//!  snapshot --> totals --> encode: one request per MiB --> compress --> queue of each endpoint --> transport --> server
//! ```

mod encode;
mod message;
mod probe;
mod transport;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

pub use encode::{RemoteWriteContent, Version, encode_remote_write};
pub(crate) use probe::{ProbeResult, probe};
pub(crate) use transport::RemoteWriteTransport;

use crate::export::endpoints::Endpoints;
use crate::export::exporter::{ExportError, Exporter};
use crate::export::outcome::ExportOutcome;
use crate::export::prometheus::totals::Totals;
use crate::model::Snapshot;

/// How often requests of version 1.0 have the types and the help of the families. Prometheus sends them as often.
const METADATA_INTERVAL: Duration = Duration::from_mins(1);

/// The exporter `remote_write`.
#[derive(Debug)]
pub(crate) struct RemoteWrite {
    totals: Totals,
    endpoints: Endpoints<RemoteWriteContent>,
    /// The end of the interval whose requests had the types and the help of the families.
    latest_metadata: Option<SystemTime>,
}

impl RemoteWrite {
    /// Creates an exporter that pushes to these endpoints.
    pub(crate) fn new(totals: Totals, endpoints: Endpoints<RemoteWriteContent>) -> Self {
        Self { totals: totals.with_gone_members(), endpoints, latest_metadata: None }
    }
}

impl Exporter for RemoteWrite {
    const KEEPS_TOTALS: bool = true;

    fn name(&self) -> &'static str {
        self.endpoints.exporter()
    }

    fn export(&mut self, snapshot: &Arc<Snapshot>) -> Result<ExportOutcome, ExportError> {
        let outcome = self.totals.add(snapshot);
        let age = self.latest_metadata.map(|latest| snapshot.time.duration_since(latest).unwrap_or_default());
        let with_metadata = age.is_none_or(|age| age >= METADATA_INTERVAL);
        if with_metadata {
            self.latest_metadata = Some(snapshot.time);
        }
        for endpoint in self.endpoints.running() {
            let moment = (snapshot.time, with_metadata);
            encode::encode(&self.totals, &endpoint.content, moment, |batch| endpoint.push(batch));
        }
        Ok(outcome)
    }

    fn state(&self) -> Option<Vec<u8>> {
        Some(self.totals.encode())
    }

    fn finish(&mut self, patience: Duration) -> Result<(), ExportError> {
        self.endpoints.finish(patience)
    }
}
