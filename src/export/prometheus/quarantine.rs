//! What is not on the page as it was sent, and why.

/// Why a row of a snapshot is not on the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Quarantine {
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

impl Quarantine {
    /// All reasons, in the order of their discriminants.
    pub const ALL: [Quarantine; 5] = [
        Quarantine::TypeConflict,
        Quarantine::NameTaken,
        Quarantine::DuplicateSeries,
        Quarantine::NegativeIncrease,
        Quarantine::ReservedName,
    ];

    /// The name by which telemetry counts it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Quarantine::TypeConflict => "type_conflict",
            Quarantine::NameTaken => "name_taken",
            Quarantine::DuplicateSeries => "duplicate_series",
            Quarantine::NegativeIncrease => "negative_increase",
            Quarantine::ReservedName => "reserved_name",
        }
    }
}

/// What is on the page, but not as it was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Merge {
    /// Two of its tags became one label, of which the last counts.
    Labels,
    /// It was added to a series that has the same name and labels.
    Series,
}

impl Merge {
    /// All of them, in the order of their discriminants.
    pub const ALL: [Merge; 2] = [Merge::Labels, Merge::Series];

    /// The name by which telemetry counts it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Merge::Labels => "labels",
            Merge::Series => "series",
        }
    }
}
