//! The types of metrics.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

/// What a sample counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Kind {
    /// `c`, and `m`.
    Counter,
    /// `g`, and `kv`.
    Gauge,
    /// `ms`: milliseconds.
    Timing,
    /// `h`: values in the unit the sender chose.
    Histogram,
    /// `d`: likewise.
    Distribution,
    /// `s`: distinct members.
    Set,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Kind; 6] =
        [Kind::Counter, Kind::Gauge, Kind::Timing, Kind::Histogram, Kind::Distribution, Kind::Set];

    /// The type as it stands on the wire, for example `ms`.
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

    /// Whether `@rate` scales a sample of this kind.
    #[must_use]
    pub fn is_sampled(self) -> bool {
        !matches!(self, Kind::Gauge | Kind::Set)
    }
}
