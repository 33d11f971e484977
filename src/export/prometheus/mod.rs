//! Prometheus' view of snapshots: running totals in families with legal names, and their text.
//!
//! ```text
//!  snapshot --> names: family, labels --> totals: one type a family, no series twice --> text
//!                                            |
//!                                            +-> quarantine: what would make the page invalid, counted
//! ```

mod names;
#[cfg(test)]
mod plain;
mod text;
mod totals;

pub use names::Naming;
pub use text::render;
pub use totals::{Merge, Quarantine, Settings, Timings, Totals};
