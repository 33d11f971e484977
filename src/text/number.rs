//! Writes numbers as text.

/// Appends the shortest text that reads back as `value`, for example `3`, `0.25` or `1e300`. Whole numbers have no
/// fraction.
pub(crate) fn push_number(text: &mut String, value: f64) {
    match whole(value) {
        Some(whole) => text.push_str(itoa::Buffer::new().format(whole)),
        None => push_shortest(text, value),
    }
}

/// Appends the shortest text that reads back as `value` and looks like a float: `3.0`.
pub(crate) fn push_float(text: &mut String, value: f64) {
    match whole(value) {
        // Most values are whole, and formatting an integer is four times as fast. Zero is excluded because integers
        // have no -0.
        Some(whole) if whole != 0 => {
            text.push_str(itoa::Buffer::new().format(whole));
            text.push_str(".0");
        }
        _ => push_shortest(text, value),
    }
}

fn push_shortest(text: &mut String, value: f64) {
    let mut buffer = zmij::Buffer::new();
    let shortest = buffer.format(value);
    if value.abs() < 1e16 {
        text.push_str(shortest);
    } else {
        // zmij writes a redundant sign before the exponent of large numbers: 1e+300.
        text.extend(shortest.split('+'));
    }
}

/// Converts a value to an integer if it is whole and has at most 15 digits.
fn whole(value: f64) -> Option<i64> {
    const LIMIT: f64 = 1e15;
    let whole = value as i64;
    (whole as f64 == value && value.abs() < LIMIT).then_some(whole)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn written_numbers_read_back_exactly() {
        let cases = [
            (3.0, "3"),
            (-2.0, "-2"),
            (0.25, "0.25"),
            (1e300, "1e300"),
            (999_999_999_999_999.0, "999999999999999"),
            (1e15, "1000000000000000.0"),
            (0.1 + 0.2, "0.30000000000000004"),
            (-0.0, "0"),
        ];
        for (value, expected) in cases {
            let mut text = String::new();
            push_number(&mut text, value);
            assert_eq!(text, expected);
            assert_eq!(text.parse::<f64>(), Ok(value));
        }
    }

    proptest! {
        #[test]
        fn floats_are_written_as_ryu_writes_them(
            value in prop_oneof![
                any::<f64>(),
                -1e3..1e3,
                (-20_000_000_000_000_000..20_000_000_000_000_000_i64).prop_map(|whole| whole as f64),
                prop::sample::select(&[0.0, -0.0, 1e15, -1e16, 1e300, -f64::MAX, 5e-324, 1e-5, f64::NAN][..]),
            ],
        ) {
            let mut text = String::new();
            push_float(&mut text, value);
            prop_assert_eq!(text, ryu::Buffer::new().format(value).to_owned());
        }
    }
}
