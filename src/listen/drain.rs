//! Lets the flush wait until receivers have recorded what had arrived before a moment.
//!
//! ```text
//!  flush     -- request -->  DrainRequests  -- wakes -->  DrainAnswers, one per receiver
//!  flush  <-- is_answered --                <-- answer --  after it saw its socket empty
//! ```
//!
//! A receiver reads the number of the latest request before it reads its socket. Once the socket is empty, and
//! everything that came out of it is recorded, the receiver answers with that number.
//!
//! The same list shows which receivers no longer look at their sockets.

use std::fmt;
use std::sync::atomic::{
    AtomicBool, AtomicU64,
    Ordering::{Acquire, Relaxed, Release, SeqCst},
};
use std::sync::{Arc, Weak};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::Notify;

/// The longest wait for receivers that rest. Draining takes less, unless datagrams arrive faster than the receiver
/// records them.
pub(super) const PATIENCE: Duration = Duration::from_millis(50);

/// The longest wait of a late flush. A receiver of datagrams that sleeps in the kernel does not answer.
const LATE_PATIENCE: Duration = Duration::from_millis(250);

/// The time between two looks at the answers.
const LOOK: Duration = Duration::from_micros(500);

/// The requests of the flush to all receivers. Clones share one list of receivers.
#[derive(Debug, Clone, Default)]
pub(crate) struct DrainRequests(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// The number of the latest request.
    latest: AtomicU64,
    receivers: Mutex<Vec<Receiver>>,
}

struct Receiver {
    thread: Thread,
    /// Makes the receiver look at its sockets, if it can be woken from sleep.
    again: Option<Arc<Notify>>,
    /// Gone once the receiver has ended. It then counts as drained.
    state: Weak<State>,
    /// Returns true if the receiver should look at its sockets.
    has_unread: Box<dyn Fn() -> bool + Send + Sync>,
    /// The number of its looks at the latest check, if it should have looked at that time.
    looks_at_check: Option<u64>,
}

impl fmt::Debug for Receiver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Receiver").field("thread", &self.thread).finish_non_exhaustive()
    }
}

#[derive(Debug)]
struct State {
    /// The latest request that was answered.
    answered: AtomicU64,
    /// True from the start of a rest until the receiver has seen its socket empty and is about to sleep in the kernel.
    is_resting: AtomicBool,
    /// The number of times that the receiver was about to look at its sockets. Only the receiver changes it.
    looks: AtomicU64,
}

/// The answers of one receiver.
#[derive(Debug)]
pub(super) struct DrainAnswers {
    requests: Arc<Shared>,
    state: Arc<State>,
}

impl DrainRequests {
    /// Adds the calling thread as a receiver. `has_unread` returns true if the receiver should look at its sockets.
    pub(super) fn register(&self, has_unread: impl Fn() -> bool + Send + Sync + 'static) -> DrainAnswers {
        self.add(None, Box::new(has_unread))
    }

    /// Adds the calling thread as a receiver that looks at its sockets whenever `again` is notified.
    pub(super) fn register_notified(&self, again: Arc<Notify>) -> DrainAnswers {
        self.add(Some(again), Box::new(|| true))
    }

    fn add(
        &self,
        again: Option<Arc<Notify>>,
        has_unread: Box<dyn Fn() -> bool + Send + Sync>,
    ) -> DrainAnswers {
        let answered = AtomicU64::new(self.0.latest.load(SeqCst));
        let (is_resting, looks) = (AtomicBool::new(false), AtomicU64::new(0));
        let state = Arc::new(State { answered, is_resting, looks });
        let mut receivers = self.0.receivers.lock();
        receivers.retain(|receiver| receiver.state.strong_count() > 0);
        receivers.push(Receiver {
            thread: thread::current(),
            again,
            state: Arc::downgrade(&state),
            has_unread,
            looks_at_check: None,
        });
        DrainAnswers { requests: Arc::clone(&self.0), state }
    }

    /// Returns the names of the receivers that have not looked at their sockets since the previous call, although
    /// something waited there.
    pub(crate) fn stuck_receivers(&self) -> Vec<String> {
        let mut receivers = self.0.receivers.lock();
        let stuck = receivers.iter_mut().filter_map(|receiver| {
            let is_stuck = receiver.is_stuck();
            is_stuck.then(|| receiver.thread.name().unwrap_or_default().to_owned())
        });
        stuck.collect()
    }

    /// Waits until all receivers that rest have recorded what had arrived before the call.
    ///
    /// If the flush is late, datagrams may also wait for receivers that sleep in the kernel, because the process was
    /// suspended or had no CPU. This then waits for all receivers, but not longer than the flush is late already.
    pub(crate) fn drain(&self, lateness: Option<Duration>) {
        let request = self.0.latest.fetch_add(1, SeqCst) + 1;
        let receivers = self.0.receivers.lock();
        for Receiver { thread, again, .. } in receivers.iter() {
            thread.unpark();
            if let Some(again) = again {
                again.notify_one();
            }
        }
        let patience = lateness.map_or(PATIENCE, |lateness| lateness.clamp(PATIENCE, LATE_PATIENCE));
        let begin = Instant::now();
        let is_drained = |receiver: &Receiver| {
            receiver.state.upgrade().is_none_or(|state| {
                let must_answer = lateness.is_some() || state.is_resting.load(SeqCst);
                !must_answer || state.answered.load(Acquire) >= request
            })
        };
        while !receivers.iter().all(is_drained) && begin.elapsed() < patience {
            thread::sleep(LOOK);
        }
    }
}

