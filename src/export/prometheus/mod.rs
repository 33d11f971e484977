//! Prometheus' view of snapshots: running totals in families with legal names, and the formats of their page.
//!
//! ```text
//!  snapshot --> totals: known series --------------------------> page: families, members --> format
//!                          |                                        ^
//!                          +-> new: names --> admission ------------+
//!                                                |
//!                                                +-> quarantine: what would make the page invalid, counted
//! ```

mod admission;
mod endpoint;
mod format;
mod line;
mod merge;
mod names;
mod news;
mod openmetrics;
mod page;
#[cfg(any())]
mod plain;
mod protobuf;
mod quarantine;
mod render_cache;
mod renumbering;
mod reserved;
mod text;
mod totals;

pub use endpoint::{Endpoint, ReloadRequest, check_web};
pub use format::Format;
pub use names::Naming;
pub use quarantine::{MergeReason, QuarantineReason};
pub use totals::Totals;
