//! tallyd: a StatsD and DogStatsD server that accounts for every sample.
//!
//! The modules are the stages of the data's way:
//!
//! ```text
//!  socket ------> line ------> sample ------> aggregate ------> snapshot ------> exporters
//!  listen         protocol     protocol       aggregate         flush            export
//! ```
//!
//! - [`listen`] takes datagrams and streams off sockets, one shard a thread;
//! - [`protocol`] says what a line means;
//! - [`mapping`] gives series other names and labels by rules;
//! - [`policy`] is what rules and configuration want of series besides;
//! - [`series`] is the identity under which samples are added up;
//! - [`aggregate`] adds them up, in a shard that belongs to one receiver;
//! - [`flush`] ends intervals: cuts all shards at one moment and merges them into
//! - [`snapshot`], the immutable results of one interval;
//! - [`export`] renders snapshots and delivers them, each exporter on its own thread;
//! - [`config`], [`log`], [`cli`] and [`daemon`] start and stop it all;
//! - [`explain`] says what becomes of a line, and [`dry_run`] of many, to people who wonder;
//! - [`send`] is the other side: it sends samples, for scripts and first steps.

#![warn(clippy::unwrap_used)]

pub mod aggregate;
pub mod app;
pub mod export;
pub mod flush;
pub mod http;
pub mod listen;
pub mod mapping;
pub mod model;
pub mod net;
pub mod protocol;
pub mod resolve;
mod text;

/// Its example runs with the others.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
