//! Decides how long a receiver of datagrams rests before it looks at its socket again.
//!
//! A receiver that sleeps in the kernel is woken by each datagram, which costs several microseconds of CPU: on its own
//! core, and in the `send` of the application. If enough datagrams arrive, the receiver rests for a fixed time instead.
//! Meanwhile the kernel keeps the datagrams and does not wake the receiver.
//!
//! ```text
//!  few datagrams    sleep ----> datagram, wake ----> sleep ----> datagram, wake ----> ...
//!  many datagrams   rest for a moment ----> take all that have arrived ----> rest for a moment ----> ...
//! ```

use std::time::{Duration, Instant};

/// The number of datagrams that must be expected during a rest. With fewer, a rest would save nothing.
const ENOUGH: f64 = 2.0;

/// The share of the buffer that may fill during a rest, if datagrams arrive as fast as lately. The other half is for a
/// receiver that gets no CPU for a moment.
const SHARE: f64 = 0.5;

/// The fastest arrival that a receiver expects at any time, in datagrams per second. One sender reaches about 300,000
/// with a system call per datagram, and about 1,000,000 with `sendmmsg`, as fast as a receiver takes them.
const BURST: f64 = 1e6;

/// The shortest rest. The kernel's timers are about 50 us late.
const SHORTEST: Duration = Duration::from_micros(100);

/// The time for which the fastest arrival is remembered at least.
const LATELY: Duration = Duration::from_secs(10);

/// The bytes of unread datagrams that one client may have in a Unix socket by default (`net.core.wmem_default`).
const SENDER_BYTES: f64 = 212_992.0;

/// The room of a socket for datagrams that nothing has read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Room {
    /// A receive buffer in bytes, as the kernel counts them.
    Bytes(f64),
    /// A number of datagrams in a Unix socket. Their bytes also count towards the send buffer of their client.
    Datagrams(f64),
}

impl Room {
    /// Returns the share of the room that a datagram of this length takes.
    ///
    /// The kernel counts the memory of a datagram: a block whose size is a power of two, which holds the data and about
    /// 420 other bytes, and 320 bytes that describe the datagram. Drivers of network cards may use larger blocks.
    fn share_of(self, length: usize) -> f64 {
        let memory = ((length + 420).next_power_of_two() + 320) as f64;
        match self {
            Self::Bytes(bytes) => memory / bytes,
            Self::Datagrams(datagrams) => (1.0 / datagrams).max(memory / SENDER_BYTES),
        }
    }
}

/// The datagrams that a receiver has received since it last saw its socket empty.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Arrived {
    pub(super) datagrams: u64,
    /// The length of the largest datagram, in bytes.
    pub(super) largest: usize,
    /// The time in which they arrived.
    pub(super) time: Duration,
    /// The share of the room that was taken at the end of a rest. 0 if the receiver did not rest.
    pub(super) filled: f64,
    /// The length of that rest.
    pub(super) rested: Duration,
}

/// Decides about the rests of one receiver.
#[derive(Debug)]
pub(super) struct Coalescing {
    /// The longest rest. Zero means that the receiver never rests.
    longest: Duration,
    room: Room,
    fastest: RecentMaximum,
}

impl Coalescing {
    pub(super) fn new(longest: Duration, room: Room) -> Self {
        Self { longest, room, fastest: RecentMaximum::default() }
    }

    /// Returns the length of the next rest, or `None` if the receiver should sleep until a datagram wakes it. The socket
    /// is empty `now`.
    pub(super) fn next_rest(&mut self, arrived: Arrived, now: Instant) -> Option<Duration> {
        let Arrived { datagrams, largest, time, filled, rested } = arrived;
        // Both are shares of the room per second. A rest that was cut short says little.
        let burst = self.room.share_of(largest) * BURST;
        let seen = if rested >= SHORTEST { filled / rested.as_secs_f64() } else { 0.0 };
        let fastest = self.fastest.update(burst.max(seen), now);
        let allowed = Duration::try_from_secs_f64(SHARE / fastest).unwrap_or(self.longest);
        let rest = self.longest.min(allowed);
        let expected = datagrams as f64 * rest.as_secs_f64() / time.as_secs_f64().max(1e-9);
        (rest >= SHORTEST && expected >= ENOUGH).then_some(rest)
    }
}

