//! Ends intervals: rotates all shards at one moment, merges what they recorded, and hands the snapshot on.

mod aggregator;
mod catalog;
mod expiry;
mod flusher;
mod merge;
mod schedule;
mod telemetry;

pub use aggregator::{Aggregator, IdleReporting, IntervalResults, ReloadableSettings};
pub use flusher::{Deliver, Drain, Flusher, Reload};
pub use schedule::{Ended, Schedule};
