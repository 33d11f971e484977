//! Values as callers have them.

/// A value of a gauge, a timing, a histogram or a distribution: any number, or a [`Duration`](std::time::Duration). Whole ones
/// beyond 2^53 are rounded.
pub trait Number: Copy + Sealed {
    /// The nearest f64.
    fn number(self) -> f64;
}

/// No other type is a number.
pub trait Sealed {}

macro_rules! numbers {
    ($($type:ty)*) => {$(
        impl Sealed for $type {}

        impl Number for $type {
            #[inline]
            #[allow(clippy::cast_lossless, reason = "some of the types are wider than that")]
            fn number(self) -> f64 {
                self as f64
            }
        }
    )*};
}

numbers!(u8 u16 u32 u64 usize i8 i16 i32 i64 isize f32 f64);

impl Sealed for std::time::Duration {}

impl Number for std::time::Duration {
    /// In milliseconds.
    #[inline]
    fn number(self) -> f64 {
        // A quotient of whole nanoseconds has no more than six digits behind the point; `as_secs_f64() * 1e3` may have 17.
        self.as_nanos() as f64 / 1e6
    }
}
