//! Exponential buckets of f64 magnitudes, at Prometheus' bounds.

use std::f64::consts::SQRT_2;
use std::sync::LazyLock;
use std::{fmt, iter};

use crate::model::{NativeHistogram, coarser};

/// Bits of an f64's mantissa.
const MANTISSA_BITS: u32 = 52;
const MANTISSA: u64 = (1 << MANTISSA_BITS) - 1;
/// The exponent that the bits of 1.0 hold.
const BIAS: u32 = 1023;

/// Buckets of a schema: bucket `i` of schema `S` holds magnitudes above 2^((i-1)/2^S), up to and with 2^(i/2^S), so every
/// power of two is cut into 2^S of them.
///
/// That is how Prometheus' native histograms are defined. A bucket of a lesser schema is a whole number of these.
///
/// In words: of the bounds within one power of two, count those below the mantissa; with the exponent before it, that is
/// the bucket. But a binary search would be six steps of one comparison each. So the bits of the f64 are taken as the
/// number of a log-linear bucket (exponent and the first `S` mantissa bits), and a table says how far the exponential one
/// is ahead of it. The table has twice as many cells as there are buckets, so that at most one bound lies in a cell.
///
/// ```text
///    0 10000000001 0111010111...   5.84, in schema 4
///      `--------------' exponent and 4 bits: log-linear bucket 1025 * 16 + 7
///                  `---' 5 bits: cell 14, whose beginning is 2 buckets ahead, in 1025 * 16 + 9
///                  `--------' the mantissa does not exceed the bound in that cell, so it is not ahead by one more
/// ```
#[derive(PartialEq)]
pub(super) struct Grid {
    /// From 1 to 12.
    schema: u32,
    /// The mantissa bits of each bound within a power of two, ascending.
    bounds: Box<[u64]>,
    /// Of each cell: in the upper 12 bits, how many buckets its beginning is ahead of the log-linear ones; in the others,
    /// how much may be added before they carry.
    cells: Box<[u64]>,
}

/// By digits: the coarsest schemas with that error, as [`Grid::of_digits`] says.
static GRIDS: [LazyLock<Grid>; 4] = [
    LazyLock::new(|| Grid::new(2)),
    LazyLock::new(|| Grid::new(6)),
    LazyLock::new(|| Grid::new(9)),
    LazyLock::new(|| Grid::new(12)),
];

impl Grid {
    /// The coarsest grid whose middles are within a relative error of `10^-digits`; `digits` from 1 to 4.
    ///
    /// A middle that is as far from both bounds, measured by each bound, is `(g - 1) / (g + 1)` away from either, where
    /// `g` = 2^(2^-schema) is what one bound is of the one before: 0.086, 0.0054, 0.00068 and 0.000085.
    pub(super) fn of_digits(digits: u8) -> &'static Self {
        &GRIDS[usize::from(digits.clamp(1, 4) - 1)]
    }

    fn new(schema: u32) -> Self {
        let bounds: Box<[u64]> = bounds(schema).into_iter().map(|bound| bound.to_bits() & MANTISSA).collect();
        let cell = |cell: u64| {
            let begin = cell << (MANTISSA_BITS - 1 - schema);
            let below = bounds.partition_point(|&bound| bound < begin);
            let ahead = below as u64 - cell / 2;
            let bound = bounds.get(below).copied().unwrap_or(MANTISSA);
            ahead << MANTISSA_BITS | (MANTISSA - bound)
        };
        Self { schema, cells: (0..2 << schema).map(cell).collect(), bounds }
    }

    /// Each power of two is cut into 2^schema buckets; at most 12.
    pub(super) fn schema(&self) -> u32 {
        self.schema
    }

    /// The bucket that holds a magnitude, which is a normal f64: Prometheus' index, but counted so that it is never
    /// negative.
    #[inline(always)]
    pub(super) fn bucket(&self, magnitude: f64) -> u32 {
        let bits = magnitude.to_bits();
        let mantissa = bits & MANTISSA;
        let cell = self.cells[(mantissa >> (MANTISSA_BITS - 1 - self.schema)) as usize];
        let ahead = (cell + mantissa) >> MANTISSA_BITS;
        ((bits >> (MANTISSA_BITS - self.schema)) + ahead) as u32
    }

    /// Prometheus' index of a bucket: that of the bucket whose upper bound is 1 is 0.
    fn index(&self, bucket: u32) -> i32 {
        bucket.cast_signed() - (BIAS << self.schema).cast_signed()
    }

    /// Buckets of these magnitudes as those of a native histogram of a schema, or of this one if that is coarser. Both sides
    /// ascend.
    pub(super) fn native(
        &self,
        schema: i8,
        zero: f64,
        positive: impl IntoIterator<Item = (u32, f64)>,
        negative: impl IntoIterator<Item = (u32, f64)>,
    ) -> NativeHistogram {
        // At most 12.
        let own = self.schema as i8;
        let schema = schema.min(own);
        let index = |(bucket, weight)| (self.index(bucket), weight);
        let positive = coarser(positive.into_iter().map(index), own - schema);
        let negative = coarser(negative.into_iter().map(index), own - schema);
        NativeHistogram::new(schema, zero, positive, negative)
    }

    /// The value for which a bucket stands, as far from one bound as from the other: their harmonic mean.
    pub(super) fn middle(&self, bucket: u32) -> f64 {
        let (lower, upper) = (self.upper_bound(bucket - 1), self.upper_bound(bucket));
        2.0 * lower / (lower + upper) * upper
    }

    fn upper_bound(&self, bucket: u32) -> f64 {
        let within = bucket as usize & (self.bounds.len() - 1);
        f64::from_bits(u64::from(bucket >> self.schema) << MANTISSA_BITS | self.bounds[within])
    }
}

