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

/// The unread bytes that a client can send through a connection without waiting, at least. TCP announces this window to
/// a new client (`net.ipv4.tcp_rmem`), and a Unix socket takes about three times as much.
const CONNECTION_BYTES: f64 = 65_536.0;

/// The room of a socket for datagrams that nothing has read.
#[derive(Debug, Clone, Copy)]
pub(super) enum Room {
    /// A receive buffer in bytes, as the kernel counts them.
    Bytes(f64),
    /// A number of datagrams in a Unix socket. Their bytes also count towards the send buffer of their client.
    Datagrams(f64),
    /// The unread bytes of one connection. Nothing is lost beyond them: the client waits.
    Connection,
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
            // Only what was seen counts, because a burst loses nothing.
            Self::Connection => 0.0,
        }
    }

    /// Returns the share of the room that these bytes take, as the kernel counts them. It is 0 if the room has no size
    /// in bytes.
    fn share_of_bytes(self, waiting: f64) -> f64 {
        match self {
            Self::Bytes(bytes) => waiting / bytes,
            Self::Datagrams(_) => 0.0,
            Self::Connection => waiting / CONNECTION_BYTES,
        }
    }
}

/// Decides about the rests of one receiver.
#[derive(Debug)]
pub(super) struct Coalescing {
    /// The longest rest. Zero means that the receiver never rests.
    longest: Duration,
    room: Room,
    /// In shares of the room per second.
    fastest: RecentMaximum,
    /// The time at which the receiver last saw its socket empty.
    empty_at: Instant,
    arrived: Arrived,
}

/// The datagrams that have arrived since the receiver last saw its socket empty.
#[derive(Debug, Clone, Copy, Default)]
struct Arrived {
    datagrams: u64,
    /// The length of the largest datagram, in bytes.
    largest: usize,
    /// The length of the rest in between. Zero if the receiver did not rest.
    rested: Duration,
    /// The bytes that waited in the socket at the end of that rest, as the kernel counts them.
    waiting: f64,
}

impl Coalescing {
    /// Expects that the socket is empty `now`.
    pub(super) fn new(longest: Duration, room: Room, now: Instant) -> Self {
        Self { longest, room, fastest: RecentMaximum::default(), empty_at: now, arrived: Arrived::default() }
    }

    /// Returns the time at which the receiver last saw its socket empty.
    pub(super) fn empty_at(&self) -> Instant {
        self.empty_at
    }

    /// Adds datagrams that the receiver has read. `largest` is the length of the largest one, in bytes.
    pub(super) fn add(&mut self, datagrams: usize, largest: usize) {
        self.arrived.datagrams += datagrams as u64;
        self.arrived.largest = self.arrived.largest.max(largest);
    }

    /// Returns the length of the next rest, or `None` if the receiver should sleep until a datagram wakes it. The socket
    /// is empty `now`.
    pub(super) fn next_rest(&mut self, now: Instant) -> Option<Duration> {
        let Arrived { datagrams, largest, rested, waiting } = std::mem::take(&mut self.arrived);
        let time = now.saturating_duration_since(std::mem::replace(&mut self.empty_at, now));
        let burst = self.room.share_of(largest) * BURST;
        // A rest that was cut short says little.
        let seen =
            if rested >= SHORTEST { self.room.share_of_bytes(waiting) / rested.as_secs_f64() } else { 0.0 };
        let fastest = self.fastest.update(burst.max(seen), now);
        let allowed = Duration::try_from_secs_f64(SHARE / fastest).unwrap_or(self.longest);
        let rest = self.longest.min(allowed);
        let expected = datagrams as f64 * rest.as_secs_f64() / time.as_secs_f64().max(1e-9);
        (rest >= SHORTEST && expected >= ENOUGH).then_some(rest)
    }

    /// Notes that the rest ends `now`, and how many bytes wait in the socket, as the kernel counts them.
    pub(super) fn end_rest(&mut self, waiting: f64, now: Instant) {
        self.arrived.rested = now.saturating_duration_since(self.empty_at);
        self.arrived.waiting = waiting;
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

    /// Returns the rest after datagrams of this length that arrived within `time`.
    fn rest(room: Room, (datagrams, length): (usize, usize), time: Duration) -> Option<Duration> {
        let begin = Instant::now();
        let mut coalescing = Coalescing::new(LONGEST, room, begin);
        coalescing.add(datagrams, length);
        coalescing.next_rest(begin + time)
    }

    #[test]
    fn a_receiver_rests_only_if_two_datagrams_are_expected_meanwhile() {
        let ms = Duration::from_millis;
        assert_eq!(rest(LARGE, (1, 50), ms(11)), None);
        assert_eq!(rest(LARGE, (1, 50), ms(10)), Some(LONGEST));
        assert_eq!(rest(LARGE, (0, 0), Duration::ZERO), None);
        assert_eq!(rest(LARGE, (2, 50), LONGEST), Some(LONGEST));
        assert_eq!(rest(LARGE, (1000, 50), Duration::from_secs(11)), None);
        // With a small buffer, a rest is so short that no further datagram would come.
        let small = Room::Bytes(425_984.0);
        assert_eq!([rest(small, (1, 50), ms(1)), rest(small, (5, 50), ms(1))], [None; 2]);
        assert!(rest(small, (10, 50), ms(1)).is_some());
    }

    #[test]
    fn a_burst_of_a_million_per_second_fills_at_most_half_of_the_room() {
        let us = Duration::from_micros;
        // A datagram of 50 bytes takes 832 bytes.
        assert_eq!(rest(Room::Bytes(832.0 * 600.0), (1000, 50), LONGEST), Some(us(300)));
        assert_eq!(rest(Room::Bytes(832.0 * 100.0), (1000, 50), LONGEST), None);
        // A client can have 256 such datagrams in a Unix socket.
        assert_eq!(rest(Room::Datagrams(512.0), (1000, 50), LONGEST), Some(us(128)));
        assert_eq!(rest(Room::Datagrams(10.0), (1000, 50), LONGEST), None);
        assert_eq!(rest(Room::Bytes(425_984.0), (1000, 8000), LONGEST), None);
    }

    #[test]
    fn a_faster_arrival_shortens_the_rests_for_at_least_ten_seconds() {
        for (room, bytes) in [(LARGE, 64e6), (Room::Connection, CONNECTION_BYTES)] {
            let begin = Instant::now();
            let mut coalescing = Coalescing::new(LONGEST, room, begin);
            let mut rest_at = |second: u64, filled: f64| {
                let now = begin + Duration::from_secs(second);
                assert_eq!(coalescing.next_rest(now), None);
                coalescing.end_rest(filled * bytes, now + LONGEST);
                coalescing.add(100, 50);
                coalescing.next_rest(now + LONGEST).unwrap()
            };
            assert_eq!(rest_at(0, 0.1), LONGEST);
            let short = rest_at(5, 1.0);
            assert_eq!(short, LONGEST / 2);
            assert_eq!([rest_at(6, 0.1), rest_at(16, 0.1)], [short; 2]);
            assert_eq!(rest_at(27, 0.1), LONGEST);
        }
    }

    #[test]
    fn a_longest_rest_of_zero_means_none() {
        let now = Instant::now();
        let mut coalescing = Coalescing::new(Duration::ZERO, LARGE, now);
        coalescing.add(100, 50);
        assert_eq!(coalescing.next_rest(now), None);
    }
}
