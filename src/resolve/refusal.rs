//! Lists the reasons for refusing a sample, and for recording it in an overflow series.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

use super::limits::{LimitExceeded, TotalExceeded};

/// The reason why a valid sample is not recorded. Telemetry shows the names of the reasons, so they are an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum RefuseReason {
    /// The series is new, and `max_series` series are alive already.
    MaxSeries,
    /// The series is new, and its name and tags would exceed `max_series_bytes`.
    MaxSeriesBytes,
    /// There is no memory for the series, which is new, or for the value.
    Memory,
    /// The series is new, and its name is longer than `max_name`.
    NameTooLong,
    /// The name begins with `tallyd.`, the prefix of tallyd's own metrics.
    ReservedName,
    /// A mapping rule drops the sample.
    MappingDrop,
    /// A mapping rule produces an empty name.
    MappingEmptyName,
}

impl RefuseReason {
    /// Returns how a sample exceeded a limit if it was refused for this reason.
    #[must_use]
    pub fn excess(self) -> Option<Excess> {
        match self {
            RefuseReason::MaxSeries | RefuseReason::MaxSeriesBytes | RefuseReason::Memory => {
                Some(Excess::Refused)
            }
            RefuseReason::NameTooLong => Some(Excess::NameTooLong),
            RefuseReason::ReservedName | RefuseReason::MappingDrop | RefuseReason::MappingEmptyName => None,
        }
    }
}

impl From<TotalExceeded> for RefuseReason {
    fn from(limit: TotalExceeded) -> Self {
        match limit {
            TotalExceeded::Series => RefuseReason::MaxSeries,
            TotalExceeded::Bytes => RefuseReason::MaxSeriesBytes,
            TotalExceeded::Memory => RefuseReason::Memory,
        }
    }
}

/// The limit because of which a sample is recorded in an overflow series. Telemetry shows the names of the limits, so
/// they are an interface.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum OverflowLimit {
    /// The metric has `max_series_per_metric` series.
    MaxSeriesPerMetric,
    /// The rule has as many series as its own `max_series`.
    RuleMaxSeries,
    /// The metric is not small, and only the reserve of `max_series` is left.
    MaxSeries,
    /// The metric is not small, and only the reserve of `max_series_bytes` is left.
    MaxSeriesBytes,
    /// The metric is not small, and only the reserve of the memory for series is left.
    Memory,
}

/// Returns the limit, or the reason for refusing the sample if it cannot be recorded in an overflow series either.
impl TryFrom<LimitExceeded> for OverflowLimit {
    type Error = RefuseReason;

    fn try_from(exceeded: LimitExceeded) -> Result<Self, RefuseReason> {
        match exceeded {
            LimitExceeded::Metric => Ok(OverflowLimit::MaxSeriesPerMetric),
            LimitExceeded::Rule => Ok(OverflowLimit::RuleMaxSeries),
            LimitExceeded::Total(TotalExceeded::Series) => Ok(OverflowLimit::MaxSeries),
            LimitExceeded::Total(TotalExceeded::Bytes) => Ok(OverflowLimit::MaxSeriesBytes),
            LimitExceeded::Total(TotalExceeded::Memory) => Ok(OverflowLimit::Memory),
            LimitExceeded::NameLength => Err(RefuseReason::NameTooLong),
        }
    }
}

/// The ways in which samples exceed a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, VariantArray)]
pub enum Excess {
    /// The sample is recorded in an overflow series.
    Overflowed,
    /// The sample is refused, because there is no room for its series.
    Refused,
    /// The sample is refused, because its name is too long.
    NameTooLong,
}
