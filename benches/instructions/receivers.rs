//! Receivers on threads of their own, all with the same series: what they want of each other takes atomic operations, on
//! however few cores they run. What they do not want, such as a cache line with values of two of them, does not show.

use std::ops::RangeInclusive;
use std::sync::Barrier;
use std::thread;

use parking_lot::Mutex;
use tallyd::aggregate::Shard;

use crate::callgrind::counted;
use crate::cases::Case;
use crate::pipeline::Pipeline;
use crate::stages::settled;
use crate::streams::LINES_A_DATAGRAM;

/// How many receivers are compared.
const RECEIVERS: [usize; 4] = [1, 2, 4, 8];
/// Datagrams for which a receiver takes the lock of its shard once, if as many wait: as in `listen::datagrams`.
const BATCH: usize = 32;
pub(crate) const LINES_A_BATCH: usize = BATCH * LINES_A_DATAGRAM;
/// In an interval, of each receiver.
const BATCHES: usize = 10;
/// The same for all receivers. So few that each has more timings in an interval than are kept as they are.
const SERIES: usize = 10;

/// What the receivers receive.
struct Content {
    name: &'static str,
    /// From the number of the series and that of the line.
    line: fn(usize, usize) -> String,
    /// Atomic operations a line on what receivers share.
    shared: f64,
}

const CONTENTS: [Content; 4] = [
    Content { name: "counters", line: |id, _| format!("a.counter.{id}:1|c"), shared: 0.0 },
    Content { name: "timings", line: |id, n| format!("a.timing.{id}:{n}|ms"), shared: 0.0 },
    Content { name: "sets", line: |id, n| format!("a.set.{id}:member-{}|s", n % 40), shared: 0.0 },
    // A stripe of the gauges is locked and unlocked.
    Content { name: "gauges", line: |id, n| format!("a.gauge.{id}:{n}|g"), shared: 2.0 },
];

impl Content {
    /// Atomic operations a batch.
    fn expected(&self) -> RangeInclusive<f64> {
        // The receiver's own shard is locked and unlocked.
        let own = 2.0;
        let shared = self.shared * LINES_A_BATCH as f64;
        // Where two receivers meet, one tries again. valgrind runs one thread at a time, so they seldom do.
        own + shared..=own + 1.01 * shared
    }
}

/// Each content with each number of receivers. A unit is a batch of one receiver.
pub(crate) fn all() -> Vec<Case> {
    let grid = CONTENTS.iter().flat_map(|content| RECEIVERS.map(|receivers| (content, receivers)));
    grid.map(|(content, receivers)| {
        let name = format!("receivers/{}/{receivers}", content.name);
        Case::new(name, "batch", move || receive(content, receivers)).expecting(content.expected())
    })
    .collect()
}

fn receive(content: &Content, receivers: usize) -> usize {
    let lines: Vec<_> = (0..BATCHES * LINES_A_BATCH).map(|n| (content.line)(n % SERIES, n)).collect();
    let datagrams: Vec<_> = lines.chunks(LINES_A_DATAGRAM).map(|lines| lines.join("\n")).collect();
    let Pipeline { shards, .. } = settled(receivers, |shard| record(shard, &datagrams));
    let all_are_there = Barrier::new(receivers);
    thread::scope(|scope| {
        for shard in &shards {
            scope.spawn(|| {
                all_are_there.wait();
                counted(|| record(shard, &datagrams));
            });
        }
    });
    receivers * BATCHES
}

fn record(shard: &Mutex<Shard>, datagrams: &[String]) {
    for batch in datagrams.chunks(BATCH) {
        let mut shard = shard.lock();
        batch.iter().for_each(|datagram| shard.record(datagram.as_bytes()));
    }
}
