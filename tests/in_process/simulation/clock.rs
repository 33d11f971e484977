//! A clock without time: it moves only when the simulation moves it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use fastrand::Rng;

/// The monotonic clock, which only advances, and the wall clock, which also jumps.
pub(super) struct Clock {
    /// The zero of the monotonic clock. Only differences from it are used, so its value decides nothing.
    origin: Instant,
    elapsed: Duration,
    /// The wall clock, since 1970.
    wall: Duration,
}

impl Clock {
    pub(super) fn new(rng: &mut Rng) -> Self {
        let wall = Duration::from_millis(1_800_000_000_000 + rng.u64(0..100_000));
        Self { origin: Instant::now(), elapsed: Duration::ZERO, wall }
    }

    pub(super) fn now(&self) -> Instant {
        self.origin + self.elapsed
    }

    pub(super) fn wall(&self) -> SystemTime {
        UNIX_EPOCH + self.wall
    }

    /// Lets time pass on both clocks.
    pub(super) fn advance(&mut self, time: Duration) {
        self.elapsed += time;
        self.wall += time;
    }

    /// Sets the wall clock forward or back by up to an hour.
    pub(super) fn jump(&mut self, rng: &mut Rng) {
        let step = Duration::from_millis(rng.u64(1..3_600_000));
        self.wall = if rng.bool() { self.wall + step } else { self.wall.saturating_sub(step) };
    }
}
