//! Delivers snapshots. Each exporter has a thread of its own behind a bounded queue.

mod admin;
mod append;
mod console;
mod endpoints;
mod exporter;
mod exporter_status;
mod graphite;
mod handle;
pub mod hdr_log;
mod influxdb;
mod otlp;
mod outcome;
pub mod prometheus;
mod seen_names;
mod textfile;

pub(crate) use admin::{Admin, AdminOptions};
pub(crate) use append::has_moved;
pub use console::{Console, ConsoleFormat};
pub(crate) use endpoints::{Endpoints, Push, Wanted};
pub use exporter::{ExportError, Exporter};
pub use exporter_status::ExporterStatuses;
pub(crate) use graphite::{
    GraphiteContent, GraphiteNames, GraphiteProtocol, GraphiteTags, GraphiteTransport,
};
pub(crate) use handle::ExporterHandle;
pub use handle::{ExporterQueue, ExporterThread, Queued};
pub(crate) use hdr_log::{HdrLog, HdrLogOptions};
pub(crate) use influxdb::{InfluxContent, InfluxTransport};
pub(crate) use otlp::{Otlp, OtlpContent, OtlpTransport, Temporality};
pub use outcome::{ExportOutcome, MergeReason, QuarantineReason};
pub(crate) use prometheus::{
    Endpoint, Health, Pages, ReloadRequest, RemoteWrite, RemoteWriteContent, RemoteWriteTransport, Version,
    check_web,
};
pub(crate) use textfile::{OnExit, Textfile};
