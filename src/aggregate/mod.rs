//! Adds samples up: lines in, the columns of an interval out.
//!
//! ```text
//!                           +-> counters                  one sum per slot
//!  line --> resolve: slot --+-> timings, values, members  chunks of values per slot
//!     |                     +-> gauges                    shared by all shards
//!     '--> events: kept as they are
//! ```
//!
//! Nothing in here reads a clock, a socket or a configuration. Time comes as the number of the interval, and settings as
//! [`AggregationOptions`].

mod chunks;
mod columns;
mod counters;
mod counts;
mod distribution;
mod events;
mod gauges;
mod histogram;
mod layout;
mod members;
mod shard;
mod summarizer;
mod value_buffers;

pub use counts::{IngestCounts, RefusedNames};
pub use histogram::{Histogram, LARGEST, SMALLEST};
pub use shard::Shard;

pub(crate) use columns::Columns;
pub(crate) use members::Members;
pub(crate) use shard::{ShardReset, SharedState};
pub(crate) use summarizer::Summarizer;

use crate::protocol::Dialects;
use crate::resolve::ResolveOptions;

/// The settings by which lines are read and samples aggregated. They stay the same while tallyd runs.
#[derive(Debug, Clone, PartialEq)]
pub struct AggregationOptions {
    /// The settings by which lines lead to series.
    pub resolve: ResolveOptions,
    /// The dialects whose tags within names are read.
    pub dialects: Dialects,
    /// Percentiles of many values are within a relative error of `10^-digits`; 1 to 4.
    pub digits: u8,
    /// The number of values of a series and interval up to which percentiles are exact.
    pub exact_values: usize,
    /// The number of members up to which a set is counted exactly.
    pub exact_members: usize,
    /// The number of bytes of events that a shard keeps until the end of the interval.
    pub event_buffer: usize,
}

/// The values of the shipped configuration.
impl Default for AggregationOptions {
    fn default() -> Self {
        Self {
            resolve: ResolveOptions::default(),
            dialects: Dialects::ALL,
            digits: 2,
            exact_values: 512,
            exact_members: 1000,
            event_buffer: 1 << 20,
        }
    }
}
