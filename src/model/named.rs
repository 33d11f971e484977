//! Enums whose variants have names.

use enum_map::Enum;
use strum::VariantArray;

/// An enum whose variants have names, which output and telemetry show.
///
/// Every enum with the derives `Clone, Copy, enum_map::Enum, strum::IntoStaticStr, strum::VariantArray` implements it.
/// An [`EnumMap`](enum_map::EnumMap) holds a value for each variant.
pub trait Named: Copy + Enum + VariantArray + Into<&'static str> {
    /// Returns the name of the variant, for example `bad_value`.
    #[must_use]
    fn name(self) -> &'static str {
        self.into()
    }
}

impl<E: Copy + Enum + VariantArray + Into<&'static str>> Named for E {}
