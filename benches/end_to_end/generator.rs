//! Sends streams at a given pace.

use std::io;
use std::thread;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::singles;
use crate::streams::{Pace, Stream};
use crate::traffic::BATCH;

/// The time between two bursts. The kernel's timers are 50 us late, so a much shorter time would be inaccurate.
const TICK: Duration = Duration::from_millis(1);

/// Sends a stream to each receiver for a given time. Single datagrams go to one receiver after the other.
pub(crate) fn run(clients: &mut [Client<'_>], stream: &Stream, time: Duration) -> io::Result<()> {
    match stream.pace {
        Pace::Singles(singles) => {
            clients.iter_mut().try_for_each(|client| singles::run(client, singles, time, |_| Ok(())))
        }
        Pace::LinesPerSecond(lines) | Pace::HeavyLinesPerSecond(lines) => {
            send_bursts(clients, time, Some(f64::from(lines) / stream.lines_per_datagram as f64))
        }
        Pace::FlatOut => send_bursts(clients, time, None),
    }
}

/// Sends bursts at a rate in datagrams per second, or as fast as possible. The bursts of the receivers alternate at
/// equal distances. A late burst is larger, so that the average pace is exact.
fn send_bursts(clients: &mut [Client<'_>], time: Duration, rate: Option<f64>) -> io::Result<()> {
    let begin = Instant::now();
    let before: Vec<_> = clients.iter().map(Client::sent).collect();
    let step = TICK / clients.len() as u32;
    let mut wake = begin;
    loop {
        let elapsed = begin.elapsed();
        for (client, before) in clients.iter_mut().zip(&before) {
            if let Some(rate) = rate {
                let due = begin.elapsed().min(time).as_secs_f64() * rate;
                client.send(before + due as u64 - client.sent())?;
                wake += step;
                thread::sleep(wake.saturating_duration_since(Instant::now()));
            } else {
                client.send(BATCH as u64)?;
            }
        }
        if elapsed >= time {
            return Ok(());
        }
    }
}
