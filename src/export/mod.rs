//! Delivers snapshots. Each exporter has a thread of its own behind a bounded queue.

mod append;
mod console;
mod endpoint;
mod exporter;
mod handle;
mod outcome;
pub mod prometheus;
mod textfile;

pub use console::{Console, Format};
pub use endpoint::{
    Closing, Endpoint, Protection, Reload, RequestCounts, Requests, Serving, WebError, WebState, check_web,
};
pub use exporter::{ExportError, Exporter};
pub use handle::ExporterHandle;
pub use outcome::{ExportOutcome, MergeReason, QuarantineReason};
pub use textfile::{OnExit, Textfile};
