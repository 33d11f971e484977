//! Native histograms, as Prometheus defines them.

use std::iter;
use std::ops::RangeInclusive;

use super::arithmetic::finite;
use super::percentile::Percentile;

/// The settings of a native histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NativeSettings {
    /// The finest schema: one of [`NativeHistogram::SCHEMAS`].
    pub schema: i8,
    /// The largest number of buckets, without the zero bucket; 0 means no limit. tallyd lowers the schema until the
    /// buckets fit.
    pub max_buckets: usize,
}

impl NativeSettings {
    pub(crate) fn limit(self, mut native: NativeHistogram) -> NativeHistogram {
        native.limit(self.max_buckets);
        native
    }
}

/// A native (sparse, exponential) histogram with weights in place of counts.
///
/// Bucket `i` of schema `n` holds values above 2^((i-1) * 2^-n), up to and including 2^(i * 2^-n). Buckets of negative
/// values have the indices of their magnitudes. Lowering the schema by one joins pairs of buckets, so any two
/// histograms can be added. See Prometheus' [native histogram
/// specification](https://prometheus.io/docs/specs/native_histograms/#schema).
#[derive(Debug, Clone, PartialEq)]
pub struct NativeHistogram {
    /// The resolution: every power of two is divided into 2^schema buckets. One of [`SCHEMAS`](Self::SCHEMAS).
    pub schema: i8,
    /// The weight of values that are exactly zero.
    pub zero: f64,
    /// The indices and weights of non-empty buckets, by ascending index.
    pub positive: Vec<(i32, f64)>,
    /// The indices and weights of non-empty buckets of negative values, by ascending index.
    pub negative: Vec<(i32, f64)>,
}

impl NativeHistogram {
    /// Returns the memory of the histogram, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        let buckets = self.positive.capacity() + self.negative.capacity();
        size_of::<Self>() + buckets * size_of::<(i32, f64)>()
    }

    /// The schemas that Prometheus accepts.
    pub const SCHEMAS: RangeInclusive<i8> = -4..=8;

    /// Creates a histogram from buckets with ascending indices. Adds up the weights of a repeated index.
    #[must_use]
    pub fn new(
        schema: i8,
        zero: f64,
        positive: impl IntoIterator<Item = (i32, f64)>,
        negative: impl IntoIterator<Item = (i32, f64)>,
    ) -> Self {
        debug_assert!(Self::SCHEMAS.contains(&schema), "schema {schema}");
        Self { schema, zero, positive: gathered(positive), negative: gathered(negative) }
    }

    /// Returns the coarsest of [`SCHEMAS`](Self::SCHEMAS) whose buckets grow by at most `factor` from one to the next,
    /// or else the finest.
    ///
    /// Each bound is 2^(2^-schema) times the previous one. Hence the schema is -floor(log2(log2(factor))), as in
    /// `client_golang` (`pickSchema`). The code compares roots instead of logarithms, so a factor that is such a power
    /// gets exactly its schema.
    #[must_use]
    pub(crate) fn schema_of(factor: f64) -> i8 {
        let (coarsest, finest) = Self::SCHEMAS.into_inner();
        let begin = f64::from(1_u32 << (1 << -coarsest));
        let growths = iter::successors(Some(begin), |growth: &f64| Some(growth.sqrt()));
        let found = (coarsest..finest).zip(growths).find(|&(_, growth)| growth <= factor);
        found.map_or(finest, |(schema, _)| schema)
    }

    /// Returns the weight of all values.
    #[must_use]
    pub fn weight(&self) -> f64 {
        let buckets = self.positive.iter().chain(&self.negative);
        buckets.fold(self.zero, |sum, (_, weight)| finite(sum + weight))
    }

    /// Returns percentiles by nearest rank. Each is the middle of the bucket of that rank. `percentiles` must ascend.
    pub(crate) fn percentiles(&self, percentiles: &[Percentile]) -> impl Iterator<Item = f64> {
        let negative = self.negative.iter().rev().map(|&(index, weight)| (-self.middle(index), weight));
        let positive = self.positive.iter().map(|&(index, weight)| (self.middle(index), weight));
        let mut buckets = negative.chain([(0.0, self.zero)]).chain(positive).filter(|bucket| bucket.1 > 0.0);
        let count = self.weight();
        let (mut value, mut below) = (0.0, 0.0);
        percentiles.iter().map(move |percentile| {
            while below < percentile.rank(count)
                && let Some((middle, weight)) = buckets.next()
            {
                value = middle;
                below += weight;
            }
            value
        })
    }

    /// Returns the upper bound of the bucket with this index.
    pub(crate) fn bound(&self, index: i32) -> f64 {
        (f64::from(index) * f64::from(-self.schema).exp2()).exp2()
    }

    /// Returns the middle of the bucket with this index.
    pub(crate) fn middle(&self, index: i32) -> f64 {
        f64::midpoint(self.bound(index - 1), self.bound(index))
    }

    /// Returns the upper bound and the weight of each non-empty bucket, by ascending values.
    pub(crate) fn buckets(&self) -> impl Iterator<Item = (f64, f64)> {
        let negative = self.negative.iter().rev().map(|&(index, weight)| (-self.bound(index - 1), weight));
        let positive = self.positive.iter().map(|&(index, weight)| (self.bound(index), weight));
        negative.chain([(0.0, self.zero)]).chain(positive).filter(|bucket| bucket.1 > 0.0)
    }

    /// Adds another histogram. The sum has the coarser of the two schemas.
    pub fn add(&mut self, other: &Self) {
        self.reduce_to(other.schema);
        let steps = other.schema - self.schema;
        self.zero = finite(self.zero + other.zero);
        for (own, others) in [(&mut self.positive, &other.positive), (&mut self.negative, &other.negative)] {
            merge(own, coarser(others.iter().copied(), steps));
        }
    }

    /// Lowers the schema to `schema` if that is coarser. Each value stays in its right bucket.
    pub(crate) fn reduce_to(&mut self, schema: i8) {
        let schema = schema.max(*Self::SCHEMAS.start());
        if schema < self.schema {
            for buckets in [&mut self.positive, &mut self.negative] {
                *buckets = gathered(coarser(buckets.iter().copied(), self.schema - schema));
            }
            self.schema = schema;
        }
    }

    /// Lowers the schema until at most `max_buckets` buckets remain or no coarser schema exists. 0 means no limit.
    pub fn limit(&mut self, max_buckets: usize) {
        let is_coarsest = |schema| schema <= *Self::SCHEMAS.start();
        while max_buckets > 0
            && self.positive.len() + self.negative.len() > max_buckets
            && !is_coarsest(self.schema)
        {
            self.reduce_to(self.schema - 1);
        }
    }
}

