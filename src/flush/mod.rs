//! Ends intervals: rotates all shards at one moment, merges what they recorded, and hands the snapshot on.

mod aggregator;
mod catalog;
mod expiry;
mod flusher;
mod merge;
mod name_series;
mod saved_series;
mod schedule;
mod series_memory;
mod talkers;
mod telemetry;

pub use aggregator::{Aggregator, IdleReporting, IntervalResults, ReloadableSettings};
pub use flusher::{CLOCK_ORIGIN, Deliver, Drain, Flusher, Reload};
pub use saved_series::{LiveSeries, RestoredSeries, SavedSeries};
pub use schedule::{Ended, Schedule};
