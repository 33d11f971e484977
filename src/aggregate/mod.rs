//! Adds samples up: raw lines in, the columns of an interval out.
//!
//! ```text
//!                 known form                   +-> counters                 a sum a cell
//!  line --> forms -----------------------------+-> timings, values, members chunks of values a cell
//!             |  unknown                       +-> gauges                   shared by all shards
//!             +-> protocol::parse -> series -> registry (shared): a number for each series
//!                              '--> events: as they are
//! ```
//!
//! Nothing in here reads a clock, a socket or a configuration: time comes as the number of the interval, parameters as
//! [`Parameters`].

mod buffers;
mod counters;
mod distribution;
mod events;
mod forms;
mod gauges;
mod grid;
mod histogram;
mod identify;
mod members;
mod native;
mod pages;
mod raw;
mod registry;
mod shard;
mod summary;
mod tally;

pub use histogram::{Histogram, LARGEST, SMALLEST};
pub use native::{Native, NativeSettings};
pub use registry::Limits;
pub use shard::{Parameters, RESERVED_PREFIX, Shard, Shared};
pub use summary::{Percentile, Statistics, Summary};
pub use tally::{Refusal, RefusedNames, Tally};

pub(crate) use distribution::MILLISECONDS;
pub(crate) use identify::{identify, map};
pub(crate) use members::Members;
pub(crate) use registry::{Class, SeriesId};
pub(crate) use shard::{Columns, Renewal};
pub(crate) use summary::Summarizer;

/// The nearest finite number: sums of finite values may overflow, and a result must mean something. Opposite
/// overflows cancel each other out to 0.
pub(crate) fn finite(value: f64) -> f64 {
    if value.is_nan() { 0.0 } else { value.clamp(-f64::MAX, f64::MAX) }
}
