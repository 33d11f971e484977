//! Finds the series that the samples of a line belong to.

mod arena;
mod event;
mod identity;
mod line_cache;
mod refusal;
mod registry;
mod split;

pub use event::event;
pub(crate) use event::{lossy, sorted};
pub(crate) use identity::{IdentityBuilder, identify, map};
pub(crate) use line_cache::{Entry, LineCache, LinePattern, Ruled, Target};
pub use refusal::RefuseReason;
pub use registry::Limits;
pub(crate) use registry::{AggregateKind, LimitExceeded, Registry, SeriesId};
pub(crate) use split::{SplitLine, SplitLines};
