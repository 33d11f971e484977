//! Turns weighted values into counts of whole numbers, which are all that an HDR histogram holds.

use enum_map::{Enum, EnumMap};
use strum::{IntoStaticStr, VariantArray};

/// The largest number in the log, which is the largest that Java has.
pub(super) const LARGEST: u64 = i64::MAX as u64;

/// The largest count of a series in an interval. Beyond it, an f64 does not hold every whole number.
const MOST: f64 = (1_u64 << 53) as f64;

/// The reason why the log shows another value than the client sent. The names are an interface: telemetry shows them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Enum, IntoStaticStr, VariantArray)]
#[strum(serialize_all = "snake_case")]
pub(super) enum Clamped {
    /// The value is below 0, and counts as 0.
    Negative,
    /// The value is above 0, but less than half a unit of the log. It counts as 0.
    TooSmall,
    /// The value is larger than [`LARGEST`], and counts as that.
    TooLarge,
    /// The count of the series is larger than 2^53. What is beyond is not in the log.
    TooMany,
}

/// The counts of one series in an interval.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Counts {
    /// Ascending numbers with their counts, which are above 0.
    pub(super) by_number: Vec<(u64, u64)>,
    /// The counts that are clamped, by reason.
    pub(super) clamped: EnumMap<Clamped, u64>,
    /// The part of the weight that these counts do not have yet, or have too much: from -0.5 to 0.5.
    pub(super) carried: f64,
}

impl Counts {
    /// Counts ascending values, which have `scale` units of the log each. `carried` is the weight that is left from the
    /// interval before.
    ///
    /// The count up to each value is the weight up to it, rounded. So the counts add up to the rounded weight, and no
    /// percentile moves by more than one rank.
    pub(super) fn of(values: impl Iterator<Item = (f64, f64)>, scale: f64, carried: f64) -> Self {
        let (mut by_number, mut clamped) = (Vec::<(u64, u64)>::new(), EnumMap::default());
        let (mut weight, mut counted) = (carried, 0);
        for (value, more) in values {
            weight += more;
            // The conversion of a negative number gives 0.
            let count = (weight.min(MOST).round() as u64).saturating_sub(counted);
            if count == 0 {
                continue;
            }
            counted += count;
            let (number, reason) = number(value, scale);
            if let Some(reason) = reason {
                clamped[reason] += count;
            }
            match by_number.last_mut() {
                Some((last, sum)) if *last == number => *sum += count,
                _ => by_number.push((number, count)),
            }
        }
        let carried = weight - counted as f64;
        if carried > 1.0 {
            clamped[Clamped::TooMany] += carried as u64;
        }
        // Weights such as 1/0.3 do not add up exactly.
        let is_none = carried.abs() < 1e-6 || carried > 1.0;
        Self { by_number, clamped, carried: if is_none { 0.0 } else { carried } }
    }
}

/// Returns the whole number of units that is nearest to a value, and the reason if it stands for another value.
fn number(value: f64, scale: f64) -> (u64, Option<Clamped>) {
    let units = (value * scale).round();
    if value < 0.0 {
        (0, Some(Clamped::Negative))
    } else if units > LARGEST as f64 {
        (LARGEST, Some(Clamped::TooLarge))
    } else if units == 0.0 && value > 0.0 {
        (0, Some(Clamped::TooSmall))
    } else {
        ((units as u64).min(LARGEST), None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_that_the_log_cannot_show_are_counted_by_reason() {
        let values = [(-1.0, 2.0), (0.0, 1.0), (0.000_4, 3.0), (0.000_5, 1.0), (1.0, 1.0), (1e18, 5.0)];
        let Counts { by_number, clamped, carried } = Counts::of(values.into_iter(), 1000.0, 0.0);
        assert_eq!(by_number, [(0, 6), (1, 1), (1000, 1), (LARGEST, 5)]);
        assert_eq!(clamped.into_array(), [2, 3, 5, 0]);
        assert_eq!(carried, 0.0);
        let much = Counts::of([(1.0, 1e300)].into_iter(), 1.0, 0.0);
        assert_eq!((much.by_number, much.carried), (vec![(1, 1 << 53)], 0.0));
        assert_eq!(much.clamped[Clamped::TooMany], u64::MAX);
    }

    #[test]
    fn the_fraction_of_a_weight_is_carried_to_the_next_value_and_interval() {
        let third = 1.0 / 0.3;
        let first = Counts::of([(1.0, third), (2.0, third)].into_iter(), 1.0, 0.0);
        assert_eq!(first.by_number, [(1, 3), (2, 4)]);
        let second = Counts::of([(5.0, third)].into_iter(), 1.0, first.carried);
        assert_eq!((second.by_number, second.carried), (vec![(5, 3)], 0.0));
    }

    proptest! {
        #[test]
        fn the_counts_of_all_intervals_are_the_rounded_sum_of_the_weights(
            intervals in proptest::collection::vec(proptest::collection::vec((-10.0..1e9, 0.01..=1.0), 0..40), 1..20),
        ) {
            let (mut carried, mut counted, mut sum) = (0.0, 0, 0.0);
            for mut interval in intervals {
                interval.sort_by(|a: &(f64, f64), b| a.0.total_cmp(&b.0));
                let weighted: Vec<_> = interval.iter().map(|&(value, rate)| (value, 1.0 / rate)).collect();
                let counts = Counts::of(weighted.iter().copied(), 1e3, carried);
                prop_assert!(counts.by_number.is_sorted_by(|a, b| a.0 < b.0));
                prop_assert!(counts.carried.abs() <= 0.5);
                // No percentile moves by more than one rank: up to each number, the count is the rounded weight.
                let mut up_to = 0;
                for &(number, count) in &counts.by_number {
                    up_to += count;
                    let below = weighted.iter().filter(|(value, _)| super::number(*value, 1e3).0 <= number);
                    let weight = below.map(|pair| pair.1).sum::<f64>() + carried;
                    prop_assert!((up_to as f64 - weight).abs() <= 0.5 + 1e-6, "{up_to} for {weight}");
                }
                counted += up_to;
                sum += weighted.iter().map(|pair| pair.1).sum::<f64>();
                carried = counts.carried;
                let is_rounded = (counted as f64 - sum).abs() <= 0.5 + 1e-5;
                prop_assert!(is_rounded, "{counted} of {sum}");
            }
        }
    }
}
