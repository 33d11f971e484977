//! Lays exponential buckets over f64 magnitudes, at the bounds of Prometheus' native histograms.

use std::f64::consts::SQRT_2;
use std::sync::LazyLock;
use std::{fmt, iter};

use crate::model::{NativeHistogram, coarser};

/// The number of bits of an f64's mantissa.
const MANTISSA_BITS: u32 = 52;
const MANTISSA: u64 = (1 << MANTISSA_BITS) - 1;
/// The biased exponent of 1.0.
const BIAS: u32 = 1023;

/// The buckets of a schema: bucket `i` of schema `S` holds magnitudes above 2^((i-1)/2^S), up to and including
/// 2^(i/2^S). So every power of two is divided into 2^S buckets.
///
/// Prometheus defines native histograms in this way. A bucket of a coarser schema is a whole number of these buckets.
///
/// The simple version counts the bounds within a power of two that are below the mantissa. The count and the exponent
/// give the bucket. In schema 6, that binary search takes six comparisons. Instead, this version reads the exponent and
/// the first `S` mantissa bits as the number of a log-linear bucket. A table says how far the exponential bucket is
/// ahead of it. The table has two steps per bucket, so that at most one bound lies in a step.
///
/// ```text
///    0 10000000001 0111010111...   5.84, in schema 4
///      `--------------' exponent and 4 bits: log-linear bucket 1025 * 16 + 7
///                  `---' 5 bits: step 14, whose start is 2 buckets ahead, in 1025 * 16 + 9
///                  `--------' the mantissa does not exceed the bound in that step, so it is not ahead by one more
/// ```
#[derive(PartialEq)]
pub(super) struct BucketLayout {
    /// The schema, from 1 to 12.
    schema: u32,
    /// The mantissa bits of each bound within a power of two, in ascending order.
    bounds: Box<[u64]>,
    /// One word per step. The upper 12 bits hold the number of buckets by which the start of the step is ahead of the
    /// log-linear buckets. If a mantissa exceeds the bound in the step, adding it to the lower bits carries into the
    /// upper ones.
    steps: Box<[u64]>,
}

/// The layouts by digits: the coarsest schemas that keep the error, as [`BucketLayout::of_digits`] explains.
static LAYOUTS: [LazyLock<BucketLayout>; 4] = [
    LazyLock::new(|| BucketLayout::new(2)),
    LazyLock::new(|| BucketLayout::new(6)),
    LazyLock::new(|| BucketLayout::new(9)),
    LazyLock::new(|| BucketLayout::new(12)),
];

impl BucketLayout {
    /// Returns the coarsest layout whose middles are within a relative error of `10^-digits`. `digits` is from 1 to 4.
    ///
    /// A middle has the same relative distance from both bounds: `(g - 1) / (g + 1)`. Here, `g` = 2^(2^-schema) is the
    /// ratio of one bound to the previous one. The four layouts have errors of 0.086, 0.0054, 0.00068 and 0.000085.
    pub(super) fn of_digits(digits: u8) -> &'static Self {
        &LAYOUTS[usize::from(digits.clamp(1, 4) - 1)]
    }

    fn new(schema: u32) -> Self {
        let bounds: Box<[u64]> = bounds(schema).into_iter().map(|bound| bound.to_bits() & MANTISSA).collect();
        let step = |step: u64| {
            let begin = step << (MANTISSA_BITS - 1 - schema);
            let below = bounds.partition_point(|&bound| bound < begin);
            let ahead = below as u64 - step / 2;
            let bound = bounds.get(below).copied().unwrap_or(MANTISSA);
            ahead << MANTISSA_BITS | (MANTISSA - bound)
        };
        Self { schema, steps: (0..2 << schema).map(step).collect(), bounds }
    }

    /// Returns the schema, at most 12: each power of two is divided into 2^schema buckets.
    pub(super) fn schema(&self) -> u32 {
        self.schema
    }

    /// Returns the bucket of a magnitude, which must be a normal f64. It is Prometheus' index plus a constant that
    /// makes it non-negative.
    #[inline(always)]
    pub(super) fn bucket(&self, magnitude: f64) -> u32 {
        let bits = magnitude.to_bits();
        let mantissa = bits & MANTISSA;
        let step = self.steps[(mantissa >> (MANTISSA_BITS - 1 - self.schema)) as usize];
        let ahead = (step + mantissa) >> MANTISSA_BITS;
        ((bits >> (MANTISSA_BITS - self.schema)) + ahead) as u32
    }

    /// Returns Prometheus' index of a bucket. The bucket whose upper bound is 1 has the index 0.
    fn index(&self, bucket: u32) -> i32 {
        bucket.cast_signed() - (BIAS << self.schema).cast_signed()
    }

    /// Converts buckets of this layout to a native histogram of `schema`, or of the layout's own schema if that is
    /// coarser. Both sides must be in ascending order.
    pub(super) fn native(
        &self,
        schema: i8,
        zero: f64,
        positive: impl IntoIterator<Item = (u32, f64)>,
        negative: impl IntoIterator<Item = (u32, f64)>,
    ) -> NativeHistogram {
        // The schema is at most 12.
        let own = self.schema as i8;
        let schema = schema.min(own);
        let index = |(bucket, weight)| (self.index(bucket), weight);
        let positive = coarser(positive.into_iter().map(index), own - schema);
        let negative = coarser(negative.into_iter().map(index), own - schema);
        NativeHistogram::new(schema, zero, positive, negative)
    }

    /// Returns the value that represents a bucket: the harmonic mean of its bounds, which is equally far from both in
    /// relative terms.
    pub(super) fn middle(&self, bucket: u32) -> f64 {
        let (lower, upper) = (self.upper_bound(bucket - 1), self.upper_bound(bucket));
        2.0 * lower / (lower + upper) * upper
    }

    fn upper_bound(&self, bucket: u32) -> f64 {
        let within = bucket as usize & (self.bounds.len() - 1);
        f64::from_bits(u64::from(bucket >> self.schema) << MANTISSA_BITS | self.bounds[within])
    }
}

