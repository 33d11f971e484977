//! Keeps the datagrams of one target until its thread has sent them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use enum_map::EnumMap;
use parking_lot::{Condvar, Mutex, MutexGuard};

use super::chunk::Chunk;
use super::counts::{Counts, DropReason, Outcome};
use crate::model::{Claim, Memory, MemoryPart};

/// The queue of a target. If it has no room for a chunk, all datagrams of the chunk are dropped. The chunk's memory could
/// not be given back for a part of them.
#[derive(Debug)]
pub(super) struct Queue {
    /// The most memory, in bytes.
    max: usize,
    memory: Memory,
    counts: Arc<Counts>,
    state: Mutex<State>,
    /// Wakes the sender.
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    chunks: VecDeque<(Arc<Chunk>, Claim)>,
    /// The memory of the chunks, in bytes.
    used: usize,
    /// The datagrams that are neither sent nor dropped, also those that the sender has taken.
    waiting: u64,
    /// The time by which the sender must have ended, once no more datagrams come.
    deadline: Option<Instant>,
    /// Whether the sender has tried to connect since then.
    has_tried: bool,
    /// Whether the rest of the queue was dropped.
    has_ended: bool,
    /// The datagrams that were dropped since the latest report.
    dropped: EnumMap<DropReason, u64>,
}

/// The next step of a sender.
#[derive(Debug)]
pub(super) enum Next {
    /// To send these datagrams, and then to call [`Queue::settle`].
    Send(Arc<Chunk>),
    /// To do what is due at the time that it gave.
    Wake,
    /// To end, because no more datagrams come.
    End,
}

impl Queue {
    /// Creates an empty queue.
    pub(super) fn new(max: usize, memory: Memory, counts: Arc<Counts>) -> Self {
        Self { max, memory, counts, state: Mutex::default(), changed: Condvar::new() }
    }

    /// Appends datagrams. It never waits for the server.
    pub(super) fn push(&self, chunk: &Arc<Chunk>) {
        let count = chunk.len() as u64;
        self.counts.received.add(count);
        let bytes = chunk.memory();
        let mut state = self.state.lock();
        if state.has_ended {
            self.drop_datagrams(&mut state, DropReason::Stopped, count);
        } else if state.used + bytes <= self.max
            && let Some(claim) = self.memory.try_claim(MemoryPart::Queues, bytes)
        {
            state.used += bytes;
            state.waiting += count;
            state.chunks.push_back((Arc::clone(chunk), claim));
            self.report(&state);
            self.changed.notify_one();
        } else {
            self.drop_datagrams(&mut state, DropReason::QueueFull, count);
        }
    }

    /// Counts datagrams that this target does not get.
    pub(super) fn refuse(&self, reason: DropReason, count: u64) {
        self.counts.received.add(count);
        self.drop_datagrams(&mut self.state.lock(), reason, count);
    }

    fn drop_datagrams(&self, state: &mut State, reason: DropReason, count: u64) {
        self.counts.dropped[reason].add(count);
        state.dropped[reason] += count;
    }

    /// Waits for datagrams, until `wake` at the latest.
    pub(super) fn next(&self, wake: Instant) -> Next {
        let mut state = self.state.lock();
        loop {
            let now = Instant::now();
            if state.deadline.is_some_and(|deadline| deadline <= now) {
                return Next::End;
            }
            if wake <= now {
                return Next::Wake;
            }
            if let Some((chunk, claim)) = state.chunks.pop_front() {
                state.used -= claim.bytes();
                self.report(&state);
                return Next::Send(chunk);
            }
            if state.deadline.is_some() {
                return Next::End;
            }
            self.changed.wait_until(&mut state, wake);
        }
    }

    /// Counts what became of datagrams that [`next`](Self::next) has returned.
    pub(super) fn settle(&self, outcome: &Outcome) {
        let mut state = self.state.lock();
        // At a deadline, all datagrams that were not settled were counted as dropped.
        if state.has_ended {
            return;
        }
        let Outcome { sent, bytes, dropped } = outcome;
        self.counts.sent.add(*sent);
        self.counts.bytes_sent.add(*bytes);
        for (reason, count) in dropped.iter().filter(|&(_, count)| *count > 0) {
            self.drop_datagrams(&mut state, reason, *count);
        }
        state.waiting -= sent + outcome.total_dropped();
        self.report(&state);
    }

