//! Writes times.

use std::time::{SystemTime, UNIX_EPOCH};

/// Returns a time as RFC 3339 writes it, in UTC: `2026-11-29T16:29:50Z`. If the time is not a whole second, it has
/// milliseconds: `2026-11-29T16:29:50.250Z`.
pub(crate) fn rfc3339(time: SystemTime) -> String {
    let millis = time.duration_since(UNIX_EPOCH).unwrap_or_default().subsec_millis();
    if millis == 0 {
        humantime::format_rfc3339_seconds(time).to_string()
    } else {
        humantime::format_rfc3339_millis(time).to_string()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_time_has_milliseconds_only_if_there_are_some() {
        for (micros, expected) in [
            (1_795_969_790_000_000, "2026-11-29T16:29:50Z"),
            (1_795_969_790_000_999, "2026-11-29T16:29:50Z"),
            (1_795_969_790_250_000, "2026-11-29T16:29:50.250Z"),
            (1_795_969_790_007_999, "2026-11-29T16:29:50.007Z"),
        ] {
            assert_eq!(rfc3339(UNIX_EPOCH + Duration::from_micros(micros)), expected);
        }
    }
}
