//! One stage of the data's way each, prepared as in a daemon that has run for a while, and then counted. They return how
//! many units were counted.

use std::convert::Infallible;
use std::hint::black_box;
use std::time::Duration;

use parking_lot::Mutex;
use tallyd::aggregate::Shard;
use tallyd::export::prometheus::{self, Naming, Totals};
use tallyd::export::{Console, Exporter, Format};
use tallyd::model::Snapshot;

use crate::callgrind::counted;
use crate::pipeline::{Pipeline, counters, timings};
use crate::streams::{LINES_A_DATAGRAM, Stream};

/// After so many, both sets of columns have been in use, and what they needed is there.
const INTERVALS_BEFORE: usize = 2;

/// Whose shards know all series that `fill` sends.
pub(crate) fn settled(receivers: usize, fill: impl Fn(&Mutex<Shard>)) -> Pipeline {
    let mut pipeline = Pipeline::new(receivers);
    for _interval in 0..INTERVALS_BEFORE {
        pipeline.shards.iter().for_each(|shard| fill(shard));
        drop(pipeline.aggregator.end_interval(Duration::ZERO));
    }
    pipeline
}

/// Lines of known series.
pub(crate) fn record(stream: &Stream) -> usize {
    let datagrams = stream.datagrams();
    let record = |shard: &Mutex<Shard>| {
        let mut shard = shard.lock();
        datagrams.iter().for_each(|datagram| shard.record(black_box(datagram.as_bytes())));
    };
    let Pipeline { shards, .. } = settled(1, record);
    counted(|| record(&shards[0]));
    stream.lines
}

/// Lines of new series.
pub(crate) fn learn(stream: &Stream) -> usize {
    let Pipeline { shards, .. } = Pipeline::new(1);
    let mut datagrams = stream.datagrams();
    datagrams.truncate(stream.series / LINES_A_DATAGRAM);
    let mut shard = shards[0].lock();
    counted(|| datagrams.iter().for_each(|datagram| shard.record(black_box(datagram.as_bytes()))));
    stream.series
}

/// The cut of an interval with so many `units` in it.
pub(crate) fn cut(units: usize, fill: impl Fn(&Mutex<Shard>)) -> usize {
    let Pipeline { shards, mut aggregator } = settled(1, &fill);
    fill(&shards[0]);
    let mut results = None;
    counted(|| results = Some(aggregator.end_interval(Duration::ZERO)));
    drop(results);
    units
}

pub(crate) fn of_counters() -> Snapshot {
    let mut pipeline = Pipeline::new(1);
    counters(&pipeline.shards[0], 1000);
    pipeline.snapshot()
}

pub(crate) fn of_timings() -> Snapshot {
    let mut pipeline = Pipeline::new(1);
    timings(&pipeline.shards[0], 1000, 10);
    pipeline.snapshot()
}

/// Written to where it costs the kernel nothing.
pub(crate) fn console(format: Format, snapshot: &Snapshot) -> usize {
    let mut console = Console::new(format, "/dev/null".into());
    // Opens the file.
    console.export(snapshot).expect("/dev/null takes everything");
    counted(|| _ = console.export(snapshot));
    snapshot.rows.len()
}

/// A page whose families are known.
pub(crate) fn prometheus(snapshot: &Snapshot) -> usize {
    let mut totals = Totals::new(Naming::Prometheus);
    totals.add(snapshot);
    counted(|| {
        totals.add(snapshot);
        let Ok(()) =
            prometheus::Format::Text.render(&totals, |piece| Ok::<_, Infallible>(_ = black_box(piece)));
    });
    snapshot.rows.len()
}
