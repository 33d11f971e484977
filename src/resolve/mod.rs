//! Finds the series that the samples of a line belong to.
//!
//! ```text
//!             known pattern
//!  line --> line cache ------------------------------------------> slot
//!             |  unknown: parsed by `protocol`                       ^
//!             +--> mapping --> identity --> registry (shared) -------+
//!                                           numbers all series
//! ```

mod aggregate_kind;
mod arena;
mod event;
mod identity;
mod limits;
mod line_cache;
mod refusal;
mod registry;
mod resolver;
mod shares;
mod split;
mod tables;
mod tags;

pub use event::event;
pub use limits::Limits;
pub use refusal::{Excess, OverflowLimit, RefuseReason};
pub use resolver::ResolveOptions;

pub(crate) use aggregate_kind::AggregateKind;
pub(crate) use identity::IdentityBuilder;
pub(crate) use limits::{SeriesMemory, Usage};
pub(crate) use line_cache::{Destination, Entry, LineCache, RuleEffect, Target};
pub(crate) use registry::{Registry, SeriesId};
pub(crate) use resolver::{NewSlot, Resolved, Resolver};
pub(crate) use split::{SplitLine, SplitLines};
pub(crate) use tags::{lossy, sorted};
