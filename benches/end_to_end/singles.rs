//! Sends single datagrams, one per system call, as applications do.
//!
//! The generator spins between two datagrams and never sleeps. A timer is about 50 us late, but at 60,000 datagrams per
//! second the next datagram is due after 17 us. Also, a core that wakes up from sleep sends more slowly, which would
//! have nothing to do with the receiver.

use std::io;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::streams::{Arrivals, Singles};
use crate::traffic::Random;

/// Sends single datagrams for a given time. Calls `wait` repeatedly until the next datagram is due, and at least once
/// for each datagram. A late datagram does not delay the later ones, so the average pace is exact.
pub(crate) fn run(
    client: &mut Client<'_>,
    singles: Singles,
    time: Duration,
    mut wait: impl FnMut(&Client<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let clock = clock_cost();
    let begin = Instant::now();
    for due in schedule(singles).take_while(|&due| due < time) {
        loop {
            wait(client)?;
            if begin.elapsed() >= due {
                break;
            }
            std::hint::spin_loop();
        }
        client.send_single(clock)?;
    }
    Ok(())
}

/// Returns the times at which the datagrams are due. They are the same for all receivers.
fn schedule(singles: Singles) -> impl Iterator<Item = Duration> {
    let mut random = Random(3);
    let mut due = 0.0;
    std::iter::repeat_with(move || {
        let gaps = match singles.arrivals {
            Arrivals::EvenlySpaced => 1.0,
            // The gaps of a Poisson process have an exponential distribution.
            Arrivals::Poisson => -((random.below(1 << 32) + 1) as f64 / 2_f64.powi(32)).ln(),
        };
        due += gaps / f64::from(singles.per_second);
        Duration::from_secs_f64(due)
    })
}

/// Returns the time between two readings of the clock without anything between them.
fn clock_cost() -> Duration {
    const READINGS: u32 = 1000;
    (0..READINGS).map(|_| Instant::now().elapsed()).sum::<Duration>() / READINGS
}
