//! A buffer of lines, which the client sends together in one datagram.

use std::io;
use std::sync::{Mutex, MutexGuard};

use super::datagram::NETWORK_DATAGRAM;
use super::socket::{ResolvedAddress, Socket};
use crate::poison::ignore_poison;

/// Lines and the socket that sends them. The alignment gives each buffer its own cache lines, because threads write to
/// different buffers at the same time.
#[repr(align(128))]
pub(super) struct Buffer {
    state: Mutex<State>,
}

struct State {
    /// The socket, or `None` until it is opened.
    socket: Option<Socket>,
    /// The largest datagram in bytes. Only a single line can be longer.
    capacity: usize,
    lines: String,
    /// The number of calls in `lines`. It differs from the number of lines, because a line can have many calls.
    calls: u64,
    /// The number of calls in the last datagram. The receiving machine may still refuse it.
    last_sent: u64,
    /// The number of lost calls.
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
                calls: 0,
                last_sent: 0,
                lost: 0,
                error: None,
            }),
        }
    }

    /// Replaces the socket by a new one.
    pub(super) fn open(&self, address: &ResolvedAddress) -> io::Result<()> {
        let socket = Socket::open(address)?;
        let mut state = self.lock();
        state.check_refusal();
        state.last_sent = 0;
        state.capacity = socket.max_datagram();
        state.socket = Some(socket);
        Ok(())
    }

    /// Adds a sample, which stands for `calls` calls. Its lines must share a datagram.
    pub(super) fn push(&self, lines: &str, calls: u64) {
        let mut state = self.lock();
        if !state.lines.is_empty() {
            if state.lines.len() + 1 + lines.len() > state.capacity {
                state.send();
            } else {
                state.lines.push('\n');
            }
        }
        state.lines.push_str(lines);
        state.calls += calls;
    }

    pub(super) fn flush(&self) {
        self.lock().send();
    }

    pub(super) fn lost(&self) -> u64 {
        self.lock().lost
    }

    /// Returns the reason for the last loss, if a loss occurred since the previous call.
    pub(super) fn take_error(&self) -> Option<io::Error> {
        self.lock().error.take()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        ignore_poison(self.state.lock())
    }
}

impl State {
    /// Sends all lines. Drops the lines that the kernel does not accept, because keeping them would leave no room for
    /// new samples.
    fn send(&mut self) {
        if !self.lines.is_empty() {
            let calls = std::mem::take(&mut self.calls);
            let (sent, refused) = match &self.socket {
                Some(socket) => socket.send(self.lines.as_bytes()),
                None => (Err(io::ErrorKind::NotConnected.into()), None),
            };
            self.lines.clear();
            if let Some(error) = refused {
                self.lose_last_sent(error);
            }
            match sent {
                Ok(()) => self.last_sent = calls,
                Err(error) => self.lose(calls, error),
            }
        }
        self.check_refusal();
    }

    /// Counts the calls of the last datagram as lost if it was refused.
    fn check_refusal(&mut self) {
        if let Some(error) = self.socket.as_ref().and_then(Socket::refusal) {
            self.lose_last_sent(error);
        }
    }

    fn lose_last_sent(&mut self, error: io::Error) {
        let calls = std::mem::take(&mut self.last_sent);
        self.lose(calls, error);
    }

    /// Counts lost calls. It does not log them, because the log could wait for the caller or record metrics itself.
    fn lose(&mut self, calls: u64, error: io::Error) {
        self.lost += calls;
        self.error = Some(error);
    }
}

/// Sends the remaining lines.
impl Drop for Buffer {
    fn drop(&mut self) {
        self.flush();
    }
}
