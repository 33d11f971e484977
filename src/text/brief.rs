//! Writes numbers for people, with only the digits that matter.

use std::fmt::Write;

/// Appends a number, for example `1204`, `120.4`, `0.25`, or `1.000e-5` if it is very large or small.
pub(crate) fn push_brief(text: &mut String, value: f64) {
    let magnitude = value.abs();
    let decimals = match magnitude {
        m if m != 0.0 && !(SMALLEST..LARGEST).contains(&m) => {
            // Writing to a string cannot fail.
            _ = write!(text, "{value:.3e}");
            return;
        }
        m if m >= 1e6 || m as u64 as f64 == m => 0,
        m if m >= 100.0 => 1,
        m if m >= 1.0 => 2,
        _ => 4,
    };
    if value.is_sign_negative() {
        text.push('-');
    }
    let unit = 10_u64.pow(decimals);
    let digits = round(magnitude, unit);
    text.push_str(itoa::Buffer::new().format(digits / unit));
    let mut rest = digits % unit;
    let mut place = unit;
    if rest > 0 {
        text.push('.');
    }
    while rest > 0 {
        place /= 10;
        text.push(char::from(b'0' + (rest / place) as u8));
        rest %= place;
    }
}

/// The smallest number that is written without an exponent.
const SMALLEST: f64 = 1e-3;
/// Numbers from this one on are written with an exponent.
const LARGEST: f64 = 1e15;

/// Returns `magnitude * unit`, rounded as `format!` rounds: to the nearest integer, with ties to the even one.
/// `magnitude` is 0 or from [`SMALLEST`] to [`LARGEST`], and `unit` is at most 10,000.
///
/// Every f64 is an integer times a power of two, so integers can compute the result exactly. This is several times as
/// fast as `format!`.
fn round(magnitude: f64, unit: u64) -> u64 {
    const MANTISSA: u32 = f64::MANTISSA_DIGITS - 1;
    if magnitude == 0.0 {
        return 0;
    }
    let bits = magnitude.to_bits();
    let mantissa = bits & ((1 << MANTISSA) - 1) | 1 << MANTISSA;
    // magnitude = mantissa / 2^shift. The shift is from 3 to 62, because LARGEST < 2^50 and SMALLEST > 2^-10.
    let shift = 1023 + MANTISSA - (bits >> MANTISSA) as u32;
    let product = u128::from(mantissa) * u128::from(unit);
    let below = (product >> shift) as u64;
    let rest = product - (u128::from(below) << shift);
    let half = 1 << (shift - 1);
    if rest > half || rest == half && below % 2 == 1 { below + 1 } else { below }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn brief(value: f64) -> String {
        let mut text = String::new();
        push_brief(&mut text, value);
        text
    }

    #[test]
    fn numbers_have_few_digits() {
        let cases = [
            (1204.0, "1204"),
            (0.25, "0.25"),
            (120.449, "120.4"),
            (1.234_56, "1.23"),
            (0.100_01, "0.1"),
            (0.040_01, "0.04"),
            (99.999, "100"),
            (0.0, "0"),
            (1_795_369_680.25, "1795369680"),
            (-3.10, "-3.1"),
            (1e-5, "1.000e-5"),
            (2.5e12, "2500000000000"),
            (2.5e18, "2.500e18"),
        ];
        for (value, expected) in cases {
            assert_eq!(brief(value), expected);
        }
    }

    /// Writes a number with `format!`. [`push_brief`] must write the same.
    fn formatted(value: f64) -> String {
        let decimals = match value.abs() {
            m if m != 0.0 && !(SMALLEST..LARGEST).contains(&m) => return format!("{value:.3e}"),
            m if m >= 1e6 || m.fract() == 0.0 => 0,
            m if m >= 100.0 => 1,
            m if m >= 1.0 => 2,
            _ => 4,
        };
        let text = format!("{value:.decimals$}");
        if decimals == 0 { text } else { text.trim_end_matches('0').trim_end_matches('.').to_owned() }
    }

    proptest! {
        #[test]
        fn numbers_are_rounded_as_format_rounds_them(
            value in prop_oneof![
                any::<f64>(),
                -2e6..2e6,
                -2.0..2.0,
                // Some of these lie halfway between two results.
                (-4_000_000..4_000_000, 0..14).prop_map(|(n, shift)| f64::from(n) / f64::from(1 << shift)),
                (0..1_000_000_000_000_000_i64).prop_map(|n| n as f64 / 2.0),
                prop::sample::select(&[SMALLEST, LARGEST, 0.0, -0.0][..]).prop_map(f64::next_down),
                prop::sample::select(&[SMALLEST, LARGEST, 0.0, -0.0, f64::NAN][..]),
            ],
        ) {
            prop_assert_eq!(brief(value), formatted(value));
        }
    }
}
