//! Keeps the batches of one endpoint until its server has taken them.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::batch::Batch;
use super::counts::{Counts, DropReason};
use super::spool::{Spool, Spooled};
use super::transport::Receipt;
use crate::model::{Claim, Memory, MemoryPart, Repeated, Thinned};

/// The most bytes of one queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct DeliveryLimits {
    /// In memory.
    pub(crate) memory: usize,
    /// In the directory, if there is one.
    pub(crate) disk: u64,
}

/// The queue of an endpoint. Its oldest batch is sent first. New batches wait in memory while there is room, and then on
/// disk. If there is no room anywhere, the oldest batches are dropped.
#[derive(Debug)]
pub(super) struct Queue {
    name: String,
    limits: DeliveryLimits,
    memory: Memory,
    counts: Arc<Counts>,
    state: Mutex<State>,
    /// Wakes the sender.
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    entries: VecDeque<Entry>,
    /// The number of the next batch.
    next: u64,
    spool: Option<Spool>,
    points: u64,
    memory_bytes: usize,
    disk_bytes: u64,
    /// The number of the batch that is being sent. It is not dropped, because the server may have stored it.
    sending: Option<u64>,
    /// The time by which the sender must have ended, once no more batches come.
    deadline: Option<Instant>,
    /// True if the rest of the queue is on disk, or lost.
    has_ended: bool,
    drops: Thinned,
    disk_failures: Thinned,
}

#[derive(Debug)]
struct Entry {
    number: u64,
    points: u64,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Memory {
        batch: Batch,
        _claim: Claim,
    },
    /// A file of this size.
    Disk(u64),
}

/// The room that was found for a batch.
enum Room {
    Memory(Claim),
    /// A file of this size.
    Disk(u64),
}

/// The next step of a sender.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// To send this batch.
    Send { number: u64, batch: Batch },
    /// To end, because no more batches come.
    End,
}

impl Queue {
    /// Creates a queue. It continues with the batches in the directory of `spool`.
    pub(super) fn new(
        name: String,
        spool: Option<(Spool, Vec<Spooled>)>,
        (limits, memory, counts): (DeliveryLimits, Memory, Arc<Counts>),
    ) -> Self {
        let (spool, spooled) = spool.unzip();
        let entries: VecDeque<_> = spooled
            .into_iter()
            .flatten()
            .map(|Spooled { number, points, bytes }| Entry { number, points, place: Place::Disk(bytes) })
            .collect();
        let disk_bytes = entries.iter().map(Entry::disk_bytes).sum();
        let points = entries.iter().map(|entry| entry.points).sum();
        counts.queued.add(points);
        let state = State {
            points,
            next: entries.back().map_or(0, |latest| latest.number + 1),
            entries,
            spool,
            memory_bytes: 0,
            disk_bytes,
            sending: None,
            deadline: None,
            has_ended: false,
            drops: Thinned::default(),
            disk_failures: Thinned::default(),
        };
        let queue = Self { name, limits, memory, counts, state: Mutex::new(state), changed: Condvar::new() };
        queue.report(&queue.state.lock());
        queue
    }

    /// Returns the name of the endpoint, with its exporter.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Appends a batch. It never waits for the server.
    pub(super) fn push(&self, batch: Batch) {
        let mut state = self.state.lock();
        self.counts.queued.add(batch.points);
        if state.has_ended {
            self.counts.dropped[DropReason::Stopped].add(batch.points);
            return;
        }
        let (number, points) = (state.next, batch.points);
        state.next += 1;
        let mut dropped = 0;
        let room = loop {
            if let Some(room) = self.find_room(&mut state, number, &batch) {
                break Some(room);
            }
            if !self.can_hold(&state, &batch) {
                break None;
            }
            let Some(oldest) = state.take_oldest() else { break None };
            dropped += oldest.points;
        };
        match room {
            Some(room) => {
                let place = match room {
                    Room::Memory(claim) => Place::Memory { batch, _claim: claim },
                    Room::Disk(bytes) => Place::Disk(bytes),
                };
                state.points += points;
                state.entries.push_back(Entry { number, points, place });
            }
            None => dropped += points,
        }
        self.counts.dropped[DropReason::QueueFull].add(dropped);
        if let Some(Repeated { amount, .. }) = state.drops.round(dropped) {
            let endpoint = &*self.name;
            tracing::error!(
                endpoint,
                points = amount,
                "the queue was full, so its oldest points were dropped; see whether the server answers, or raise delivery.max_memory or delivery.max_disk"
            );
        }
        self.report(&state);
        self.changed.notify_all();
    }

