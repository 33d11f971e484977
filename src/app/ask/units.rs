//! Writes numbers with units, for people.

use crate::text::brief::push_brief;

/// Returns a number with few digits, for example `1204` or `0.25`.
pub(in crate::app) fn brief(value: f64) -> String {
    let mut text = String::new();
    push_brief(&mut text, value);
    text
}

/// Returns a number with three digits, for example `950`, `50.1k` or `1.2M`.
pub(super) fn short(value: f64) -> String {
    scaled(value, &[("k", 1e3), ("M", 1e6), ("G", 1e9)])
}

/// Returns a size, for example `120MB`.
pub(super) fn bytes(value: f64) -> String {
    format!("{}B", short(value))
}

/// Returns a duration of a computation or of a request, for example `4.2ms`.
pub(in crate::app) fn seconds(value: f64) -> String {
    match value.abs() {
        0.0 => "0s".to_owned(),
        seconds if seconds < 1e-3 => format!("{}µs", brief_to_three(value * 1e6)),
        seconds if seconds < 1.0 => format!("{}ms", brief_to_three(value * 1e3)),
        _ => format!("{}s", brief_to_three(value)),
    }
}

/// Returns how long something has lasted, for example `3d 4h`, `1h 2m`, `2m 5s` or `7s`.
pub(super) fn age(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86400);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds}s"),
        (0, 0, _) => format!("{minutes}m {}s", seconds % 60),
        (0, ..) => format!("{hours}h {}m", minutes % 60),
        _ => format!("{days}d {}h", hours % 24),
    }
}

fn scaled(value: f64, units: &[(&str, f64)]) -> String {
    // 999.95 would be rounded to 1000.0.
    let unit = units.iter().rev().find(|(_, unit)| value.abs() >= unit * 0.9995);
    match unit {
        Some((name, unit)) => format!("{}{name}", brief_to_three(value / unit)),
        None => brief_to_three(value),
    }
}

/// Returns a number with three digits, without zeros at its end. Whole numbers keep all digits.
fn brief_to_three(value: f64) -> String {
    let decimals = match value.abs() {
        magnitude if magnitude >= 99.95 => 0,
        magnitude if magnitude >= 9.995 => 1,
        _ => 2,
    };
    let text = format!("{value:.decimals$}");
    if decimals == 0 { text } else { text.trim_end_matches('0').trim_end_matches('.').to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_three_digits_and_a_unit() {
        for (value, expected) in [
            (0.0, "0"),
            (0.25, "0.25"),
            (12.0, "12"),
            (950.4, "950"),
            (999.96, "1k"),
            (50_123.0, "50.1k"),
            (1_234_567.0, "1.23M"),
            (4e12, "4000G"),
            (-2500.0, "-2.5k"),
        ] {
            assert_eq!(short(value), expected);
        }
        assert_eq!(bytes(120e6), "120MB");
    }

    #[test]
    fn durations_have_a_fitting_unit() {
        for (value, expected) in
            [(0.0, "0s"), (0.004_2, "4.2ms"), (25e-6, "25µs"), (1.5, "1.5s"), (100.0, "100s")]
        {
            assert_eq!(seconds(value), expected);
        }
        for (value, expected) in [
            (7.9, "7s"),
            (125.0, "2m 5s"),
            (3725.0, "1h 2m"),
            (273_600.0, "3d 4h"),
            (-1.0, "0s"),
            (f64::NAN, "0s"),
        ] {
            assert_eq!(age(value), expected);
        }
    }
}
