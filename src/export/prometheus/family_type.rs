//! Defines the types of families, and the lines that the members of each type have.

use crate::model::{Exposition, Kind, Policy};

/// The type of a family. All members of a family have the same one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FamilyType {
    Counter,
    Gauge,
    Summary,
    Histogram,
    /// A histogram with exponential buckets. It is a type of its own, because Prometheus 2.42 looks only at a family's
    /// first member to see whether all members have exponential buckets.
    NativeHistogram,
}

impl FamilyType {
    /// Returns the type of the family that shows a series of this kind with this policy.
    pub(super) fn of(kind: Kind, policy: &Policy) -> Self {
        match (kind, policy.exposition) {
            (Kind::Counter, _) => FamilyType::Counter,
            (Kind::Gauge | Kind::Set, _) => FamilyType::Gauge,
            (_, Exposition::Summary) => FamilyType::Summary,
            _ if policy.statistics.native.is_some() => FamilyType::NativeHistogram,
            _ => FamilyType::Histogram,
        }
    }

    /// Returns the name of the type in the text formats.
    pub(super) fn name(self) -> &'static str {
        match self {
            FamilyType::Counter => "counter",
            FamilyType::Gauge => "gauge",
            FamilyType::Summary => "summary",
            FamilyType::Histogram | FamilyType::NativeHistogram => "histogram",
        }
    }

    /// Returns the kinds of lines that a member has, in the order of the page.
    pub(super) fn lines(self) -> &'static [LineKind] {
        match self {
            FamilyType::Counter | FamilyType::Gauge => &[LineKind::Value],
            FamilyType::Summary => &[LineKind::Value, LineKind::Sum, LineKind::Count],
            FamilyType::Histogram | FamilyType::NativeHistogram => {
                &[LineKind::Buckets, LineKind::Sum, LineKind::Count]
            }
        }
    }

    /// Returns the suffixes of the lines whose name differs from the name of the family.
    pub(super) fn suffixes(self) -> impl Iterator<Item = &'static str> {
        self.lines().iter().map(|line| line.suffix()).filter(|suffix| !suffix.is_empty())
    }

    pub(super) fn is_distribution(self) -> bool {
        !matches!(self, FamilyType::Counter | FamilyType::Gauge)
    }
}

/// The lines of a member that share a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LineKind {
    /// The lines with the name of the family: a value, or one line per quantile.
    Value,
    Buckets,
    Sum,
    Count,
}

impl LineKind {
    /// Returns the text that follows the name of the family on these lines.
    pub(super) fn suffix(self) -> &'static str {
        match self {
            LineKind::Value => "",
            LineKind::Buckets => "_bucket",
            LineKind::Sum => "_sum",
            LineKind::Count => "_count",
        }
    }
}
