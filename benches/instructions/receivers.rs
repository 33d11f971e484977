//! Cases that count the atomic operations of receivers. Each receiver runs on its own thread, and all receivers record
//! the same series.
//!
//! Data that receivers share by design takes atomic operations, even on a machine with few cores. These cases cannot
//! show accidental sharing, such as a cache line with values of two receivers.

use std::ops::RangeInclusive;
use std::sync::Barrier;
use std::thread;

use parking_lot::Mutex;
use tallyd::aggregate::Shard;

use crate::callgrind::{Case, counted_region};
use crate::inputs;
use crate::pipeline::warmed_up;
use crate::traffic::{BATCH, LINES_PER_DATAGRAM};

/// The numbers of receivers that are compared.
const RECEIVERS: [usize; 4] = [1, 2, 4, 8];
/// The largest number of lines that a receiver records under one lock of its shard.
pub(crate) const LINES_PER_BATCH: usize = BATCH * LINES_PER_DATAGRAM;
/// The number of batches per receiver in an interval.
const BATCHES: usize = 10;
/// The number of series. They are so few that each series has more timings in an interval than tallyd keeps as exact
/// values.
const SERIES: usize = 10;

/// The lines that the receivers receive.
struct Content {
    name: &'static str,
    /// Writes a line, given the number of its series and its own number.
    line: fn(usize, usize) -> String,
    /// The number of atomic operations per line on data that receivers share.
    shared: f64,
}

const CONTENTS: [Content; 4] = [
    Content { name: "counters", line: |id, _| format!("a.counter.{id}:1|c"), shared: 0.0 },
    Content { name: "timings", line: |id, n| format!("a.timing.{id}:{n}|ms"), shared: 0.0 },
    Content { name: "sets", line: |id, n| format!("a.set.{id}:member-{}|s", n % 40), shared: 0.0 },
    // Each line locks and unlocks a stripe of the gauges.
    Content { name: "gauges", line: |id, n| format!("a.gauge.{id}:{n}|g"), shared: 2.0 },
];

impl Content {
    /// Returns the expected atomic operations per batch.
    fn expected_atomics(&self) -> RangeInclusive<f64> {
        // The receiver locks and unlocks its own shard.
        let own = 2.0;
        let shared = self.shared * LINES_PER_BATCH as f64;
        // If two receivers collide, one of them retries. This is rare, because valgrind runs one thread at a time.
        own + shared..=own + 1.01 * shared
    }
}

/// Returns a case for each content with each number of receivers. A unit is a batch of one receiver.
pub(crate) fn cases() -> Vec<Case> {
    let combinations = CONTENTS.iter().flat_map(|content| RECEIVERS.map(|receivers| (content, receivers)));
    combinations
        .map(|(content, receivers)| {
            let name = format!("receivers/{}/{receivers}", content.name);
            Case::new(name, "batch", move || receive(content, receivers))
                .expecting_atomics(content.expected_atomics())
        })
        .collect()
}

fn receive(content: &Content, receivers: usize) -> usize {
    let lines: Vec<_> = (0..BATCHES * LINES_PER_BATCH).map(|n| (content.line)(n % SERIES, n)).collect();
    let datagrams: Vec<_> = lines.chunks(LINES_PER_DATAGRAM).map(|lines| lines.join("\n")).collect();
    let pipeline = warmed_up(receivers, |shard| record(shard, &datagrams));
    let all_started = Barrier::new(receivers);
    thread::scope(|scope| {
        for shard in &pipeline.shards {
            scope.spawn(|| {
                all_started.wait();
                counted_region(|| record(shard, &datagrams));
            });
        }
    });
    receivers * BATCHES
}

fn record(shard: &Mutex<Shard>, datagrams: &[String]) {
    // A receiver takes the lock once per batch.
    datagrams.chunks(BATCH).for_each(|batch| inputs::record(&mut shard.lock(), batch));
}
