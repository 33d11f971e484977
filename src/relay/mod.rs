//! Passes on what listeners receive to other StatsD servers, as it came.
//!
//! ```text
//!  listener --> Outgoing --> Relay --> queue of a target --> sender --> server
//!               one copy       |       bounded               one thread for each target
//!                              +--> loops: a probe of this process that came back
//! ```
//!
//! This room knows no lines beyond their line feeds, and no aggregates. It accounts for datagrams: each one that a target
//! was given is sent, dropped for a reason, or still waiting.

mod chunk;
mod connection;
mod counts;
mod loops;
mod queue;
mod sender;
mod target;
mod targets;

pub(crate) use target::TargetOptions;
pub(crate) use targets::{Outgoing, Relay};