impl Receiver {
    /// Returns true if the receiver has not looked at its sockets since the previous call, although it should have.
    fn is_stuck(&mut self) -> bool {
        let Some(state) = self.state.upgrade() else { return false };
        if let Some(again) = &self.again {
            again.notify_one();
        }
        let looks = (self.has_unread)().then(|| state.looks.load(Relaxed));
        let before = std::mem::replace(&mut self.looks_at_check, looks);
        looks.is_some() && looks == before
    }
}

#[cfg(test)]
impl DrainRequests {
    /// Returns true if a receiver rests.
    pub(super) fn has_resting(&self) -> bool {
        let is_resting =
            |receiver: &Receiver| receiver.state.upgrade().is_some_and(|state| state.is_resting.load(SeqCst));
        self.0.receivers.lock().iter().any(is_resting)
    }
}

impl DrainAnswers {
    /// Notes a look, and returns the number of the latest request. A receiver calls this before it reads its socket.
    pub(super) fn begin_look(&self) -> u64 {
        self.state.looks.store(self.state.looks.load(Relaxed) + 1, Relaxed);
        self.latest_request()
    }

    fn latest_request(&self) -> u64 {
        self.requests.latest.load(SeqCst)
    }

    /// Answers a request. The socket was empty after the receiver had learned of the request, and all that came out of
    /// it is recorded.
    pub(super) fn answer(&self, request: u64) {
        self.state.answered.store(request, Release);
    }

    /// Rests for `time`, or until a request after `answered` or something else unparks the thread.
    pub(super) fn rest(&self, time: Duration, answered: u64) {
        // If the flush does not see this, then the next line sees its request.
        self.state.is_resting.store(true, SeqCst);
        if self.latest_request() == answered {
            thread::park_timeout(time);
        }
    }

    /// Notes that the receiver is about to sleep in the kernel. Its socket was empty.
    pub(super) fn end_rest(&self) {
        self.state.is_resting.store(false, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_mins(1);

    /// Runs a receiver that records the request that it has learned of whenever it looks at its socket.
    fn with_receiver(rests: bool, test: impl FnOnce(&DrainRequests, &mpsc::Receiver<u64>)) {
        let requests = DrainRequests::default();
        let (record, recorded) = mpsc::channel();
        let for_thread = requests.clone();
        let receiver = thread::spawn(move || {
            let answers = for_thread.register(|| false);
            loop {
                let request = answers.begin_look();
                if record.send(request).is_err() {
                    break;
                }
                answers.answer(request);
                if rests {
                    answers.rest(LONG, request);
                } else {
                    answers.end_rest();
                    thread::park();
                }
            }
        });
        assert_eq!(recorded.recv(), Ok(0));
        while rests && !requests.has_resting() {
            thread::yield_now();
        }
        test(&requests, &recorded);
        drop(recorded);
        receiver.thread().unpark();
        receiver.join().unwrap();
    }

    #[test]
    fn a_drain_wakes_a_resting_receiver_and_waits_for_it() {
        with_receiver(true, |requests, recorded| {
            for request in 1..=100 {
                let begin = Instant::now();
                requests.drain(None);
                let has_waited = begin.elapsed() < PATIENCE;
                // On a busy machine, the receiver may need longer than the patience.
                let latest = if has_waited { recorded.try_recv().ok() } else { recorded.recv().ok() };
                assert_eq!(latest, Some(request));
            }
        });
    }

    #[test]
    fn only_a_late_drain_waits_for_a_receiver_that_does_not_rest() {
        let requests = DrainRequests::default();
        let answers = requests.register(|| false);
        let begin = Instant::now();
        requests.drain(Some(LONG));
        assert!(begin.elapsed() >= LATE_PATIENCE);
        requests.drain(None);
        answers.answer(answers.latest_request());
        drop(answers);
        // A receiver that has ended does not count. A wait would be a minute.
        requests.drain(Some(LONG));
        with_receiver(false, |requests, recorded| {
            requests.drain(Some(LONG));
            assert_eq!(recorded.recv(), Ok(1));
        });
    }

    #[test]
    fn only_a_receiver_that_does_not_look_although_something_waits_is_stuck() {
        let requests = DrainRequests::default();
        let waits = Arc::new(AtomicBool::new(false));
        let has_unread = Arc::clone(&waits);
        let answers = requests.register(move || has_unread.load(SeqCst));
        let is_stuck = || !requests.stuck_receivers().is_empty();
        assert_eq!([is_stuck(), is_stuck()], [false; 2], "nothing waits");
        waits.store(true, SeqCst);
        assert_eq!([is_stuck(), is_stuck(), is_stuck()], [false, true, true]);
        answers.begin_look();
        assert_eq!([is_stuck(), is_stuck()], [false, true]);
        drop(answers);
        assert!(!is_stuck(), "it has ended");
    }
}