/// Without the tables.
impl fmt::Debug for Grid {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Grid").field("schema", &self.schema).finish_non_exhaustive()
    }
}

/// The bounds of a schema from 0.5 to below 1, to the last bit those of `nativeHistogramBounds` in Prometheus'
/// `client_golang`, and calculated like them: each second one is one of the schema before, so that its buckets are whole
/// numbers of these; those between are the ones before them times 2^(2^-schema).
pub(super) fn bounds(schema: u32) -> Vec<f64> {
    // By Go's `math.Exp2`, the first factor is the f64 before the one that is nearest to the square root of 2. Square roots
    // are rounded alike on all machines, which powers are not.
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

    /// As `client_golang` does it (`histogramCounts.observe`): among the bounds, by a search.
    fn searched(schema: u32, magnitude: f64) -> i32 {
        let bounds = bounds(schema);
        let exponent = i32::try_from(magnitude.to_bits() >> MANTISSA_BITS).unwrap() - BIAS.cast_signed();
        let fraction = magnitude / 2_f64.powi(exponent + 1);
        assert!((0.5..1.0).contains(&fraction));
        i32::try_from(bounds.partition_point(|&bound| bound < fraction)).unwrap() + (exponent << schema)
    }

    fn grid() -> impl Strategy<Value = &'static Grid> {
        (1_u8..=4).prop_map(Grid::of_digits)
    }

    #[test]
    fn bounds_are_those_of_prometheus() {
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
    fn bounds_are_powers_of_two_as_far_as_a_few_roundings_go() {
        for schema in 0..=12 {
            for (number, bound) in bounds(schema).into_iter().enumerate() {
                let exact = (number as f64 / 2_f64.powi(schema.cast_signed()) - 1.0).exp2();
                assert!((bound / exact - 1.0).abs() < 1e-15, "{number} of {schema}: {bound}");
            }
        }
    }

    #[test]
    fn a_schema_has_every_second_bound_of_the_next() {
        for schema in 0..12 {
            let next = bounds(schema + 1);
            assert!(next.is_sorted_by(|a, b| a < b) && next.iter().all(|bound| *bound < 1.0));
            assert_eq!(bounds(schema), next.into_iter().step_by(2).collect::<Vec<_>>());
        }
    }

    #[test]
    fn bounds_belong_to_the_bucket_below_and_the_next_f64_to_the_one_above() {
        for grid in (1..=4).map(Grid::of_digits) {
            for exponent in [-29, -1, 0, 1, 39] {
                for (number, bound) in (0..).zip(bounds(grid.schema)) {
                    let bound = bound * 2_f64.powi(exponent + 1);
                    let index = (exponent << grid.schema) + number;
                    assert_eq!(grid.index(grid.bucket(bound)), index, "{bound}");
                    assert_eq!(grid.index(grid.bucket(bound.next_up())), index + 1, "after {bound}");
                    assert_eq!(grid.upper_bound(grid.bucket(bound)), bound);
                }
            }
        }
    }

    proptest! {
        #[test]
        fn a_table_finds_the_bucket_that_a_search_finds(grid in grid(), magnitude in 1e-9..1e12, exponent in -30..39) {
            for magnitude in [magnitude, 2_f64.powi(exponent) * (1.0 + magnitude % 1.0)] {
                prop_assert_eq!(grid.index(grid.bucket(magnitude)), searched(grid.schema, magnitude));
            }
        }

        #[test]
        fn a_middle_is_as_far_from_both_bounds(grid in grid(), magnitude in 1e-9..1e12) {
            let bucket = grid.bucket(magnitude);
            let (lower, middle, upper) = (grid.upper_bound(bucket - 1), grid.middle(bucket), grid.upper_bound(bucket));
            prop_assert!(lower < magnitude && magnitude <= upper);
            let (above, below) = ((middle - lower) / lower, (upper - middle) / upper);
            prop_assert!((above - below).abs() < 1e-14, "{} and {}", above, below);
        }
    }
}
