//! The kernel's part of the network: a bounded receive buffer for each receiver.

use std::collections::VecDeque;

use tallyd::model::{Counter, Telemetry};

/// The receive buffers. A datagram that does not fit is dropped, and counted as the UDP listener would count it.
pub(super) struct Kernel {
    buffers: Vec<Buffer>,
    /// The bytes that one buffer holds.
    capacity: usize,
    /// All datagrams that clients sent.
    pub(super) sent: u64,
    /// All datagrams that did not fit.
    pub(super) dropped: u64,
}

struct Buffer {
    datagrams: VecDeque<Vec<u8>>,
    bytes: usize,
    dropped: Counter,
}

impl Kernel {
    pub(super) fn new(receivers: usize, capacity: usize, telemetry: &Telemetry) -> Self {
        let buffer = |receiver: usize| {
            let tags = [("listener", "udp"), ("receiver", &*receiver.to_string())];
            let dropped = telemetry.counter("datagrams_dropped", &tags);
            Buffer { datagrams: VecDeque::new(), bytes: 0, dropped }
        };
        Self { buffers: (0..receivers).map(buffer).collect(), capacity, sent: 0, dropped: 0 }
    }

    /// Puts a client's datagram into the buffer of its receiver, which is the same one for all its datagrams.
    pub(super) fn send(&mut self, client: usize, datagram: Vec<u8>) {
        self.sent += 1;
        let receiver = client % self.buffers.len();
        let buffer = &mut self.buffers[receiver];
        if buffer.bytes + datagram.len() > self.capacity {
            buffer.dropped.increment();
            self.dropped += 1;
        } else {
            buffer.bytes += datagram.len();
            buffer.datagrams.push_back(datagram);
        }
    }

    /// Takes up to `count` datagrams out of the buffer of a receiver.
    pub(super) fn take(&mut self, receiver: usize, count: usize) -> Vec<Vec<u8>> {
        let buffer = &mut self.buffers[receiver];
        let taken: Vec<_> = buffer.datagrams.drain(..count.min(buffer.datagrams.len())).collect();
        buffer.bytes -= taken.iter().map(Vec::len).sum::<usize>();
        taken
    }

    /// Returns the number of datagrams that no receiver has read yet.
    pub(super) fn unread(&self) -> u64 {
        (0..self.buffers.len()).map(|receiver| self.unread_of(receiver)).sum()
    }

    /// Returns the number of datagrams that one receiver has not read yet.
    pub(super) fn unread_of(&self, receiver: usize) -> u64 {
        self.buffers[receiver].datagrams.len() as u64
    }
}
