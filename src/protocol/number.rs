//! Reads decimal numbers as clients write them.

/// The powers of ten that an f64 holds exactly: 10^0 to 10^22.
const POWERS_OF_TEN: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18,
    1e19, 1e20, 1e21, 1e22,
];

/// The largest number up to which an f64 holds every integer exactly.
const EXACT_INTEGERS: u64 = 1 << 53;

/// Reads all of `text` as a decimal number: an optional sign, digits with at most one point, and an optional exponent.
/// Returns `None` for any other text, and for numbers that are not finite as an f64 (`NaN`, `inf`, `1e400`).
///
/// The simple version checks the characters and calls the standard parser. The tests compare this function with it.
/// Most values are short, so one division can replace the call. This requires that the digits without the point form an
/// integer of at most 2^53, with at most 22 digits after the point. Both operands are then exact, so the result is
/// correctly rounded, like that of the standard parser (Clinger, *How to read floating point numbers accurately*,
/// 1990).
#[must_use]
#[inline(always)]
pub fn number(text: &[u8]) -> Option<f64> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, text),
    };
    // With at most 18 digits and a point, the integer below cannot overflow.
    if digits.len() > 19 {
        return general(text);
    }
    let mut integer = 0_u64;
    let mut point = None;
    for (index, &byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => integer = integer.wrapping_mul(10).wrapping_add(u64::from(byte - b'0')),
            b'.' if point.is_none() => point = Some(index),
            _ => return general(text),
        }
    }
    let (count, decimals) = match point {
        Some(index) => (digits.len() - 1, digits.len() - 1 - index),
        None => (digits.len(), 0),
    };
    if count == 0 || count > 18 || integer > EXACT_INTEGERS {
        return general(text);
    }
    let magnitude = if decimals == 0 { integer as f64 } else { integer as f64 / POWERS_OF_TEN[decimals] };
    Some(if negative { -magnitude } else { magnitude })
}

/// Reads a number as [`number`] specifies, with the standard parser.
#[cold]
fn general(text: &[u8]) -> Option<f64> {
    // The standard parser also accepts `inf`, `nan` and `infinity`, which the protocol does not.
    if !text.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'+' | b'-' | b'.' | b'e' | b'E')) {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok().filter(|value: &f64| value.is_finite())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn numbers_are_read_as_the_protocol_specifies() {
        let cases: [(&str, Option<f64>); 30] = [
            ("5", Some(5.0)),
            ("5.5", Some(5.5)),
            (".5", Some(0.5)),
            ("5.", Some(5.0)),
            ("-5", Some(-5.0)),
            ("+5", Some(5.0)),
            ("1e3", Some(1000.0)),
            ("1e-05", Some(0.000_01)),
            ("+10e1", Some(100.0)),
            ("4.696E+5", Some(469_600.0)),
            ("123456789012345678", Some(123_456_789_012_345_680.0)),
            ("1234567890123456789012", Some(1.234_567_890_123_456_8e21)),
            ("0.0000000000000000000001", Some(1e-22)),
            ("", None),
            (".", None),
            ("+", None),
            ("-.", None),
            ("--5", None),
            ("5-", None),
            ("1.2.3", None),
            ("e5", None),
            ("1e", None),
            ("NaN", None),
            ("inf", None),
            ("-infinity", None),
            ("1e400", None),
            ("0x10", None),
            ("1_000", None),
            (" 5 ", None),
            ("1d1", None),
        ];
        for (text, expected) in cases {
            assert_eq!(number(text.as_bytes()), expected, "{text:?}");
        }
    }

    #[test]
    fn negative_zero_keeps_its_sign() {
        assert!(number(b"-0").unwrap().is_sign_negative());
    }

    proptest! {
        #[test]
        fn the_fast_path_equals_the_standard_parser_to_the_last_bit(text in "[+-]?[0-9]{0,20}[.]?[0-9]{0,20}(e[+-]?[0-9]{1,3})?") {
            prop_assert_eq!(number(text.as_bytes()).map(f64::to_bits), general(text.as_bytes()).map(f64::to_bits));
        }

        #[test]
        fn any_bytes_give_the_result_of_the_standard_parser(text in proptest::collection::vec(prop_oneof!["[0-9.eE+-]".prop_map(|s| s.as_bytes()[0]), any::<u8>()], 0..24)) {
            prop_assert_eq!(number(&text).map(f64::to_bits), general(&text).map(f64::to_bits));
        }

        #[test]
        fn printed_numbers_are_read_back_exactly(value in any::<f64>().prop_filter("finite", |v| v.is_finite())) {
            prop_assert_eq!(number(format!("{value}").as_bytes()).map(f64::to_bits), Some(value.to_bits()));
            prop_assert_eq!(number(format!("{value:e}").as_bytes()).map(f64::to_bits), Some(value.to_bits()));
        }
    }
}
