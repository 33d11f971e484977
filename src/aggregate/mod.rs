//! Adds up samples: lines go in, and the columns of an interval come out.
//!
//! ```text
//!                           +-> counters                  one sum per slot
//!  line --> resolve: slot --+-> timings, values, members  chunks of values per slot
//!     |                     +-> gauges                    shared by all shards
//!     '--> events: kept unchanged
//! ```
//!
//! This module reads no clock, socket or configuration. Time arrives as the number of the interval, and settings arrive
//! as [`AggregationOptions`].

mod absorbed;
mod chunks;
mod columns;
mod counters;
mod counts;
mod distribution;
mod events;
mod frequent_names;
mod gauges;
mod histogram;
mod layout;
mod line_sample;
mod members;
mod rejected;
mod shard;
mod summarizer;
mod value_buffers;

pub use counts::IngestCounts;
pub use frequent_names::FrequentNames;
pub use histogram::{Histogram, LARGEST, SMALLEST};
pub use shard::{Datagram, Shard};

pub(crate) use absorbed::Absorbed;
pub(crate) use columns::Columns;
pub(crate) use gauges::{FIRST_INTERVAL, INTERVAL_BEFORE_START};
#[cfg(test)]
pub(crate) use line_sample::LineSample;
pub(crate) use line_sample::Recorded;
pub(crate) use members::Members;
pub(crate) use shard::{ShardReset, SharedState};
pub(crate) use summarizer::Summarizer;

use crate::model::{FlushRequests, Memory};
use crate::protocol::Dialects;
use crate::resolve::ResolveOptions;

/// The settings for reading lines and aggregating samples. They do not change while tallyd runs.
#[derive(Debug, Clone, PartialEq)]
pub struct AggregationOptions {
    /// The settings that determine the series of a line.
    pub resolve: ResolveOptions,
    /// The dialects in which tags within names are read.
    pub dialects: Dialects,
    /// The digits of accuracy, from 1 to 4. Percentiles of many values are within a relative error of `10^-digits`.
    pub digits: u8,
    /// The largest number of values per series and interval whose percentiles are exact.
    pub exact_values: usize,
    /// The largest number of members that a set counts exactly.
    pub exact_members: usize,
    /// The largest number of bytes of events that a shard keeps until the end of the interval.
    pub event_buffer: usize,
    /// What people ask of the flush.
    pub requests: FlushRequests,
    /// The memory that series and values may take.
    pub memory: Memory,
}

/// The defaults are those of the shipped configuration.
impl Default for AggregationOptions {
    fn default() -> Self {
        Self {
            resolve: ResolveOptions::default(),
            dialects: Dialects::ALL,
            digits: 2,
            exact_values: 512,
            exact_members: 1000,
            event_buffer: 1 << 20,
            requests: FlushRequests::default(),
            memory: Memory::default(),
        }
    }
}
