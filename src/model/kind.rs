//! The kinds of metrics.

use enum_map::Enum;
use strum::{IntoStaticStr, VariantArray};

/// The kind of a metric. The names are an interface: output and telemetry show them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub enum Kind {
    /// Clients send it as `c` or `m`.
    Counter,
    /// Clients send it as `g` or `kv`.
    Gauge,
    /// Clients send it as `ms`. Values are in milliseconds.
    Timing,
    /// Clients send it as `h`. The sender chooses the unit of the values.
    Histogram,
    /// Clients send it as `d`. The sender chooses the unit of the values.
    Distribution,
    /// Clients send it as `s`. tallyd counts its distinct members.
    Set,
}

impl Kind {
    /// Returns the type that clients write on the wire, for example `ms`.
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
    pub(crate) fn is_sampled(self) -> bool {
        !matches!(self, Kind::Gauge | Kind::Set)
    }
}
