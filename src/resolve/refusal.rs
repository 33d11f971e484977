//! The reasons for which a sample is refused.

/// Why a sample that was understood was not recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefuseReason {
    /// Its series is new, and there are `max_series` already.
    MaxSeries,
    /// Its series is new, and names and tags take `max_series_bytes` already.
    MaxSeriesBytes,
    /// Its name begins with `tallyd.`, under which tallyd reports itself.
    ReservedName,
    /// A mapping rule drops it.
    Dropped,
    /// A mapping rule leaves nothing of its name.
    EmptyName,
}

impl RefuseReason {
    /// All of them, in the order of their discriminants.
    pub const ALL: [RefuseReason; 5] = [
        RefuseReason::MaxSeries,
        RefuseReason::MaxSeriesBytes,
        RefuseReason::ReservedName,
        RefuseReason::Dropped,
        RefuseReason::EmptyName,
    ];

    /// Whether there is no room for its series.
    #[must_use]
    pub fn is_for_want_of_room(self) -> bool {
        matches!(self, RefuseReason::MaxSeries | RefuseReason::MaxSeriesBytes)
    }

    /// The name by which telemetry counts it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            RefuseReason::MaxSeries => "max_series",
            RefuseReason::MaxSeriesBytes => "max_series_bytes",
            RefuseReason::ReservedName => "reserved_name",
            RefuseReason::Dropped => "mapping_drop",
            RefuseReason::EmptyName => "mapping_empty_name",
        }
    }
}
