//! Turns snapshots into running totals, in families with legal names, and encodes these as a page for Prometheus.
//!
//! ```text
//!  snapshot --> totals: known series ----------------> families, members --> encode: text, OpenMetrics, protobuf
//!                          |                                  ^
//!                          +--> new series: names --> admission
//!                                                         |
//!                                                         +--> quarantine: counted, and left off the page
//! ```

mod admission;
mod api;
mod encode;
mod endpoint;
mod families;
mod family_type;
mod live_page;
mod names;
mod percentile_window;
mod placements;
mod remote_write;
mod render_cache;
mod saved_totals;
mod scrape_interval;
#[cfg(test)]
mod tests;
mod totals;

pub(crate) use api::{ApiAccess, ApiOptions, ConfigurationInForce};
pub use encode::Format;
pub(crate) use endpoint::{Endpoint, Health, Pages, ReloadRequest, check_web};
pub use names::Naming;
pub(crate) use remote_write::{ProbeResult, RemoteWrite, RemoteWriteTransport, probe};
pub use remote_write::{RemoteWriteContent, Version, encode_remote_write};
pub use saved_totals::SavedTotals;
pub use totals::Totals;
