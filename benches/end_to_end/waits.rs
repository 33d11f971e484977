//! Finds the longest time for which a datagram waits in the socket of a receiver.
//!
//! The receiver cannot be asked, and tracing it would slow it down. But the kernel tells anyone how many bytes are
//! queued in a socket, and all datagrams of a stream count as equally many bytes. Receivers take the oldest datagram
//! first. So the number of queued datagrams tells when the oldest of them was sent:
//!
//! ```text
//! sent      1 2 3 4 5 6 7 8 9
//! taken     =========
//! queued              6 7 8 9    bytes in the queue / bytes of a datagram = 4
//!                     ^          has waited since it was sent
//! ```
//!
//! The generator looks between two datagrams, once per millisecond. The look takes 70 us here, so some datagrams are
//! late, and the pass is separate from the one that measures CPU time. A datagram can wait for up to a millisecond
//! longer than the last look at it shows.

use std::net::UdpSocket;
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::process::{Error, Process, Socket};
use crate::ring::Ring;
use crate::singles;
use crate::streams::Singles;

/// The time between two looks at the queue.
const LOOK: Duration = Duration::from_millis(1);

/// Sends single datagrams for a given time. Returns the longest wait that a look has shown.
pub(crate) fn longest(
    receiver: &Process,
    client: &mut Client<'_>,
    singles: Singles,
    ring: &Ring,
    time: Duration,
) -> Result<Duration, Error> {
    let bytes_per_datagram = queued_bytes_of_a_datagram(ring)?;
    let sent_before = client.sent();
    let mut sent_at = Vec::new();
    let mut longest = Duration::ZERO;
    let mut next_look = Instant::now();
    singles::run(client, singles, time, |client| {
        let now = Instant::now();
        if client.sent() - sent_before > sent_at.len() as u64 {
            sent_at.push(now);
        }
        if now >= next_look {
            next_look = now + LOOK;
            let queued = receiver.socket()?.queued.div_ceil(bytes_per_datagram) as usize;
            let oldest = sent_at.len().saturating_sub(queued);
            longest = longest.max(sent_at.get(oldest).map_or(Duration::ZERO, |&sent_at| now - sent_at));
        }
        Ok(())
    })?;
    Ok(longest)
}

/// Returns the number of bytes as which the kernel counts a datagram in a queue. It includes the kernel's overhead.
fn queued_bytes_of_a_datagram(ring: &Ring) -> Result<u64, Error> {
    let [sender, receiver] = [UdpSocket::bind("127.0.0.1:0")?, UdpSocket::bind("127.0.0.1:0")?];
    let datagram = ring.datagrams().next().ok_or("the stream has no datagrams")?;
    sender.send_to(datagram, receiver.local_addr()?)?;
    match Socket::bound_to(receiver.local_addr()?)?.queued {
        0 => Err("the kernel does not count the bytes in a socket".into()),
        bytes => Ok(bytes),
    }
}