/// Omits the tables.
impl fmt::Debug for BucketLayout {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("BucketLayout").field("schema", &self.schema).finish_non_exhaustive()
    }
}

/// Returns the bounds of a schema from 0.5 to below 1.
///
/// They equal `nativeHistogramBounds` in Prometheus' `client_golang` to the last bit, because the calculation is the
/// same. Every second bound is a bound of the next coarser schema, so a coarser bucket is a whole number of finer ones.
/// Each bound in between is the previous bound times 2^(2^-schema).
pub(super) fn bounds(schema: u32) -> Vec<f64> {
    // In Go's `math.Exp2`, the first factor is the f64 just below the one nearest to the square root of 2. The other
    // factors are square roots, because all machines round square roots alike, but not powers.
    let further = iter::successors(Some(SQRT_2.sqrt()), |factor| Some(factor.sqrt()));
    let factors = iter::once(SQRT_2.next_down()).chain(further).take(schema as usize);
    factors.fold(vec![0.5], |bounds, factor| {
        bounds.into_iter().flat_map(|bound| [bound, bound * factor]).collect()
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Finds the index by searching the bounds, as `client_golang` does (`histogramCounts.observe`).
    fn searched(schema: u32, magnitude: f64) -> i32 {
        let bounds = bounds(schema);
        let exponent = i32::try_from(magnitude.to_bits() >> MANTISSA_BITS).unwrap() - BIAS.cast_signed();
        let fraction = magnitude / 2_f64.powi(exponent + 1);
        assert!((0.5..1.0).contains(&fraction));
        i32::try_from(bounds.partition_point(|&bound| bound < fraction)).unwrap() + (exponent << schema)
    }

    fn layout() -> impl Strategy<Value = &'static BucketLayout> {
        (1_u8..=4).prop_map(BucketLayout::of_digits)
    }

    #[test]
    fn bounds_equal_those_of_prometheus() {
        assert_eq!(bounds(0), [0.5]);
        assert_eq!(bounds(1), [0.5, 0.707_106_781_186_547_5]);
        let third = [
            0.5,
            0.545_253_866_332_628_8,
            0.594_603_557_501_360_5,
            0.648_419_777_325_504_8,
            0.707_106_781_186_547_5,
            0.771_105_412_703_970_4,
            0.840_896_415_253_714_4,
            0.917_004_043_204_671_1,
        ];
        assert_eq!(bounds(3), third);
        let last = [
            0.989_228_013_193_975_2,
            0.991_910_082_425_109_5,
            0.994_599_423_483_632_8,
            0.997_296_056_085_469_8,
        ];
        assert_eq!(bounds(8)[252..], last);
    }

    #[test]
    fn bounds_are_powers_of_two_except_for_rounding() {
        for schema in 0..=12 {
            for (number, bound) in bounds(schema).into_iter().enumerate() {
                let exact = (number as f64 / 2_f64.powi(schema.cast_signed()) - 1.0).exp2();
                assert!((bound / exact - 1.0).abs() < 1e-15, "{number} of {schema}: {bound}");
            }
        }
    }

    #[test]
    fn a_schema_has_every_second_bound_of_the_next_finer_one() {
        for schema in 0..12 {
            let next = bounds(schema + 1);
            assert!(next.is_sorted_by(|a, b| a < b) && next.iter().all(|bound| *bound < 1.0));
            assert_eq!(bounds(schema), next.into_iter().step_by(2).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_bound_belongs_to_the_bucket_below_it() {
        for layout in (1..=4).map(BucketLayout::of_digits) {
            for exponent in [-29, -1, 0, 1, 39, 63] {
                for (number, bound) in (0..).zip(bounds(layout.schema)) {
                    let bound = bound * 2_f64.powi(exponent + 1);
                    let index = (exponent << layout.schema) + number;
                    assert_eq!(layout.index(layout.bucket(bound)), index, "{bound}");
                    assert_eq!(layout.index(layout.bucket(bound.next_up())), index + 1, "after {bound}");
                    assert_eq!(layout.upper_bound(layout.bucket(bound)), bound);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_table_finds_the_bucket_that_a_search_finds(layout in layout(), magnitude in 1e-9..1.8e19, exponent in -30..64) {
            for magnitude in [magnitude, 2_f64.powi(exponent) * (1.0 + magnitude % 1.0)] {
                prop_assert_eq!(layout.index(layout.bucket(magnitude)), searched(layout.schema, magnitude));
            }
        }

        #[test]
        fn a_middle_is_equally_far_from_both_bounds(layout in layout(), magnitude in 1e-9..1.8e19) {
            let bucket = layout.bucket(magnitude);
            let (lower, middle, upper) = (layout.upper_bound(bucket - 1), layout.middle(bucket), layout.upper_bound(bucket));
            prop_assert!(lower < magnitude && magnitude <= upper);
            let (above, below) = ((middle - lower) / lower, (upper - middle) / upper);
            prop_assert!((above - below).abs() < 1e-14, "{} and {}", above, below);
        }
    }
}
