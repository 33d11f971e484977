//! Says how tallyd is: its version, configuration, exporters and latest interval.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;
use serde::Serialize;
use serde_json::Value;

use super::interval::Report;
use crate::export::exporter_status::{ExporterReport, ExporterStatuses};
use crate::model::time_text;

/// The configuration in force. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct ConfigurationInForce(Arc<Mutex<Value>>);

impl ConfigurationInForce {
    /// Replaces the configuration.
    pub(crate) fn set(&self, configuration: Value) {
        *self.0.lock() = configuration;
    }
}

/// What the status is made of.
#[derive(Debug)]
pub(super) struct StatusSource {
    started: SystemTime,
    started_at: Instant,
    exporters: ExporterStatuses,
    configuration: ConfigurationInForce,
}

/// The answer to `/api/v1/status`.
#[derive(Debug, Serialize)]
pub(super) struct Answer<'a> {
    version: &'static str,
    started: String,
    uptime_seconds: f64,
    exporters: Vec<ExporterReport>,
    configuration: Value,
    /// `null` before the first interval has ended.
    interval: Option<&'a Report>,
}

impl StatusSource {
    pub(super) fn new(exporters: ExporterStatuses, configuration: ConfigurationInForce) -> Self {
        Self { started: SystemTime::now(), started_at: Instant::now(), exporters, configuration }
    }

    pub(super) fn answer<'a>(&self, interval: Option<&'a Report>) -> Answer<'a> {
        Answer {
            version: env!("CARGO_PKG_VERSION"),
            started: time_text(self.started),
            uptime_seconds: self.started_at.elapsed().as_secs_f64(),
            exporters: self.exporters.report(),
            configuration: self.configuration.0.lock().clone(),
            interval,
        }
    }
}
