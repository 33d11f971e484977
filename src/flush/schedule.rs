//! Schedules flushes at wall-clock multiples of the interval, and measures time by the monotonic clock.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The deadlines of flushes. All clock readings are arguments.
#[derive(Debug, Clone)]
pub struct Schedule {
    interval: Duration,
    /// The start of the open interval.
    started: Instant,
    /// The end of the open interval by the monotonic clock.
    deadline: Instant,
    /// The end of the open interval by the wall clock.
    boundary: SystemTime,
    /// How late the flush of the open interval began.
    lateness: Option<Duration>,
}

/// An interval that has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ended {
    /// The end of the interval: the boundary, or the actual time if the interval ended early or late.
    pub time: SystemTime,
    /// The length by the monotonic clock, which is never zero.
    pub length: Duration,
    /// Whether the interval ended so late that it took a noticeable part of the next one.
    pub late: bool,
}

impl Schedule {
    /// Creates a schedule whose first interval starts now and ends at the next multiple of `interval` since 1970.
    #[must_use]
    pub fn new(interval: Duration, now: Instant, wall: SystemTime) -> Self {
        let mut schedule = Self { interval, started: now, deadline: now, boundary: wall, lateness: None };
        schedule.aim(now, wall, schedule.next_multiple(wall, Duration::ZERO));
        schedule
    }

    /// Returns the start of the open interval.
    pub(crate) fn started(&self) -> Instant {
        self.started
    }

    /// Returns the time at which the open interval should end.
    #[must_use]
    pub(crate) fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Notes that the flush of the open interval begins. Returns how late it is, if datagrams may have piled up since
    /// the end of the interval: after a tenth of the interval, but at most 100 ms.
    pub(crate) fn wake(&mut self, now: Instant) -> Option<Duration> {
        let lateness = now.saturating_duration_since(self.deadline);
        self.lateness = Some(lateness);
        (lateness > self.tolerance().min(Duration::from_millis(100))).then_some(lateness)
    }

    /// Changes the length of intervals. The open interval ends at the next multiple of the new length.
    pub(crate) fn change_interval(&mut self, interval: Duration, now: Instant, wall: SystemTime) {
        if interval != self.interval {
            self.interval = interval;
            self.aim(now, wall, self.next_multiple(wall, Duration::ZERO));
        }
    }

    /// Ends the open interval at `now` and starts the next.
    ///
    /// Each deadline is computed from the wall clock again. So delays do not add up, and setting the clock makes only
    /// one interval uneven. The next boundary is the first multiple that is more than half an interval away. So waking
    /// up early or setting the clock back makes no tiny interval.
    ///
    /// The time since [`wake`](Self::wake), in which receivers were drained, does not make the interval late.
    pub(crate) fn end(&mut self, now: Instant, wall: SystemTime) -> Ended {
        let since_deadline = now.saturating_duration_since(self.deadline);
        let lateness = self.lateness.take().unwrap_or(since_deadline);
        // A short delay counts as on time, because the two clocks are read one after the other and drift apart.
        let on_time = now >= self.deadline && lateness <= self.tolerance();
        let ended = Ended {
            time: if on_time { self.boundary } else { wall },
            length: now.saturating_duration_since(self.started).max(Duration::from_nanos(1)),
            late: lateness > self.tolerance(),
        };
        self.started = now;
        self.aim(now, wall, self.next_multiple(wall, self.interval / 2));
        ended
    }

    /// Returns the delay that does not count as late: a tenth of the interval, but at most one second.
    fn tolerance(&self) -> Duration {
        (self.interval / 10).min(Duration::from_secs(1))
    }

    /// Returns the first multiple of the interval that is later than `wall` by more than `distance`.
    fn next_multiple(&self, wall: SystemTime, distance: Duration) -> SystemTime {
        let since_epoch = wall.duration_since(UNIX_EPOCH).unwrap_or_default() + distance;
        let interval = self.interval.as_nanos().max(1);
        let multiple = (since_epoch.as_nanos() / interval + 1) * interval;
        // The nanoseconds since 1970 fit in 64 bits until the year 2554.
        UNIX_EPOCH + Duration::from_nanos(u64::try_from(multiple).unwrap_or(u64::MAX))
    }

