//! Sends the datagrams of a stream to one receiver.

use std::io::{self, IoSlice};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use nix::sys::socket::{MsgFlags, MultiHeaders, sendmmsg};

use crate::ring::Ring;
use crate::streams::Stream;
use crate::traffic::BATCH;

/// The time after which a call that sends a datagram counts as interrupted: another thread or another virtual machine
/// had the core. Otherwise, a single interruption could be longer than all sends of a second together.
const INTERRUPTED: Duration = Duration::from_micros(200);

pub(crate) struct Client<'a> {
    /// Connected sockets, at least one.
    sockets: Vec<UdpSocket>,
    headers: MultiHeaders<()>,
    datagrams: Vec<[IoSlice<'a>; 1]>,
    sent: u64,
    send_time: SendTime,
}

/// The elapsed time of calls that each sent a single datagram. Includes no interrupted calls.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SendTime {
    total: Duration,
    calls: u32,
}

impl SendTime {
    pub(crate) fn since(self, before: Self) -> Self {
        Self { total: self.total.saturating_sub(before.total), calls: self.calls - before.calls }
    }

    /// Returns the mean time of a call.
    pub(crate) fn nanoseconds(self) -> f64 {
        self.total.as_nanos() as f64 / f64::from(self.calls)
    }
}

impl<'a> Client<'a> {
    pub(crate) fn new(stream: &Stream, ring: &'a Ring, receiver: SocketAddr) -> io::Result<Self> {
        let connected = |_| {
            let socket = UdpSocket::bind("127.0.0.1:0")?;
            socket.connect(receiver).map(|()| socket)
        };
        Ok(Self {
            sockets: (0..stream.pace.sockets()).map(connected).collect::<io::Result<_>>()?,
            headers: MultiHeaders::preallocate(BATCH, None),
            datagrams: ring.datagrams().map(|datagram| [IoSlice::new(datagram)]).collect(),
            sent: 0,
            send_time: SendTime::default(),
        })
    }

    /// Returns the number of datagrams sent so far.
    pub(crate) fn sent(&self) -> u64 {
        self.sent
    }

    /// Returns the time of all calls of [`Client::send_single`] so far.
    pub(crate) fn send_time(&self) -> SendTime {
        self.send_time
    }

    /// Sends datagrams through the first socket, a batch per system call. With one datagram per call, the null sink
    /// would sleep between two datagrams. That doubles its CPU time and halves the speed of flat-out streams.
    pub(crate) fn send(&mut self, datagrams: u64) -> io::Result<()> {
        let end = self.sent + datagrams;
        while self.sent < end {
            let batch = self.datagrams[self.next()..].iter().take((end - self.sent) as usize);
            // The socket is connected, so the datagrams need no addresses.
            let accepted = sendmmsg(
                self.sockets[0].as_raw_fd(),
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

    /// Sends a datagram through the next socket, and measures the call. `clock` is the time that reading the clock
    /// takes.
    pub(crate) fn send_single(&mut self, clock: Duration) -> io::Result<()> {
        let datagram = &self.datagrams[self.next()][0];
        let socket = &self.sockets[(self.sent % self.sockets.len() as u64) as usize];
        let begin = Instant::now();
        socket.send(datagram)?;
        let elapsed = begin.elapsed();
        self.sent += 1;
        if elapsed < INTERRUPTED {
            self.send_time.total += elapsed.saturating_sub(clock);
            self.send_time.calls += 1;
        }
        Ok(())
    }

    /// Returns the index of the next datagram.
    fn next(&self) -> usize {
        (self.sent % self.datagrams.len() as u64) as usize
    }
}
