//! Decides how long to wait before a request or a connection is tried again.

use std::time::Duration;

/// The longest wait after the first failure.
const FIRST: Duration = Duration::from_millis(500);
/// The longest wait after many failures.
const LONGEST: Duration = Duration::from_secs(30);
/// The longest wait that a server can ask for.
const LONGEST_ASKED: Duration = Duration::from_mins(5);

/// The waits between attempts to reach a server. They double from half a second to 30 seconds. Each is shortened at
/// random by up to a half, so that many tallyds do not come back at the same moment.
#[derive(Debug, Default)]
pub(crate) struct Backoff {
    failures: u32,
}

impl Backoff {
    /// Returns the wait after another failure. `asked` is the wait that the server asked for.
    pub(crate) fn next(&mut self, asked: Option<Duration>) -> Duration {
        let longest = FIRST.saturating_mul(1 << self.failures.min(16)).min(LONGEST);
        self.failures += 1;
        let wait = longest.mul_f64(0.5 + fastrand::f64() / 2.0);
        asked.map_or(wait, |asked| asked.clamp(wait, LONGEST_ASKED))
    }

    /// Starts over after a success.
    pub(crate) fn reset(&mut self) {
        self.failures = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_half_a_minute_and_differ() {
        let mut backoff = Backoff::default();
        for longest in [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0] {
            let wait = backoff.next(None).as_secs_f64();
            assert!((longest / 2.0..=longest).contains(&wait), "{wait} of {longest}");
        }
        (0..100).for_each(|_| assert!(backoff.next(None) <= LONGEST));
        let waits: Vec<_> = (0..20).map(|_| backoff.next(None)).collect();
        assert!(waits.iter().any(|wait| *wait != waits[0]));
        backoff.reset();
        assert!(backoff.next(None) <= FIRST);
    }

    #[test]
    fn a_server_can_ask_for_a_longer_wait_but_not_for_an_endless_one() {
        let mut backoff = Backoff::default();
        assert_eq!(backoff.next(Some(Duration::from_secs(7))), Duration::from_secs(7));
        assert_eq!(backoff.next(Some(Duration::from_hours(9))), LONGEST_ASKED);
        assert!(backoff.next(Some(Duration::ZERO)) >= FIRST / 2);
    }
}