    /// Returns true if an empty queue has room for a batch.
    fn can_hold(&self, state: &State, batch: &Batch) -> bool {
        let fits_on_disk = state.spool.is_some() && Spool::bytes(batch) <= self.limits.disk;
        batch.body.len() <= self.limits.memory || fits_on_disk
    }

    /// Finds room for a batch. On disk, the batch is written.
    fn find_room(&self, state: &mut State, number: u64, batch: &Batch) -> Option<Room> {
        let bytes = batch.body.len();
        if state.memory_bytes + bytes <= self.limits.memory
            && let Some(claim) = self.memory.try_claim(MemoryPart::Queues, bytes)
        {
            state.memory_bytes += bytes;
            return Some(Room::Memory(claim));
        }
        self.write(state, number, batch).map(Room::Disk)
    }

    /// Writes a batch to the disk, if there is room. Returns the size of its file.
    fn write(&self, state: &mut State, number: u64, batch: &Batch) -> Option<u64> {
        let spool = state.spool.as_ref()?;
        if state.disk_bytes + Spool::bytes(batch) > self.limits.disk {
            return None;
        }
        match spool.write(number, batch) {
            Ok(bytes) => {
                state.disk_bytes += bytes;
                Some(bytes)
            }
            Err(error) => {
                let directory = spool.directory().display().to_string();
                if let Some(Repeated { times, .. }) = state.disk_failures.add(1) {
                    tracing::warn!(
                        endpoint = self.name,
                        directory,
                        times,
                        "the queue cannot grow on disk: {error}; see delivery.path"
                    );
                }
                None
            }
        }
    }

    /// Waits for a batch to send. It stays in the queue until [`settle`](Self::settle).
    pub(super) fn next(&self) -> Next {
        let mut state = self.state.lock();
        loop {
            let Some(oldest) = state.entries.front() else {
                if state.deadline.is_some() {
                    return Next::End;
                }
                self.changed.wait(&mut state);
                continue;
            };
            if state.is_late() {
                return Next::End;
            }
            let number = oldest.number;
            let batch = match &oldest.place {
                Place::Memory { batch, .. } => Ok(batch.clone()),
                Place::Disk(_) => {
                    let spool = state.spool.as_ref().expect("a batch on disk has a spool");
                    spool.read(number)
                }
            };
            match batch {
                Ok(batch) => {
                    state.sending = Some(number);
                    return Next::Send { number, batch };
                }
                Err(error) => {
                    let points = oldest.points;
                    state.remove(0);
                    self.counts.dropped[DropReason::Unreadable].add(points);
                    tracing::error!(
                        endpoint = self.name,
                        points,
                        "points in the queue on disk were lost: {error}"
                    );
                    self.report(&state);
                }
            }
        }
    }

    /// Removes the batch that was sent, and counts what became of its points.
    pub(super) fn settle(&self, number: u64, receipt: &Receipt) {
        let mut state = self.state.lock();
        state.sending = None;
        // After a stop that did not wait for the answer, the next process sends the batch again.
        let Some(position) = state.entries.iter().position(|entry| entry.number == number) else { return };
        let points = state.remove(position).points;
        let refused = receipt.refused.min(points);
        self.counts.refused.add(refused);
        self.counts.acknowledged.add(points - refused);
        self.report(&state);
    }

    /// Waits before the batch is sent again. Returns false if the sender should end instead.
    pub(super) fn pause(&self, wait: Duration) -> bool {
        let end = Instant::now() + wait;
        let mut state = self.state.lock();
        loop {
            if let Some(deadline) = state.deadline {
                // The disk keeps the batch, so a stop need not wait for a server that fails.
                let gives_up = state.spool.is_some() || deadline <= end;
                if gives_up {
                    state.sending = None;
                    return false;
                }
            }
            if self.changed.wait_until(&mut state, end).timed_out() {
                return true;
            }
        }
    }

