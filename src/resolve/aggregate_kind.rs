//! The kinds of aggregates.

use enum_map::Enum;
use strum::VariantArray;

use crate::model::Kind;

/// The kinds of aggregates. The series of one aggregate kind are stored in the same way and share one numbering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, VariantArray)]
pub(crate) enum AggregateKind {
    Counter,
    Gauge,
    /// Timings in milliseconds. Prometheus gets them in seconds.
    Timing,
    /// Histograms and distributions.
    Distribution,
    Set,
}

impl AggregateKind {
    pub(crate) fn of(kind: Kind) -> Self {
        match kind {
            Kind::Counter => AggregateKind::Counter,
            Kind::Gauge => AggregateKind::Gauge,
            Kind::Timing => AggregateKind::Timing,
            Kind::Histogram | Kind::Distribution => AggregateKind::Distribution,
            Kind::Set => AggregateKind::Set,
        }
    }
}
