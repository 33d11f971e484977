//! Reads a connection until it ends.

use std::cell::RefCell;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::timeout;

use super::socket::Stream;
use super::{Closed, Deframer, End, Frame, Framing};
use crate::aggregate::Shard;
use crate::protocol::RejectReason;

/// Bytes read at a time.
const READ: usize = 64 << 10;

/// Bytes that the kernel of a client may hold because tallyd's is full, unless `net.ipv4.tcp_wmem` was raised. At a stop,
/// they are on their way.
const UNDERWAY: usize = 4 << 20;

/// What the connections of a listener share.
#[derive(Debug)]
pub(super) struct Reader {
    framing: Framing,
    max_line: usize,
    idle_timeout: Duration,
    shard: Arc<Mutex<Shard>>,
    /// Borrowed only while one connection reads and records, which waits for nobody. So a connection that is idle
    /// takes no buffer.
    buffer: RefCell<Box<[u8]>>,
}

impl Reader {
    pub(super) fn new(
        framing: Framing,
        max_line: usize,
        idle_timeout: Duration,
        shard: Arc<Mutex<Shard>>,
    ) -> Self {
        let buffer = RefCell::new(vec![0; READ].into_boxed_slice());
        Self { framing, max_line, idle_timeout, shard, buffer }
    }

    /// Records what arrives until the connection ends, or is to be ended; then closes it, and says why.
    pub(super) async fn serve(&self, stream: Stream, mut stop: watch::Receiver<bool>) -> Closed {
        let mut deframer = Deframer::new(self.framing, self.max_line);
        let closed = loop {
            let ready = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => break self.drain(&stream, &mut deframer),
                ready = timeout(self.idle_timeout, stream.readable()) => ready,
            };
            match ready {
                Err(_) => break Closed::Idle,
                Ok(Err(_)) => break Closed::Broken,
                Ok(Ok(())) => {}
            }
            match self.read(|buffer| stream.try_read(buffer), &mut deframer) {
                Err(closed) => break closed,
                Ok(0) => {}
                // A client that floods gets one read in turn, like any other.
                Ok(_) => tokio::task::yield_now().await,
            }
        };
        let end = if closed == Closed::End { End::Whole } else { End::Broken };
        let mut shard = self.shard.lock();
        deframer.end(end, |frame| record(&mut shard, frame));
        closed
    }

    /// Reads once, and records what is whole. How many bytes there were; 0 if nothing is there now.
    fn read(
        &self,
        read: impl FnOnce(&mut [u8]) -> io::Result<usize>,
        deframer: &mut Deframer,
    ) -> Result<usize, Closed> {
        let mut buffer = self.buffer.borrow_mut();
        let bytes = match read(&mut buffer) {
            Ok(0) => return Err(Closed::End),
            Ok(length) => &buffer[..length],
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(0),
            Err(_) => return Err(Closed::Broken),
        };
        let mut shard = self.shard.lock();
        shard.count_stream_bytes(bytes.len());
        let followed = deframer.push(bytes, |frame| record(&mut shard, frame));
        followed.map(|()| bytes.len()).map_err(|_| Closed::FrameTooLong)
    }

    /// Reads what the client has sent before the stop.
    fn drain(&self, stream: &Stream, deframer: &mut Deframer) -> Closed {
        // First what is there, so that a client that ends its last line by closing is heard out. A client that floods is
        // heard for as much as may have been there when the stop began.
        let mut left = stream.receive_buffer() + UNDERWAY;
        while left > 0 {
            match self.read(|buffer| stream.read_now(buffer), deframer) {
                Err(closed) => return closed,
                Ok(0) => break,
                Ok(length) => left = left.saturating_sub(length),
            }
        }
        // Then no more is let in, and what came meanwhile is read to its end.
        stream.shut();
        let mut is_sending = left == 0;
        loop {
            match self.read(|buffer| stream.read_now(buffer), deframer) {
                Err(Closed::FrameTooLong) => return Closed::FrameTooLong,
                Ok(0) | Err(_) => break,
                Ok(_) => is_sending = true,
            }
        }
        if is_sending {
            stream.reset_when_closed();
        }
        Closed::Stop
    }
}

fn record(shard: &mut Shard, frame: Frame<'_>) {
    match frame {
        Frame::Lines(lines) => shard.record_stream(lines),
        Frame::TooLong => shard.reject(RejectReason::LineTooLong),
        Frame::Cut => shard.count_cut_line(),
    }
}
