//! A limit of requests: so many at once, and one more each interval.

use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_saphyr::Spanned;

use super::Problem;
use super::file::RateSection;

/// A bucket of `burst` tokens, of which a request takes one, and to which one is added each `interval`.
#[derive(Debug)]
pub(super) struct Limit {
    /// Above zero, at most an hour.
    interval: Duration,
    /// 1 to 1,000,000.
    burst: u32,
    /// When the bucket is full again, if nothing is asked until then. That is all that there is to know of it.
    full_at: Mutex<Instant>,
}

impl Limit {
    /// There is none where the interval is 0.
    pub(super) fn read(section: &Spanned<RateSection>) -> Result<Option<Self>, Problem> {
        let RateSection { interval, burst } = section.value;
        let problem = |text: &str| Err(Problem::at(section, format!("rate_limit: {text}")));
        match interval.0 {
            Duration::ZERO => Ok(None),
            interval if interval > Duration::from_hours(1) => problem("interval: more than \"1h\""),
            _ if burst == 0 => problem("burst: 0 would refuse every request; give 1 or more"),
            _ if burst > 1_000_000 => problem("burst: more than 1_000_000"),
            interval => Ok(Some(Self { interval, burst, full_at: Mutex::new(Instant::now()) })),
        }
    }

    /// Whether one more request may be answered.
    pub(super) fn allows(&self, now: Instant) -> bool {
        let mut full_at = self.full_at.lock();
        let full_then = (*full_at).max(now) + self.interval;
        let allowed = full_then - now <= self.interval * self.burst;
        if allowed {
            *full_at = full_then;
        }
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_requests_are_answered_at_once_and_then_one_each_interval() {
        let begin = Instant::now();
        let limit = Limit { interval: Duration::from_secs(2), burst: 3, full_at: Mutex::new(begin) };
        let at = |seconds| begin + Duration::from_secs(seconds);
        let cases =
            [(0, true), (0, true), (0, true), (0, false), (1, false), (2, true), (2, false), (3, false)];
        let later = [(100, true), (100, true), (101, true), (101, false), (102, true), (103, false)];
        for (seconds, allowed) in cases.into_iter().chain(later) {
            assert_eq!(limit.allows(at(seconds)), allowed, "{seconds} s");
        }
    }
}
