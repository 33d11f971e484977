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
//! [`AggregationOptions`].

mod buffers;
mod counters;
mod counts;
mod distribution;
mod events;
mod gauges;
mod histogram;
mod layout;
mod members;
mod shard;
mod summary;

pub use counts::{IngestCounts, RefusedNames};
pub use histogram::{Histogram, LARGEST, SMALLEST};
pub use shard::{AggregationOptions, Shard, SharedState};

pub(crate) use members::Members;
pub(crate) use shard::{Columns, ShardReset};
pub(crate) use summary::Summarizer;
