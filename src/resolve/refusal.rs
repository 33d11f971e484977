//! Lists the reasons for refusing a sample.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

use super::LimitExceeded;

/// The reason why a valid sample is not recorded. Telemetry shows the names of the reasons, so they are an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum RefuseReason {
    /// The series is new, and `max_series` series are alive already.
    MaxSeries,
    /// The series is new, and its name and tags would exceed `max_series_bytes`.
    MaxSeriesBytes,
    /// The name begins with `tallyd.`, the prefix of tallyd's own metrics.
    ReservedName,
    /// A mapping rule drops the sample.
    MappingDrop,
    /// A mapping rule produces an empty name.
    MappingEmptyName,
}

impl RefuseReason {
    /// Returns true if a limit on series caused the refusal.
    #[must_use]
    pub fn is_limit(self) -> bool {
        matches!(self, RefuseReason::MaxSeries | RefuseReason::MaxSeriesBytes)
    }
}

impl From<LimitExceeded> for RefuseReason {
    fn from(limit: LimitExceeded) -> Self {
        match limit {
            LimitExceeded::Series => RefuseReason::MaxSeries,
            LimitExceeded::Bytes => RefuseReason::MaxSeriesBytes,
        }
    }
}
