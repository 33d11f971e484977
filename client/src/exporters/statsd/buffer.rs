//! A buffer of lines that are sent together in one datagram.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::socket::{NETWORK_DATAGRAM, ResolvedAddress, Socket};

/// Lines and the socket that sends them. Each buffer has cache lines of its own, because threads write to several at a time.
#[repr(align(128))]
pub(super) struct Buffer {
    state: Mutex<State>,
}

struct State {
    /// `None` until it is opened.
    socket: Option<Socket>,
    /// The largest datagram in bytes. Only a single line can be longer.
    capacity: usize,
    lines: String,
    /// The number of samples in `lines`.
    samples: u64,
    /// The number of samples in the last datagram, which may yet be refused.
    last_sent: u64,
    lost: u64,
    /// The reason for the last loss.
    error: Option<io::Error>,
}

impl Buffer {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                socket: None,
                capacity: NETWORK_DATAGRAM,
                lines: String::new(),
                samples: 0,
                last_sent: 0,
                lost: 0,
                error: None,
            }),
        }
    }

    /// Opens a new socket in place of the open one.
    pub(super) fn open(&self, address: &ResolvedAddress) -> io::Result<()> {
        let socket = Socket::open(address)?;
        let mut state = self.lock();
        state.check_refusal();
        state.last_sent = 0;
        state.capacity = socket.max_datagram();
        state.socket = Some(socket);
        Ok(())
    }

    /// Adds a sample: its line, or the lines that must share a datagram.
    pub(super) fn push(&self, lines: &str) {
        let mut state = self.lock();
        if !state.lines.is_empty() {
            if state.lines.len() + 1 + lines.len() > state.capacity {
                state.send();
            } else {
                state.lines.push('\n');
            }
        }
        state.lines.push_str(lines);
        state.samples += 1;
    }

    pub(super) fn flush(&self) {
        self.lock().send();
    }

    pub(super) fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// Returns the reason for the last loss, if one occurred since the previous call.
    pub(super) fn take_error(&self) -> Option<io::Error> {
        self.lock().error.take()
    }

    /// Locks the state. A thread that panicked while it held the lock may have left a part of a line, which the server rejects and
    /// counts.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Sends all lines. Drops what the kernel does not take: keeping it would mean to refuse new samples instead.
    fn send(&mut self) {
        if self.samples > 0 {
            let samples = std::mem::take(&mut self.samples);
            let (sent, refused) = match &self.socket {
                Some(socket) => socket.send(self.lines.as_bytes()),
                None => (Err(io::ErrorKind::NotConnected.into()), None),
            };
            self.lines.clear();
            if let Some(error) = refused {
                self.lose_last_sent(error);
            }
            match sent {
                Ok(()) => self.last_sent = samples,
                Err(error) => self.lose(samples, error),
            }
        }
        self.check_refusal();
    }

    /// Counts the samples of the last datagram as lost if it was refused.
    fn check_refusal(&mut self) {
        if let Some(error) = self.socket.as_ref().and_then(Socket::refusal) {
            self.lose_last_sent(error);
        }
    }

    fn lose_last_sent(&mut self, error: io::Error) {
        let samples = std::mem::take(&mut self.last_sent);
        self.lose(samples, error);
    }

    /// Counts lost samples. It does not log them: the log could wait for the caller, or could itself be measured.
    fn lose(&mut self, samples: u64, error: io::Error) {
        self.lost += samples;
        self.error = Some(error);
    }
}

/// Sends the remaining lines.
impl Drop for Buffer {
    fn drop(&mut self) {
        self.flush();
    }
}
