//! Lets the thread of a stream listener rest, and lets it answer the requests of the flush.
//!
//! The thread has one runtime for all connections. Before the runtime waits for the kernel, each connection has read all
//! that the runtime's latest look has found. This is the moment in which the thread answers and rests.
//!
//! ```text
//!  look --> read all that was found --> answer what was requested before the look --> rest --> look ...
//! ```

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::coalesce::{Coalescing, Room};
use super::drain::{DrainAnswers, DrainRequests};
use crate::net::Looks;

/// The rests of one thread.
#[derive(Debug)]
pub(super) struct StreamRests {
    drains: DrainRequests,
    /// Makes the thread look again without waiting.
    again: Arc<Notify>,
    /// Only the thread takes this lock.
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    coalescing: Coalescing,
    /// The largest number of bytes in one read since the latest look.
    largest_read: usize,
    /// The time of the latest look, if it ended a rest.
    rested_until: Option<Instant>,
    /// Set once the thread runs.
    answers: Option<DrainAnswers>,
    /// The number of the latest request before the latest look.
    request: u64,
}

impl StreamRests {
    /// Creates the rests of a thread, which last at most `longest` each, and connects them to its looks. With a length of
    /// zero, the thread never rests.
    pub(super) fn new(longest: Duration, drains: DrainRequests) -> (Arc<Self>, Looks) {
        let state = State {
            coalescing: Coalescing::new(longest, Room::Connection, Instant::now()),
            largest_read: 0,
            rested_until: None,
            answers: None,
            request: 0,
        };
        let again = Arc::new(Notify::new());
        let rests = Arc::new(Self { drains, again: Arc::clone(&again), state: Mutex::new(state) });
        let for_thread = Arc::clone(&rests);
        (rests, Looks { before_wait: Arc::new(move || for_thread.before_wait()), again })
    }

    /// Notes that a connection has read this many bytes at once.
    pub(super) fn add_read(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.coalescing.add(1, bytes);
        state.largest_read = state.largest_read.max(bytes);
    }

    /// Answers what the flush had requested before the latest look. Then rests, if that saves wake-ups.
    fn before_wait(&self) {
        let state = &mut *self.state.lock();
        let answers =
            state.answers.get_or_insert_with(|| self.drains.register_notified(Arc::clone(&self.again)));
        let answered = state.request;
        answers.answer(answered);
        let largest_read = std::mem::take(&mut state.largest_read);
        if let Some(rested_until) = state.rested_until.take() {
            state.coalescing.end_rest(largest_read as f64, rested_until);
        }
        if let Some(rest) = state.coalescing.next_rest(Instant::now()) {
            answers.rest(rest, answered);
            state.rested_until = Some(Instant::now());
        } else {
            answers.end_rest();
        }
        state.request = answers.begin_look();
        if state.request != answered {
            self.again.notify_one();
        }
    }
}