    /// Says that no more batches come, and by when the sender must have ended.
    pub(super) fn close(&self, deadline: Instant) {
        self.state.lock().deadline.get_or_insert(deadline);
        self.changed.notify_all();
    }

    /// Keeps what is left on disk for the next process, or counts it as dropped. Returns the number of dropped points.
    pub(super) fn end(&self) -> u64 {
        let mut state = self.state.lock();
        let mut dropped = 0;
        for Entry { number, points, place } in std::mem::take(&mut state.entries) {
            if let Place::Memory { batch, .. } = place
                && self.write(&mut state, number, &batch).is_none()
            {
                dropped += points;
            }
        }
        self.counts.dropped[DropReason::Stopped].add(dropped);
        state.has_ended = true;
        // This unlocks the directory, so that the endpoint can start again.
        state.spool = None;
        (state.points, state.memory_bytes, state.disk_bytes) = (0, 0, 0);
        self.report(&state);
        dropped
    }

    fn report(&self, state: &MutexGuard<'_, State>) {
        self.counts.waiting.set(state.points as f64);
        self.counts.memory_bytes.set(state.memory_bytes as f64);
        self.counts.disk_bytes.set(state.disk_bytes as f64);
    }
}

impl State {
    /// Drops the oldest batch that is not being sent.
    fn take_oldest(&mut self) -> Option<Entry> {
        let position = self.entries.iter().position(|entry| Some(entry.number) != self.sending)?;
        Some(self.remove(position))
    }

    fn remove(&mut self, position: usize) -> Entry {
        let entry = self.entries.remove(position).expect("the caller has found the batch there");
        self.points -= entry.points;
        match &entry.place {
            Place::Memory { batch, .. } => self.memory_bytes -= batch.body.len(),
            Place::Disk(bytes) => {
                self.disk_bytes -= bytes;
                if let Some(spool) = &self.spool {
                    spool.remove(entry.number);
                }
            }
        }
        entry
    }

    fn is_late(&self) -> bool {
        self.deadline.is_some_and(|deadline| deadline <= Instant::now())
    }
}

