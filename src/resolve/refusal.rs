//! The reasons for which a sample is refused.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

use super::LimitExceeded;

/// The reason why a sample that was understood is not recorded. The names are an interface: telemetry shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum RefuseReason {
    /// The series is new, and `max_series` series are alive already.
    MaxSeries,
    /// The series is new, and names and tags take `max_series_bytes` already.
    MaxSeriesBytes,
    /// The name begins with `tallyd.`, the prefix of tallyd's own metrics.
    ReservedName,
    /// A mapping rule drops the sample.
    MappingDrop,
    /// A mapping rule leaves nothing of the name.
    MappingEmptyName,
}

impl RefuseReason {
    /// Returns true if a limit leaves no room for the series.
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
