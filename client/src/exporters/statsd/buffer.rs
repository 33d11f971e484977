//! Lines that wait for others, to be sent in one datagram.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::socket::{Address, NETWORK_DATAGRAM, Socket};

/// A cache line of its own for each, as threads write to several of them at a time.
#[repr(align(128))]
pub(super) struct Buffer {
    waiting: Mutex<Waiting>,
    lost: AtomicU64,
}

struct Waiting {
    /// `None` as long as it could not be opened.
    socket: Option<Socket>,
    /// Bytes of a datagram at most, but for a line that is longer.
    capacity: usize,
    lines: String,
    /// How many samples these lines are.
    samples: u64,
    /// And those of the last datagram that was sent, which may yet be refused.
    sent: u64,
}

/// Why samples were lost.
struct Loss {
    samples: u64,
    error: io::Error,
}

impl Buffer {
    pub(super) fn new() -> Self {
        let waiting =
            Waiting { socket: None, capacity: NETWORK_DATAGRAM, lines: String::new(), samples: 0, sent: 0 };
        Self { waiting: Mutex::new(waiting), lost: AtomicU64::new(0) }
    }

    /// From now on, sends there.
    pub(super) fn open(&self, address: &Address) -> io::Result<()> {
        let socket = Socket::open(address)?;
        let mut waiting = self.lock();
        waiting.capacity = socket.datagram();
        waiting.socket = Some(socket);
        waiting.sent = 0;
        Ok(())
    }

    /// Adds the line of a sample, or the lines.
    pub(super) fn push(&self, line: &str) {
        let mut waiting = self.lock();
        let mut loss = None;
        if !waiting.lines.is_empty() {
            if waiting.lines.len() + 1 + line.len() > waiting.capacity {
                loss = waiting.send();
            } else {
                waiting.lines.push('\n');
            }
        }
        waiting.lines.push_str(line);
        waiting.samples += 1;
        drop(waiting);
        self.tell(loss);
    }

    pub(super) fn flush(&self) {
        let loss = self.lock().send();
        self.tell(loss);
    }

    /// Counts what was lost, and logs it. No lock is held: the log may be slow, and may itself be measured.
    fn tell(&self, loss: Option<Loss>) {
        let Some(Loss { samples, error }) = loss else { return };
        let before = self.lost.fetch_add(samples, Ordering::Relaxed);
        let lost = before + samples;
        // The first time, and then ever more seldom: whenever the number has one more binary digit.
        if before.checked_ilog2() != lost.checked_ilog2() {
            tracing::warn!(%error, lost, "metrics cannot be sent and are dropped; the application goes on");
        }
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// A thread that panicked with the lock held may have left a part of a line, which the server rejects and counts.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Sends all that waits. What the kernel does not take is dropped: who kept it would have to refuse new samples for it.
    fn send(&mut self) -> Option<Loss> {
        let samples = std::mem::take(&mut self.samples);
        let Some(socket) = &self.socket else {
            self.lines.clear();
            let error =
                io::Error::new(io::ErrorKind::NotConnected, "the host is not known, or has no address");
            return (samples > 0).then_some(Loss { samples, error });
        };
        let mut loss: Option<Loss> = None;
        let mut lose = |samples: u64, error| {
            let before = loss.take().map_or(0, |loss| loss.samples);
            loss = Some(Loss { samples: before + samples, error });
        };
        if samples > 0 {
            let (sent, refused) = socket.send(self.lines.as_bytes());
            self.lines.clear();
            if let Some(error) = refused {
                lose(std::mem::take(&mut self.sent), error);
            }
            match sent {
                Ok(()) => self.sent = samples,
                Err(error) => lose(samples, error),
            }
        }
        if let Some(error) = socket.refusal() {
            lose(std::mem::take(&mut self.sent), error);
        }
        loss.filter(|loss| loss.samples > 0)
    }
}

/// What waits when nobody will flush it any more is sent.
impl Drop for Buffer {
    fn drop(&mut self) {
        self.flush();
    }
}
