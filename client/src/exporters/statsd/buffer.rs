//! Lines that wait for others, to be sent in one datagram.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::socket::{Address, NETWORK_DATAGRAM, Socket};

/// A cache line of its own for each, as threads write to several of them at a time.
#[repr(align(128))]
pub(super) struct Buffer {
    waiting: Mutex<Waiting>,
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
    lost: u64,
    /// Why the last of them were lost.
    error: Option<io::Error>,
}

impl Buffer {
    pub(super) fn new() -> Self {
        Self {
            waiting: Mutex::new(Waiting {
                socket: None,
                capacity: NETWORK_DATAGRAM,
                lines: String::new(),
                samples: 0,
                sent: 0,
                lost: 0,
                error: None,
            }),
        }
    }

    /// From now on, sends there.
    pub(super) fn open(&self, address: &Address) -> io::Result<()> {
        let socket = Socket::open(address)?;
        let mut waiting = self.lock();
        waiting.hear_of_refusal();
        waiting.sent = 0;
        waiting.capacity = socket.datagram();
        waiting.socket = Some(socket);
        Ok(())
    }

    /// Adds the line of a sample, or the lines.
    pub(super) fn push(&self, line: &str) {
        let mut waiting = self.lock();
        if !waiting.lines.is_empty() {
            if waiting.lines.len() + 1 + line.len() > waiting.capacity {
                waiting.send();
            } else {
                waiting.lines.push('\n');
            }
        }
        waiting.lines.push_str(line);
        waiting.samples += 1;
    }

    pub(super) fn flush(&self) {
        self.lock().send();
    }

    pub(super) fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// Why the last samples were lost, if some were since this was asked.
    pub(super) fn take_error(&self) -> Option<io::Error> {
        self.lock().error.take()
    }

    /// A thread that panicked with the lock held may have left a part of a line, which the server rejects and counts.
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    /// Sends all that waits. What the kernel does not take is dropped: who kept it would have to refuse new samples for it.
    fn send(&mut self) {
        if self.samples > 0 {
            let samples = std::mem::take(&mut self.samples);
            let (sent, refused) = match &self.socket {
                Some(socket) => socket.send(self.lines.as_bytes()),
                None => (Err(io::ErrorKind::NotConnected.into()), None),
            };
            self.lines.clear();
            if let Some(error) = refused {
                self.lose_sent(error);
            }
            match sent {
                Ok(()) => self.sent = samples,
                Err(error) => self.lose(samples, error),
            }
        }
        self.hear_of_refusal();
    }

    fn hear_of_refusal(&mut self) {
        if let Some(error) = self.socket.as_ref().and_then(Socket::refusal) {
            self.lose_sent(error);
        }
    }

    /// The last datagram that was sent was refused.
    fn lose_sent(&mut self, error: io::Error) {
        let samples = std::mem::take(&mut self.sent);
        self.lose(samples, error);
    }

    /// Counts; it is [`Statsd`](super::Statsd) that logs, and never within a call: the log may wait for the caller, or be measured.
    fn lose(&mut self, samples: u64, error: io::Error) {
        self.lost += samples;
        self.error = Some(error);
    }
}

/// What waits when nobody will flush it any more is sent.
impl Drop for Buffer {
    fn drop(&mut self) {
        self.flush();
    }
}
