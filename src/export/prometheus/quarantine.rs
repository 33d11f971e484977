//! What is not on the page as it was sent, and why.

/// Why a row of a snapshot is not on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum QuarantineReason {
    /// Its family has another type.
    TypeConflict,
    /// Its family, or a name that belongs to it such as `x_count` of a summary `x`, is another family's.
    NameTaken,
    /// Another series has the same name and labels, and the two cannot be added up.
    DuplicateSeries,
    /// A counter's samples came to less than zero; a counter on the page may not fall.
    NegativeIncrease,
    /// Its name is one of tallyd's, Prometheus' or node_exporter's own.
    ReservedName,
}

impl QuarantineReason {
    /// All reasons, in the order of their discriminants.
    pub const ALL: [QuarantineReason; 5] = [
        QuarantineReason::TypeConflict,
        QuarantineReason::NameTaken,
        QuarantineReason::DuplicateSeries,
        QuarantineReason::NegativeIncrease,
        QuarantineReason::ReservedName,
    ];

    /// The name by which telemetry counts it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            QuarantineReason::TypeConflict => "type_conflict",
            QuarantineReason::NameTaken => "name_taken",
            QuarantineReason::DuplicateSeries => "duplicate_series",
            QuarantineReason::NegativeIncrease => "negative_increase",
            QuarantineReason::ReservedName => "reserved_name",
        }
    }
}

/// What is on the page, but not as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MergeReason {
    /// Two of its tags became one label, of which the last counts.
    Labels,
    /// It was added to a series that has the same name and labels.
    Series,
}

impl MergeReason {
    /// All of them, in the order of their discriminants.
    pub const ALL: [MergeReason; 2] = [MergeReason::Labels, MergeReason::Series];

    /// The name by which telemetry counts it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            MergeReason::Labels => "labels",
            MergeReason::Series => "series",
        }
    }
}