    /// Waits before the next attempt to connect. Returns false if the sender should end instead: after the end of the
    /// queue, it tries once more.
    pub(super) fn pause(&self, wait: Duration) -> bool {
        let end = Instant::now() + wait;
        let mut state = self.state.lock();
        loop {
            if state.deadline.is_some() {
                return state.waiting > 0 && !std::mem::replace(&mut state.has_tried, true);
            }
            if self.changed.wait_until(&mut state, end).timed_out() {
                return true;
            }
        }
    }

    /// Returns what was dropped since the previous call, by reason.
    pub(super) fn take_dropped(&self) -> EnumMap<DropReason, u64> {
        std::mem::take(&mut self.state.lock().dropped)
    }

    /// Says that no more datagrams come, and by when the sender must have ended.
    pub(super) fn close(&self, deadline: Instant) {
        self.state.lock().deadline.get_or_insert(deadline);
        self.changed.notify_all();
    }

    /// Drops the rest. Returns the number of datagrams that were dropped since the latest report.
    pub(super) fn end(&self) -> u64 {
        let mut state = self.state.lock();
        let left = std::mem::take(&mut state.waiting);
        self.drop_datagrams(&mut state, DropReason::Stopped, left);
        state.has_ended = true;
        (state.chunks, state.used) = (VecDeque::new(), 0);
        self.report(&state);
        std::mem::take(&mut state.dropped).values().sum()
    }

    fn report(&self, state: &MutexGuard<'_, State>) {
        self.counts.waiting.set(state.waiting as f64);
        self.counts.queue_bytes.set(state.used as f64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Telemetry;

    const LONG: Duration = Duration::from_mins(1);

    /// Creates a queue with room for this many datagrams of one line.
    fn queue(datagrams: usize) -> Queue {
        let counts = Arc::new(Counts::register(&Telemetry::default(), "udp://a:1"));
        Queue::new(datagrams * chunk().memory(), Memory::default(), counts)
    }

    fn chunk() -> Arc<Chunk> {
        Arc::new(Chunk::of(b"a:1|c"))
    }

    /// Checks that each datagram is sent, dropped or waiting.
    fn assert_accounted(queue: &Queue) {
        let Counts { received, sent, dropped, waiting, .. } = &*queue.counts;
        let dropped: u64 = dropped.values().map(crate::model::Counter::pending).sum();
        assert_eq!(received.pending(), sent.pending() + dropped + waiting.get().unwrap() as u64);
    }

    #[test]
    fn a_full_queue_drops_the_newest_datagrams_and_counts_them() {
        let queue = queue(3);
        (0..5).for_each(|_| queue.push(&chunk()));
        assert_eq!(queue.counts.dropped[DropReason::QueueFull].pending(), 2);
        assert_accounted(&queue);
        let wake = Instant::now() + LONG;
        for _ in 0..3 {
            assert!(matches!(queue.next(wake), Next::Send(_)));
            assert_accounted(&queue);
            queue.settle(&Outcome { sent: 1, bytes: 5, ..Outcome::default() });
            assert_accounted(&queue);
        }
        assert_eq!(queue.take_dropped()[DropReason::QueueFull], 2);
        queue.push(&chunk());
        queue.close(wake);
        assert!(matches!(queue.next(wake), Next::Send(_)), "a stop sends what is queued");
        assert!(matches!(queue.next(wake), Next::End));
        assert_eq!(queue.end(), 1, "it was not settled");
        assert_accounted(&queue);
        queue.push(&chunk());
        assert_accounted(&queue);
    }

    #[test]
    fn memory_that_other_queues_take_is_no_room() {
        let counts = Arc::new(Counts::register(&Telemetry::default(), "udp://a:1"));
        let queue = Queue::new(1 << 20, Memory::limited(0), counts);
        queue.push(&chunk());
        assert_eq!(queue.counts.dropped[DropReason::QueueFull].pending(), 1);
        assert_accounted(&queue);
    }

    #[test]
    fn a_sender_wakes_in_time_and_tries_once_more_at_the_end() {
        let queue = queue(1);
        queue.push(&chunk());
        assert!(matches!(queue.next(Instant::now()), Next::Wake));
        assert!(queue.pause(Duration::ZERO));
        queue.close(Instant::now() + LONG);
        assert_eq!([queue.pause(LONG), queue.pause(LONG)], [true, false]);
        assert_eq!(queue.end(), 1);
        assert!(!queue.pause(LONG), "nothing waits");
    }
}