impl Entry {
    fn disk_bytes(&self) -> u64 {
        match self.place {
            Place::Memory { .. } => 0,
            Place::Disk(bytes) => bytes,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use strum::VariantArray;

    use super::*;
    use crate::model::Telemetry;

    /// Creates a queue that holds ten bytes in memory, and 400 bytes in `directory`, which are 13 files of a byte.
    fn queue(directory: Option<&std::path::Path>) -> Queue {
        let spool = directory.map(|directory| {
            let (spool, batches, _) = Spool::open(directory.to_owned()).unwrap();
            (spool, batches)
        });
        let counts = Arc::new(Counts::register(&Telemetry::default(), "e", "n"));
        let limits = DeliveryLimits { memory: 10, disk: 400 };
        Queue::new("e/n".to_owned(), spool, (limits, Memory::default(), counts))
    }

    /// Returns a batch of one byte with this many points.
    fn batch(points: u64) -> Batch {
        Batch { body: vec![0].into(), points, time: SystemTime::UNIX_EPOCH }
    }

    /// Sends all batches. Returns their points.
    fn drain(queue: &Queue) -> Vec<u64> {
        queue.close(Instant::now() + Duration::from_mins(1));
        let mut sent = Vec::new();
        while let Next::Send { number, batch } = queue.next() {
            sent.push(batch.points);
            queue.settle(number, &Receipt::default());
        }
        sent
    }

    fn dropped(queue: &Queue) -> u64 {
        DropReason::VARIANTS.iter().map(|&reason| queue.counts.dropped[reason].pending()).sum()
    }

    /// Checks that each point that was queued is acknowledged, refused, dropped or in the queue.
    fn assert_accounted(queue: &Queue) {
        let Counts { queued, acknowledged, refused, waiting, .. } = queue.counts();
        let sum = acknowledged.pending() + refused.pending() + dropped(queue) + waiting.get().unwrap() as u64;
        assert_eq!(queued.pending(), sum);
    }

    #[test]
    fn batches_are_sent_in_their_order_from_memory_and_disk() {
        let directory = tempfile::tempdir().unwrap();
        let queue = queue(Some(directory.path()));
        (1..=15).for_each(|points| queue.push(batch(points)));
        assert_accounted(&queue);
        assert_eq!(queue.counts.memory_bytes.get(), Some(10.0));
        assert_eq!(queue.counts.disk_bytes.get(), Some(5.0 * 29.0));
        assert_eq!(drain(&queue), (1..=15).collect::<Vec<_>>());
        assert_accounted(&queue);
        assert_eq!(dropped(&queue), 0);
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1, "only the lock is left");
    }

    #[test]
    fn the_oldest_batches_are_dropped_and_counted_if_there_is_no_room() {
        let directory = tempfile::tempdir().unwrap();
        for (directory, kept) in [(None, 10), (Some(directory.path()), 23)] {
            let queue = queue(directory);
            (1..=30).for_each(|points| queue.push(batch(points)));
            assert_accounted(&queue);
            let lost = (1..=30 - kept).sum::<u64>();
            assert_eq!(queue.counts.dropped[DropReason::QueueFull].pending(), lost);
            assert_eq!(drain(&queue), (31 - kept..=30).collect::<Vec<_>>());
            assert_accounted(&queue);
        }
    }

    #[test]
    fn the_batch_that_is_being_sent_is_not_dropped() {
        let queue = queue(None);
        queue.push(batch(1));
        let Next::Send { number, .. } = queue.next() else { panic!() };
        (2..=30).for_each(|points| queue.push(batch(points)));
        queue.settle(number, &Receipt { refused: 0, reason: String::new() });
        assert_eq!(queue.counts.acknowledged.pending(), 1);
        assert_accounted(&queue);
    }

    #[test]
    fn a_batch_that_is_larger_than_the_queue_is_dropped_alone() {
        let queue = queue(None);
        queue.push(batch(1));
        queue.push(Batch { body: vec![0; 11].into(), ..batch(5) });
        assert_eq!(dropped(&queue), 5);
        assert_accounted(&queue);
    }

    #[test]
    fn what_was_not_sent_at_the_stop_is_sent_by_the_next_process() {
        let directory = tempfile::tempdir().unwrap();
        let first = queue(Some(directory.path()));
        (1..=12).for_each(|points| first.push(batch(points)));
        assert!(matches!(first.next(), Next::Send { .. }));
        first.close(Instant::now());
        assert_eq!(first.end(), 0);
        first.push(batch(100));
        assert_eq!(
            first.counts.dropped[DropReason::Stopped].pending(),
            100,
            "a push after the end is counted"
        );
        let second = queue(Some(directory.path()));
        assert_eq!(second.counts.queued.pending(), (1..=12).sum::<u64>());
        second.push(batch(13));
        assert_eq!(drain(&second), (1..=13).collect::<Vec<_>>());
    }

    #[test]
    fn what_was_not_sent_at_the_stop_is_counted_if_no_disk_keeps_it() {
        let queue = queue(None);
        (1..=3).for_each(|points| queue.push(batch(points)));
        assert_eq!(queue.end(), 6);
        assert_eq!(queue.counts.dropped[DropReason::Stopped].pending(), 6);
        assert_accounted(&queue);
    }

    #[test]
    fn a_file_that_was_damaged_is_counted_and_the_next_one_is_sent() {
        let directory = tempfile::tempdir().unwrap();
        let queue = queue(Some(directory.path()));
        (1..=13).for_each(|points| queue.push(batch(points)));
        let file = directory.path().join(format!("{:020}.batch", 11));
        std::fs::write(file, "rubbish").unwrap();
        assert_eq!(drain(&queue), (1..=11).chain([13]).collect::<Vec<_>>());
        assert_eq!(queue.counts.dropped[DropReason::Unreadable].pending(), 12);
        assert_accounted(&queue);
    }

    #[test]
    fn a_stop_ends_the_pause_of_a_sender() {
        let (memory, directory) = (queue(None), tempfile::tempdir().unwrap());
        let disk = queue(Some(directory.path()));
        assert!(memory.pause(Duration::from_millis(1)), "without a stop, the sender tries again");
        disk.close(Instant::now() + Duration::from_mins(1));
        assert!(!disk.pause(Duration::from_mins(1)), "the disk keeps the batch");
        memory.close(Instant::now() + Duration::from_mins(1));
        assert!(memory.pause(Duration::from_millis(1)), "there is time for another attempt");
        assert!(!memory.pause(Duration::from_mins(2)), "the next attempt would be too late");
    }
}
