//! Numbers as text.

/// Appends the shortest text that reads back as `value`, without a fraction where it is a whole number: `3`, `0.25`,
/// `1e300`.
pub(crate) fn push_number(text: &mut String, value: f64) {
    const WHOLE: f64 = 1e15;
    if value.fract() == 0.0 && value.abs() < WHOLE {
        use std::fmt::Write;
        // Writing to a string cannot fail.
        _ = write!(text, "{}", value as i64);
    } else {
        push_float(text, value);
    }
}

/// Appends the shortest text that reads back as `value` and looks like a float: `3.0`.
pub(super) fn push_float(text: &mut String, value: f64) {
    text.push_str(ryu::Buffer::new().format(value));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_back_as_they_were() {
        let cases = [
            (3.0, "3"),
            (-2.0, "-2"),
            (0.25, "0.25"),
            (1e300, "1e300"),
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
}
