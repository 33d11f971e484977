//! The outcome of a delivery: which rows of a snapshot are not shown as they were sent, and why.

use enum_map::{Enum, EnumMap};
use strum::{IntoStaticStr, VariantArray};

/// Counts the rows of a delivered snapshot that are not shown as they were sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ExportOutcome {
    /// Rows that are not shown.
    pub quarantined: EnumMap<QuarantineReason, u64>,
    /// Rows that are shown in another way than they were sent.
    pub merged: EnumMap<MergeReason, u64>,
}

/// The reason for which a row of a snapshot is not on Prometheus' page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum QuarantineReason {
    /// Its family has another type.
    TypeConflict,
    /// Another family has the name of its family, or a name that belongs to it, such as `x_count` of a summary `x`.
    NameTaken,
    /// Another series has the same name and labels, and the two cannot be added up.
    DuplicateSeries,
    /// The samples of a counter came to less than zero. A counter on the page may not fall.
    NegativeIncrease,
    /// Its name belongs to tallyd, Prometheus or node_exporter.
    ReservedName,
}

/// The reason for which a series is on Prometheus' page in another way than it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum MergeReason {
    /// Two of its tags became one label, and the value of the last one is shown.
    Labels,
    /// It is added to another series that has the same name and labels.
    Series,
}
