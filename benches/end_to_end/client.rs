//! Sends the datagrams of a stream to one receiver.

use std::io::{self, IoSlice};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;

use nix::sys::socket::{MsgFlags, MultiHeaders, sendmmsg};

use crate::ring::Ring;
use crate::traffic::BATCH;

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

    pub(crate) fn send(&mut self, datagrams: u64) -> io::Result<()> {
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