/// The maximum of the values of the latest [`LATELY`], and of some earlier ones.
#[derive(Debug, Default)]
struct RecentMaximum {
    /// The start of the current period. A period is as long as [`LATELY`].
    began: Option<Instant>,
    current: f64,
    previous: f64,
}

impl RecentMaximum {
    /// Adds a value, and returns the maximum.
    fn update(&mut self, value: f64, now: Instant) -> f64 {
        if self.began.is_none_or(|began| now.saturating_duration_since(began) >= LATELY) {
            self.began = Some(now);
            self.previous = std::mem::take(&mut self.current);
        }
        self.current = self.current.max(value);
        self.current.max(self.previous)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONGEST: Duration = Duration::from_millis(20);
    const LARGE: Room = Room::Bytes(64e6);

    /// Returns the rest after datagrams of 50 bytes.
    fn rest(room: Room, datagrams: u64, time: Duration) -> Option<Duration> {
        let arrived = Arrived { datagrams, largest: 50, time, ..Arrived::default() };
        Coalescing::new(LONGEST, room).next_rest(arrived, Instant::now())
    }

    #[test]
    fn a_receiver_rests_only_if_two_datagrams_are_expected_meanwhile() {
        let ms = Duration::from_millis;
        assert_eq!(rest(LARGE, 1, ms(11)), None);
        assert_eq!(rest(LARGE, 1, ms(10)), Some(LONGEST));
        assert_eq!(rest(LARGE, 0, Duration::ZERO), None);
        assert_eq!(rest(LARGE, 2, LONGEST), Some(LONGEST));
        assert_eq!(rest(LARGE, 1000, Duration::from_secs(11)), None);
        // With a small buffer, a rest is so short that no further datagram would come.
        let small = Room::Bytes(425_984.0);
        assert_eq!([rest(small, 1, ms(1)), rest(small, 5, ms(1))], [None; 2]);
        assert!(rest(small, 10, ms(1)).is_some());
    }

    #[test]
    fn a_burst_of_a_million_per_second_fills_at_most_half_of_the_room() {
        let us = Duration::from_micros;
        // A datagram of 50 bytes takes 832 bytes.
        assert_eq!(rest(Room::Bytes(832.0 * 600.0), 1000, LONGEST), Some(us(300)));
        assert_eq!(rest(Room::Bytes(832.0 * 100.0), 1000, LONGEST), None);
        // A client can have 256 such datagrams in a Unix socket.
        assert_eq!(rest(Room::Datagrams(512.0), 1000, LONGEST), Some(us(128)));
        assert_eq!(rest(Room::Datagrams(10.0), 1000, LONGEST), None);
        let large = Arrived { datagrams: 1000, largest: 8000, time: LONGEST, ..Arrived::default() };
        let mut coalescing = Coalescing::new(LONGEST, Room::Bytes(425_984.0));
        assert_eq!(coalescing.next_rest(large, Instant::now()), None);
    }

    #[test]
    fn a_faster_arrival_shortens_the_rests_for_at_least_ten_seconds() {
        let mut coalescing = Coalescing::new(LONGEST, LARGE);
        let begin = Instant::now();
        let mut rest_at = |second: u64, filled: f64| {
            let arrived = Arrived { datagrams: 100, largest: 50, time: LONGEST, filled, rested: LONGEST };
            coalescing.next_rest(arrived, begin + Duration::from_secs(second)).unwrap()
        };
        assert_eq!(rest_at(0, 0.1), LONGEST);
        let short = rest_at(5, 1.0);
        assert_eq!(short, LONGEST / 2);
        assert_eq!([rest_at(6, 0.1), rest_at(16, 0.1)], [short; 2]);
        assert_eq!(rest_at(27, 0.1), LONGEST);
    }

    #[test]
    fn a_longest_rest_of_zero_means_none() {
        let arrived = Arrived { datagrams: 100, time: Duration::from_nanos(1), ..Arrived::default() };
        assert_eq!(Coalescing::new(Duration::ZERO, LARGE).next_rest(arrived, Instant::now()), None);
    }
}
