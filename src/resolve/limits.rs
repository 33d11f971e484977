//! The limits on series, and what counts towards them.

use enum_map::EnumMap;

use super::aggregate_kind::AggregateKind;

/// The limits on series. They do not apply to tallyd's own series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The number of series that may be alive at a time; below 2^32.
    pub series: usize,
    /// The number of bytes that the names and tags of all series may take.
    pub bytes: usize,
    /// The number of series with tags that a metric may have, unless a rule sets another limit.
    pub series_per_metric: usize,
    /// The length of a name in bytes.
    pub name: usize,
}

/// The defaults are those of the shipped configuration.
impl Default for Limits {
    fn default() -> Self {
        Self { series: 1_000_000, bytes: 256 << 20, series_per_metric: 100_000, name: 1 << 10 }
    }
}

impl Limits {
    /// The last tenth of the limits is reserved for small groups.
    const RESERVE: usize = 10;
    /// A group is small while it uses less than a hundredth of both limits. So ten groups can grow in the reserve, and
    /// a service with some thousands of series finds room there by default.
    const SMALL: usize = 100;

    pub(super) fn total(&self) -> Usage {
        Usage { series: self.series, bytes: self.bytes }
    }

    /// Returns the part of the limits that only small groups may use.
    pub(super) fn reserve(&self) -> Usage {
        Usage { series: self.series / Self::RESERVE, bytes: self.bytes / Self::RESERVE }
    }

    pub(super) fn is_small(&self, used: Usage) -> bool {
        // With low limits, a group without series is still small.
        used.series < (self.series / Self::SMALL).max(1) && used.bytes < (self.bytes / Self::SMALL).max(1)
    }
}

/// The limit that one more series would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LimitExceeded {
    /// The limit of the metric.
    Metric,
    /// The limit of the rule.
    Rule,
    Total(TotalExceeded),
    NameLength,
}

/// The limit on all series that one more series would exceed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum TotalExceeded {
    Series,
    Bytes,
    Memory,
}

/// The memory that series may take, and what each of them is expected to take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SeriesMemory {
    /// The memory that all series may take, in bytes.
    pub(crate) max: usize,
    /// The bytes for a series, besides those that depend on the length of its identity.
    pub(crate) per_series: EnumMap<AggregateKind, usize>,
    /// The bytes for each byte of an identity.
    pub(crate) per_byte: usize,
}

/// Memory without a limit.
impl Default for SeriesMemory {
    fn default() -> Self {
        Self { max: usize::MAX, per_series: EnumMap::default(), per_byte: 0 }
    }
}

impl SeriesMemory {
    /// Returns the part of the memory that only small groups may use.
    pub(super) fn reserve(&self) -> usize {
        self.max / Limits::RESERVE
    }

    /// Returns the bytes that a series takes.
    pub(super) fn of(&self, kind: AggregateKind, identity: &str) -> usize {
        self.per_series[kind] + self.per_byte * identity.len()
    }
}

/// A number of series, and the number of bytes of their identities.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Usage {
    pub(crate) series: usize,
    pub(crate) bytes: usize,
}

impl Usage {
    pub(super) fn add(&mut self, identity: &str) {
        self.series += 1;
        self.bytes += identity.len();
    }

    pub(super) fn remove(&mut self, identity: &str) {
        self.series -= 1;
        self.bytes -= identity.len();
    }
}
