//! Lets the flush wait until receivers have recorded what had arrived before a moment.
//!
//! ```text
//!  flush     -- request -->  DrainRequests  -- pending -->  DrainAnswers, one per receiver
//!  flush  <-- is_answered --                <-- answer ----  after it saw its socket empty
//! ```
//!
//! A receiver reads the number of the latest request before it reads its socket. Once the socket is empty, and
//! everything that came out of it is recorded, the receiver answers with that number.

use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

/// The requests of the flush to all receivers. Clones share one list of receivers.
#[derive(Debug, Clone, Default)]
pub(crate) struct DrainRequests(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// The number of the latest request.
    latest: AtomicU64,
    /// The latest answer of each receiver. A receiver that has ended counts as drained.
    answers: Mutex<Vec<Weak<AtomicU64>>>,
}

/// The answers of one receiver.
#[derive(Debug)]
pub(crate) struct DrainAnswers {
    requests: Arc<Shared>,
    answered: Arc<AtomicU64>,
}

impl DrainRequests {
    /// Adds a receiver.
    #[must_use]
    pub(crate) fn register(&self) -> DrainAnswers {
        let answered = Arc::new(AtomicU64::new(self.0.latest.load(Relaxed)));
        let mut answers = self.0.answers.lock();
        answers.retain(|receiver| receiver.strong_count() > 0);
        answers.push(Arc::downgrade(&answered));
        DrainAnswers { requests: Arc::clone(&self.0), answered }
    }

    /// Asks all receivers to record what has arrived.
    pub(crate) fn request(&self) {
        self.0.latest.fetch_add(1, Release);
    }

    /// Returns true if every receiver has recorded what had arrived before the latest request.
    #[must_use]
    pub(crate) fn is_answered(&self) -> bool {
        let latest = self.0.latest.load(Relaxed);
        let answers = self.0.answers.lock();
        answers.iter().filter_map(Weak::upgrade).all(|answered| answered.load(Acquire) >= latest)
    }
}

impl DrainAnswers {
    /// Returns the number of the latest request. A receiver calls this before it reads its socket.
    #[must_use]
    pub(crate) fn latest_request(&self) -> u64 {
        self.requests.latest.load(Acquire)
    }

    /// Answers a request. The socket was empty after the receiver had learned of the request, and all that came out of
    /// it is recorded.
    pub(crate) fn answer(&self, request: u64) {
        self.answered.store(request, Release);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_answered_once_every_live_receiver_has_answered() {
        let requests = DrainRequests::default();
        let [one, other] = [requests.register(), requests.register()];
        assert!(requests.is_answered());
        let early = one.latest_request();
        requests.request();
        one.answer(early);
        assert!(!requests.is_answered());
        one.answer(one.latest_request());
        assert!(!requests.is_answered());
        drop(other);
        assert!(requests.is_answered());
    }
}
