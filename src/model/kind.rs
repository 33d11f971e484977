//! The kinds of metrics.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

/// The kind of a metric. The names are an interface: output and telemetry show them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Kind {
    /// `c` and `m`.
    Counter,
    /// `g` and `kv`.
    Gauge,
    /// `ms`: milliseconds.
    Timing,
    /// `h`: values in a unit that the sender chooses.
    Histogram,
    /// `d`: values in a unit that the sender chooses.
    Distribution,
    /// `s`: distinct members.
    Set,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 6] =
        [Kind::Counter, Kind::Gauge, Kind::Timing, Kind::Histogram, Kind::Distribution, Kind::Set];

    /// Returns the type as it is written on the wire, for example `ms`.
    #[must_use]
    pub fn wire(self) -> &'static str {
        match self {
            Kind::Counter => "c",
            Kind::Gauge => "g",
            Kind::Timing => "ms",
            Kind::Histogram => "h",
            Kind::Distribution => "d",
            Kind::Set => "s",
        }
    }

    /// Returns true if `@rate` scales a sample of this kind.
    #[must_use]
    pub fn is_sampled(self) -> bool {
        !matches!(self, Kind::Gauge | Kind::Set)
    }
}
