//! Counts the rows of a snapshot that an exporter leaves out or shows differently, by reason.

use enum_map::{Enum, EnumMap};
use strum::{IntoStaticStr, VariantArray};

/// Counts the rows of a snapshot that an exporter leaves out or shows differently.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExportOutcome {
    /// Rows that are left out.
    pub quarantined: EnumMap<QuarantineReason, u64>,
    /// Rows that differ from what the client sent.
    pub merged: EnumMap<MergeReason, u64>,
    /// Rows that changed no running total, because the total is too large.
    pub absorbed: u64,
    /// Rows whose percentiles cover only the latest interval, because the memory for series has no room for a window.
    pub windows_dropped: u64,
}

/// The reason why a row of a snapshot is not on the Prometheus page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum QuarantineReason {
    /// The family of the row has another type.
    TypeConflict,
    /// Another family has this family's name, or a line of this name, such as `x_count` of a summary `x`.
    NameTaken,
    /// Another series has the same name and labels, and the two cannot be added up.
    DuplicateSeries,
    /// The samples of a counter add up to less than zero. A counter on the page may not fall.
    NegativeIncrease,
    /// The name belongs to tallyd, Prometheus or node_exporter.
    ReservedName,
}

/// The reason why a series on the Prometheus page differs from what the client sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum MergeReason {
    /// Two of its tags became one label, which shows the last value.
    Labels,
    /// The series is added to another series with the same name and labels.
    Series,
}
