//! Sends streams at a given pace.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::streams::{Pace, Stream};
use crate::traffic::BATCH;

/// The time between two bursts. The kernel's timers are 50 us late, so a much shorter time would be inaccurate.
const TICK: Duration = Duration::from_millis(1);

/// Sends a stream to each receiver for a given time. The bursts of the receivers alternate at equal distances. A late
/// burst is larger, so that the average pace is exact.
pub(crate) fn run(clients: &mut [Client<'_>], stream: &Stream, time: Duration) -> io::Result<()> {
    let begin = Instant::now();
    let before: Vec<_> = clients.iter().map(Client::sent).collect();
    let step = TICK / clients.len() as u32;
    let mut wake = begin;
    loop {
        let elapsed = begin.elapsed();
        for (client, before) in clients.iter_mut().zip(&before) {
            match stream.pace {
                Pace::FlatOut => client.send(BATCH as u64)?,
                Pace::LinesPerSecond(lines) | Pace::HeavyLinesPerSecond(lines) => {
                    let rate = f64::from(lines) / stream.lines_per_datagram as f64;
                    let due = begin.elapsed().min(time).as_secs_f64() * rate;
                    client.send(before + due as u64 - client.sent())?;
                    wake += step;
                    thread::sleep(wake.saturating_duration_since(Instant::now()));
                }
            }
        }
        if elapsed >= time {
            return Ok(());
        }
    }
}
