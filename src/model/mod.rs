//! Holds the types that all stages share.

mod arithmetic;
mod encoding;
mod event;
mod kind;
mod memory;
mod named;
mod native_histogram;
mod percentile;
mod policy;
mod series;
mod snapshot;
mod statistics;
mod telemetry;
mod thinned;
mod warn_once;

pub(crate) use arithmetic::{MILLISECONDS, absorbs, finite, nanoseconds};
pub use encoding::InvalidState;
pub(crate) use encoding::{Decoder, Encoder, TOUCHED_AT_ONCE};
pub use event::{AlertType, Event, Priority};
pub use kind::Kind;
pub use memory::{Claim, Memory, MemoryPart};
pub use named::Named;
pub(crate) use native_histogram::coarser;
pub use native_histogram::{NativeHistogram, NativeSettings};
pub use percentile::Percentile;
pub(crate) use policy::HeldPolicy;
pub use policy::{Exposition, Policies, Policy, PolicyId, Share};
pub(crate) use series::{CONTAINER_ID, NO_VALUE, SERVICE_CHECK, code, split_name};
pub use series::{RESERVED_PREFIX, Series};
pub use snapshot::{Iter, Overview, Row, Rows, Snapshot, Value};
pub use statistics::{Statistics, Summary};
pub use telemetry::{Counter, Gauge, Telemetry};
pub(crate) use telemetry::{FetchedCounter, Source};
pub(crate) use thinned::{Repeated, Thinned};
pub(crate) use warn_once::WarnOnce;
