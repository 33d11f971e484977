//! Sends streams at a given pace.

use std::io::{self, IoSlice};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, MultiHeaders, sendmmsg};

use crate::streams::{Pace, Ring, Stream};
use crate::traffic::BATCH;

/// The time between two bursts. The kernel's timers are 50 us late, so a much shorter time would be inaccurate.
const TICK: Duration = Duration::from_millis(1);

/// Sends a stream to one receiver, a batch per system call. With one datagram per call, the null sink would sleep
/// between two datagrams. That doubles its CPU time and halves the speed of flat-out streams.
pub(crate) struct Client<'a> {
    socket: UdpSocket,
    headers: MultiHeaders<()>,
    datagrams: Vec<[IoSlice<'a>; 1]>,
    sent: u64,
}

impl<'a> Client<'a> {
    pub(crate) fn new(ring: &'a Ring, receiver: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.connect(receiver)?;
        let datagrams = ring.datagrams().map(|datagram| [IoSlice::new(datagram)]).collect();
        Ok(Self { socket, headers: MultiHeaders::preallocate(BATCH, None), datagrams, sent: 0 })
    }

    /// Returns the number of datagrams sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    fn send(&mut self, datagrams: u64) -> io::Result<()> {
        let end = self.sent + datagrams;
        while self.sent < end {
            let next = (self.sent % self.datagrams.len() as u64) as usize;
            let batch = self.datagrams[next..].iter().take((end - self.sent) as usize);
            // The socket is connected, so the datagrams need no addresses.
            let accepted = sendmmsg(
                self.socket.as_raw_fd(),
                &mut self.headers,
                batch,
                [None; BATCH],
                [],
                MsgFlags::empty(),
            )?;
            self.sent += accepted.count() as u64;
        }
        Ok(())
    }
}

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
                    client.send(before + due as u64 - client.sent)?;
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