    fn aim(&mut self, now: Instant, wall: SystemTime, boundary: SystemTime) {
        self.boundary = boundary;
        self.deadline = now + boundary.duration_since(wall).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: Duration = Duration::from_secs(10);

    fn at(millis: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000_000) + Duration::from_millis(millis)
    }

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    #[test]
    fn the_first_interval_ends_at_the_next_multiple() {
        let start = Instant::now();
        let mut schedule = Schedule::new(TEN, start, at(3_500));
        assert_eq!(schedule.deadline(), start + ms(6_500));
        let ended = schedule.end(start + ms(6_501), at(10_001));
        assert_eq!(ended, Ended { time: at(10_000), length: ms(6_501), late: false });
    }

    #[test]
    fn delays_do_not_add_up() {
        let start = Instant::now();
        let mut schedule = Schedule::new(TEN, start, at(0));
        for round in 1..=1000_u64 {
            let millis = round * 10_000 + round % 700;
            let ended = schedule.end(start + ms(millis), at(millis));
            assert_eq!(ended.time, at(round * 10_000));
            assert_eq!(schedule.deadline(), start + ms((round + 1) * 10_000));
        }
    }

    #[test]
    fn a_new_length_takes_effect_in_the_open_interval() {
        let start = Instant::now();
        let mut schedule = Schedule::new(TEN, start, at(3_000));
        schedule.change_interval(ms(500), start + ms(100), at(3_100));
        let ended = schedule.end(start + ms(500), at(3_500));
        assert_eq!(ended, Ended { time: at(3_500), length: ms(500), late: false });
        schedule.change_interval(TEN, start + ms(600), at(3_600));
        assert_eq!(schedule.deadline(), start + ms(7_000));
    }

    #[test]
    fn lengths_are_real_times_and_add_up() {
        let start = Instant::now();
        let mut schedule = Schedule::new(TEN, start, at(1_000));
        let moments = [10_003, 20_000, 30_990, 40_000];
        let lengths: Duration = moments
            .into_iter()
            .map(|millis| schedule.end(start + ms(millis - 1_000), at(millis)).length)
            .sum();
        assert_eq!(lengths, ms(39_000));
    }

    #[test]
    fn a_late_flush_is_marked_and_reports_its_actual_time() {
        let start = Instant::now();
        let mut schedule = Schedule::new(TEN, start, at(0));
        let ended = schedule.end(start + ms(27_000), at(27_000));
        assert_eq!(ended, Ended { time: at(27_000), length: ms(27_000), late: true });
        assert_eq!(
            schedule.deadline(),
            start + ms(40_000),
            "no interval is shorter than half of the configured one"
        );
    }

    #[test]
    fn draining_receivers_does_not_make_an_interval_late() {
        let start = Instant::now();
        let mut schedule = Schedule::new(TEN, start, at(0));
        assert_eq!(schedule.wake(start + ms(10_100)), None);
        let ended = schedule.end(start + ms(12_000), at(12_000));
        assert_eq!(ended, Ended { time: at(10_000), length: ms(12_000), late: false });
        assert_eq!(schedule.wake(start + ms(20_101)), Some(ms(101)));
    }

    #[test]
    fn waking_up_early_makes_no_tiny_interval() {
        let start = Instant::now();
        let mut schedule = Schedule::new(TEN, start, at(0));
        schedule.end(start + ms(9_999), at(9_999));
        assert_eq!(schedule.deadline(), start + ms(20_000));
    }

    #[test]
    fn setting_the_clock_costs_one_uneven_interval() {
        let start = Instant::now();
        for step in [4_000_i64, -4_000, 3_600_000] {
            let mut schedule = Schedule::new(TEN, start, at(5_000_000));
            let wall = at((5_010_000 + step) as u64);
            schedule.end(start + ms(10_000), wall);
            let length = schedule.deadline() - (start + ms(10_000));
            assert!(length > ms(5_000) && length <= ms(15_000), "step {step}: {length:?}");
            let end = wall + length;
            assert_eq!(end.duration_since(UNIX_EPOCH).unwrap().as_millis() % 10_000, 0, "step {step}");
        }
    }

    #[test]
    fn a_stop_ends_the_interval_at_the_time_of_the_stop() {
        let start = Instant::now();
        let mut schedule = Schedule::new(TEN, start, at(0));
        let ended = schedule.end(start + ms(2_500), at(2_500));
        assert_eq!(ended, Ended { time: at(2_500), length: ms(2_500), late: false });
    }
}
