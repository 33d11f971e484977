//! tallyd: a StatsD and DogStatsD server that accounts for every sample.
//!
//! The modules are listed from the bottom up. A module imports only modules above it in this list, and a test enforces
//! this:
//!
//! - `text` writes numbers, legal names and visible text, and reads YAML and durations.
//! - [`model`] holds the types that all stages share: kind, series, statistics, policy, event, snapshot, telemetry.
//! - [`protocol`] parses a line into samples, an event or a service check.
//! - [`mapping`] applies rules that give series other names and labels.
//! - [`resolve`] finds the series that the samples of a line belong to.
//! - [`aggregate`] adds up samples in shards. Each shard belongs to one receiver.
//! - [`flush`] ends intervals: it rotates all shards at one moment and merges them into a snapshot.
//! - `net` binds sockets and accepts connections.
//! - `relay` passes what was received on to other servers, as it came.
//! - [`listen`] receives datagrams and streams. Each receiver has its own shard.
//! - `http` serves HTTP, with TLS and users.
//! - `deliver` sends batches to servers, and keeps those that a server has not taken.
//! - [`state`] keeps what outlives the process in a file.
//! - [`export`] renders and delivers snapshots. Each exporter has its own thread.
//! - [`app`] is the program around them: command line, configuration, log, start and stop, and the tools.
//!
//! ```text
//!  socket ------> line ------> sample ------> series ------> aggregate ------> snapshot ------> exporters
//!  listen         protocol     protocol       resolve        aggregate         flush            export
//! ```
//!
//! Tests and benches drive the pipeline through [`flush::Aggregator`]: they feed its shards and end its intervals.

#![warn(clippy::unwrap_used)]

pub mod aggregate;
pub mod app;
mod deliver;
pub mod export;
pub mod flush;
mod http;
pub mod listen;
pub mod mapping;
pub mod model;
mod net;
pub mod protocol;
mod relay;
pub mod resolve;
pub mod state;
mod text;

/// Runs the example in the README as a test.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
