//! The types that a measured value can have.

/// A value of a gauge, timing, histogram or distribution. It is any number or a [`Duration`](std::time::Duration).
/// Whole numbers beyond 2^53 are rounded.
pub trait Number: Copy + Sealed {
    /// Returns the nearest `f64`. A [`Duration`](std::time::Duration) is converted to milliseconds.
    fn number(self) -> f64;
}

/// Keeps other crates from implementing [`Number`].
pub trait Sealed {}

macro_rules! numbers {
    ($($type:ty)*) => {$(
        impl Sealed for $type {}

        impl Number for $type {
            #[inline]
            #[allow(clippy::cast_lossless, reason = "some of the types are wider than an f64's 53 bits")]
            fn number(self) -> f64 {
                self as f64
            }
        }
    )*};
}

numbers!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize f32 f64);

impl Sealed for std::time::Duration {}

impl Number for std::time::Duration {
    #[inline]
    fn number(self) -> f64 {
        // Dividing whole nanoseconds gives at most six decimals. `as_secs_f64() * 1e3` can give up to 17.
        self.as_nanos() as f64 / 1e6
    }
}
