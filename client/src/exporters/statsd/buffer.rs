//! Lines that wait for others, to be sent in one datagram.
//!
//! cadence has such buffers, too. But what they cannot send they keep, refuse each new sample for it, ask the kernel again at
//! each one, and count the bytes as dropped each time, though they may be sent later: while tallyd is being restarted on a
//! Unix socket, each call would cost a system call, and nobody could say how many samples were lost. So its sockets are used,
//! and the buffer is this one: what cannot be sent is dropped at once, and counted.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::socket::{self, Socket};
use crate::config::Target;

pub(super) struct Buffer {
    target: Target,
    /// Bytes of a datagram at most, but for a line that is longer.
    capacity: usize,
    waiting: Mutex<Waiting>,
    lost: AtomicU64,
}

struct Waiting {
    /// `None` as long as it could not be opened.
    socket: Option<Socket>,
    lines: String,
    samples: u64,
}

impl Buffer {
    pub(super) fn new(target: Target) -> Self {
        let capacity = match target {
            // What fits into an Ethernet frame, so that no datagram is cut into pieces.
            Target::Udp(_) => 1432,
            Target::Unix(_) => 8192,
        };
        let waiting = Waiting { socket: None, lines: String::with_capacity(capacity), samples: 0 };
        let own = Self { target, capacity, waiting: Mutex::new(waiting), lost: AtomicU64::new(0) };
        own.open();
        own
    }

    /// Opens the socket, if it is not open. This may wait for the name of a host, and keeps nobody else waiting.
    pub(super) fn open(&self) {
        if self.lock().socket.is_none() {
            match socket::open(&self.target) {
                Ok(socket) => self.lock().socket = Some(socket),
                Err(error) => tracing::debug!(%error, "metrics cannot be sent yet"),
            }
        }
    }

    /// Adds the line of a sample, or the lines.
    pub(super) fn push(&self, line: &str) {
        let mut waiting = self.lock();
        if !waiting.lines.is_empty() {
            if waiting.lines.len() + 1 + line.len() > self.capacity {
                self.send(&mut waiting);
            } else {
                waiting.lines.push('\n');
            }
        }
        waiting.lines.push_str(line);
        waiting.samples += 1;
    }

    pub(super) fn flush(&self) {
        self.send(&mut self.lock());
    }

    /// Sends all that waits; the kernel takes it or not, without waiting.
    fn send(&self, waiting: &mut Waiting) {
        let Waiting { socket, lines, samples } = waiting;
        if *samples == 0 {
            return;
        }
        let sent = match socket {
            Some(socket) => socket.emit(lines),
            None => {
                Err(io::Error::new(io::ErrorKind::NotConnected, "the host is not known, or has no address"))
            }
        };
        if let Err(error) = sent {
            let before = self.lost.fetch_add(*samples, Ordering::Relaxed);
            let lost = before + *samples;
            // The first time, and then ever more seldom: whenever the number has one more binary digit.
            if before.checked_ilog2() != lost.checked_ilog2() {
                tracing::warn!(%error, lost, "metrics cannot be sent and are dropped; the application goes on");
            }
        }
        lines.clear();
        *samples = 0;
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// A thread that panicked with the lock held may have left a part of a line, which the server rejects and counts.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What waits when nobody will flush it any more is sent.
impl Drop for Buffer {
    fn drop(&mut self) {
        self.flush();
    }
}