/// Returns the buckets in a schema that is coarser by `steps`. Each step joins pairs of buckets.
pub(crate) fn coarser(
    buckets: impl IntoIterator<Item = (i32, f64)>,
    steps: i8,
) -> impl Iterator<Item = (i32, f64)> {
    // A bucket includes its upper bound: 1 and 2 become 1, 3 and 4 become 2.
    buckets.into_iter().map(move |(index, weight)| (((index - 1) >> steps) + 1, weight))
}

/// Adds up the weights of repeated indices in ascending buckets.
fn gathered(buckets: impl IntoIterator<Item = (i32, f64)>) -> Vec<(i32, f64)> {
    let mut gathered = Vec::new();
    buckets.into_iter().for_each(|bucket| append(&mut gathered, bucket));
    gathered
}

fn append(buckets: &mut Vec<(i32, f64)>, (index, weight): (i32, f64)) {
    debug_assert!(buckets.last().is_none_or(|last| last.0 <= index), "buckets ascend");
    match buckets.last_mut() {
        Some(last) if last.0 == index => last.1 = finite(last.1 + weight),
        _ => buckets.push((index, weight)),
    }
}

/// Adds ascending buckets to `own`. A running total already has most of the buckets.
fn merge(own: &mut Vec<(i32, f64)>, others: impl Iterator<Item = (i32, f64)>) {
    let mut missing = Vec::new();
    let mut place = 0;
    for (index, weight) in others {
        place += own[place..].iter().take_while(|bucket| bucket.0 < index).count();
        match own.get_mut(place) {
            Some(bucket) if bucket.0 == index => bucket.1 = finite(bucket.1 + weight),
            _ => append(&mut missing, (index, weight)),
        }
    }
    if !missing.is_empty() {
        own.append(&mut missing);
        // A stable sort merges the two ascending runs.
        own.sort_by_key(|bucket| bucket.0);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Side = BTreeMap<i32, f64>;

    fn any_side() -> impl Strategy<Value = Side> {
        proptest::collection::btree_map(-700..700, (1..9).prop_map(f64::from), 0..40)
    }

    fn any_native() -> impl Strategy<Value = NativeHistogram> {
        (NativeHistogram::SCHEMAS, 0..9, any_side(), any_side()).prop_map(
            |(schema, zero, positive, negative)| {
                NativeHistogram::new(schema, f64::from(zero), positive, negative)
            },
        )
    }

    /// Returns the upper bound of a bucket by the definition.
    fn upper_bound(schema: i8, index: i32) -> f64 {
        (f64::from(index) * f64::from(-schema).exp2()).exp2()
    }

    proptest! {
        #[test]
        fn a_coarser_bucket_encloses_the_finer_one_and_shares_its_bounds(index in -9000..9000, schema in -3_i8..=8, steps in 0_i8..5) {
            let steps = steps.min(schema + 4);
            let (outer, _) = coarser([(index, 1.0)], steps).next().unwrap();
            // These bounds count finer buckets.
            let (lower, upper) = ((outer - 1) << steps, outer << steps);
            prop_assert!(lower < index && index <= upper);
        }

        #[test]
        fn reducing_the_schema_in_steps_or_at_once_keeps_all_weight(native in any_native(), schemas in (NativeHistogram::SCHEMAS, NativeHistogram::SCHEMAS)) {
            let mut in_steps = native.clone();
            in_steps.reduce_to(schemas.0);
            in_steps.reduce_to(schemas.1);
            let mut at_once = native.clone();
            at_once.reduce_to(schemas.0.min(schemas.1));
            prop_assert_eq!(&in_steps, &at_once);
            prop_assert_eq!(at_once.schema, native.schema.min(schemas.0).min(schemas.1));
            prop_assert_eq!(at_once.weight(), native.weight());
            prop_assert!(at_once.positive.is_sorted_by(|a, b| a.0 < b.0));
        }

        #[test]
        fn addition_works_in_any_order_and_keeps_all_weight(natives in (any_native(), any_native(), any_native())) {
            let sum = |order: [&NativeHistogram; 3]| {
                let mut sum = order[0].clone();
                order[1..].iter().for_each(|other| sum.add(other));
                sum
            };
            let (a, b, c) = &natives;
            let whole = sum([a, b, c]);
            prop_assert_eq!(&whole, &sum([c, a, b]));
            prop_assert_eq!(&whole, &sum([b, c, a]));
            prop_assert_eq!(whole.schema, a.schema.min(b.schema).min(c.schema));
            prop_assert_eq!(whole.weight(), a.weight() + b.weight() + c.weight());
        }

        #[test]
        fn the_sum_of_one_schema_is_the_sum_of_its_buckets(a in any_side(), b in any_side()) {
            let mut sum = NativeHistogram::new(3, 0.0, a.clone(), []);
            sum.add(&NativeHistogram::new(3, 0.0, b.clone(), []));
            let mut expected = a;
            b.into_iter().for_each(|(index, weight)| *expected.entry(index).or_default() += weight);
            prop_assert_eq!(sum.positive, expected.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn a_limit_lowers_the_schema_only_as_far_as_needed(native in any_native(), max_buckets in 1_usize..50) {
            let buckets = |native: &NativeHistogram| native.positive.len() + native.negative.len();
            let mut limited = native.clone();
            limited.limit(max_buckets);
            prop_assert!(buckets(&limited) <= max_buckets || limited.schema == -4);
            let mut finer = native.clone();
            finer.reduce_to(limited.schema + 1);
            prop_assert!(limited.schema == native.schema || buckets(&finer) > max_buckets);
            finer.reduce_to(limited.schema);
            prop_assert_eq!(limited, finer);
        }

        #[test]
        fn a_schema_is_the_coarsest_that_grows_by_at_most_the_factor(factor in 1.003_f64..60_000.0) {
            let schema = NativeHistogram::schema_of(factor);
            prop_assert!(upper_bound(schema, 1) <= factor);
            prop_assert!(upper_bound(schema - 1, 1) > factor);
            prop_assert_eq!(f64::from(schema), -factor.log2().log2().floor());
        }
    }

    #[test]
    fn factors_have_the_schemas_of_client_golang() {
        for (factor, schema) in [
            (1e9, -4),
            (65_536.0, -4),
            (65_535.0, -3),
            (4.0, -1),
            (3.9, 0),
            (2.0, 0),
            (1.5, 1),
            (1.1, 3),
            (1.01, 7),
            (1.005, 8),
            (1.00271, 8),
            (1.000_01, 8),
        ] {
            assert_eq!(NativeHistogram::schema_of(factor), schema, "{factor}");
        }
        for schema in NativeHistogram::SCHEMAS {
            assert_eq!(NativeHistogram::schema_of(upper_bound(schema, 1)), schema);
        }
    }

    #[test]
    fn a_joined_bucket_keeps_the_upper_bound_of_the_higher_one() {
        let mut native =
            NativeHistogram::new(0, 0.0, [(-1, 1.0), (0, 2.0), (1, 4.0), (2, 8.0), (3, 16.0)], [(1, 1.0)]);
        native.reduce_to(-1);
        assert_eq!(native.positive, [(0, 3.0), (1, 12.0), (2, 16.0)]);
        assert_eq!(native.negative, [(1, 1.0)]);
        native.limit(0);
        assert_eq!(native.schema, -1);
        native.limit(1);
        assert_eq!((native.schema, native.positive.len()), (-4, 2), "1 is a bound in every schema");
    }

    #[test]
    fn weights_stay_finite() {
        let mut native = NativeHistogram::new(1, f64::MAX, [(1, f64::MAX), (2, f64::MAX)], [(1, f64::MAX)]);
        native.add(&native.clone());
        native.reduce_to(0);
        assert_eq!(native, NativeHistogram::new(0, f64::MAX, [(1, f64::MAX)], [(1, f64::MAX)]));
        assert_eq!(native.weight(), f64::MAX);
    }
}
