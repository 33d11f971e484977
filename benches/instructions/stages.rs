//! Cases that count one stage each. Except for `learn`, they first bring the stage to the state of a daemon that has
//! run for a while.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;

use parking_lot::Mutex;
use tallyd::aggregate::Shard;
use tallyd::export::ConsoleFormat::{Json, Text};
use tallyd::export::prometheus::{self, Naming, Totals};
use tallyd::export::{Console, ConsoleFormat, Exporter};
use tallyd::flush::ReloadableSettings;
use tallyd::model::Snapshot;
use tallyd::resolve::Limits;

use crate::callgrind::{Case, counted_region};
use crate::inputs::{self, Input};
use crate::pipeline::{counters, snapshot, timings, warmed_up, with_percentiles, with_settings};
use crate::traffic::LINES_PER_DATAGRAM;

/// The number of lines that an interval has before lines are counted. One in 200 is then kept in the sample.
const LINES_BEFORE: usize = 200_000;

pub(crate) fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for input in &inputs::ALL {
        cases.push(Case::new(format!("record/{}", input.name), "line", || record(input)));
    }
    cases.extend([
        Case::new("learn/counter/1k", "series", || learn(&inputs::ALL[0])),
        Case::new("overflow/counter", "line", overflow),
        Case::new("flush/counters", "series", || flush(10_000, |shard| counters(shard, 10_000))),
        Case::new("flush/timings/100", "value", || flush(10_000, |shard| timings(shard, 100, 100))),
        Case::new("flush/timings/1000", "value", || flush(20_000, |shard| timings(shard, 20, 1000))),
        Case::new("render/console_text/counters", "series", || render_console(Text, of_counters())),
        Case::new("render/console_text/timings", "series", || render_console(Text, of_timings())),
        Case::new("render/console_json/counters", "series", || render_console(Json, of_counters())),
        Case::new("render/console_json/timings", "series", || render_console(Json, of_timings())),
        Case::new("render/prometheus_text/counters", "series", || render_prometheus(&of_counters())),
        Case::new("render/prometheus_text/timings", "series", || render_prometheus(&of_timings())),
    ]);
    cases
}

/// Records lines of known series.
fn record(input: &Input) -> usize {
    let datagrams = input.datagrams();
    let record = |shard: &Mutex<Shard>| inputs::record(&mut shard.lock(), &datagrams);
    let pipeline = warmed_up(1, record);
    // As in a real interval, nearly all lines come when the sample of the interval is full.
    let filler = "filler:1|c\n".repeat(LINES_PER_DATAGRAM);
    (0..LINES_BEFORE / LINES_PER_DATAGRAM).for_each(|_| pipeline.shards[0].lock().record(filler.as_bytes()));
    counted_region(|| record(&pipeline.shards[0]));
    input.lines
}

/// Records lines of new series.
fn learn(input: &Input) -> usize {
    let pipeline = with_percentiles(1);
    let mut datagrams = input.datagrams();
    datagrams.truncate(input.series / LINES_PER_DATAGRAM);
    let mut shard = pipeline.shards[0].lock();
    counted_region(|| inputs::record(&mut shard, &datagrams));
    input.series
}

/// Records lines of one metric beyond its limit, each with a new tag.
fn overflow() -> usize {
    const LINES: usize = 20_000;
    let limits = Limits { series_per_metric: 1, ..Limits::default() };
    let pipeline = with_settings(1, ReloadableSettings { limits, ..ReloadableSettings::default() });
    let line = |number| format!("app.requests.endpoint:1|c|#request:{number:06}");
    let lines: Vec<_> = (0..LINES + LINES_PER_DATAGRAM).map(line).collect();
    let datagrams: Vec<_> = lines.chunks(LINES_PER_DATAGRAM).map(|lines| lines.join("\n")).collect();
    let (first, rest) = datagrams.split_at(1);
    let mut shard = pipeline.shards[0].lock();
    inputs::record(&mut shard, first);
    counted_region(|| inputs::record(&mut shard, rest));
    LINES
}

/// Ends an interval that holds `units`.
fn flush(units: usize, fill: impl Fn(&Mutex<Shard>)) -> usize {
    let mut pipeline = warmed_up(1, &fill);
    fill(&pipeline.shards[0]);
    let mut results = None;
    counted_region(|| results = Some(pipeline.end_interval()));
    drop(results);
    units
}

fn of_counters() -> Snapshot {
    let mut pipeline = with_percentiles(1);
    counters(&pipeline.shards[0], 1000);
    snapshot(&mut pipeline)
}

fn of_timings() -> Snapshot {
    let mut pipeline = with_percentiles(1);
    timings(&pipeline.shards[0], 1000, 10);
    snapshot(&mut pipeline)
}

/// Renders a snapshot, and writes it to `/dev/null`.
fn render_console(format: ConsoleFormat, snapshot: Snapshot) -> usize {
    let mut console = Console::new(format, "/dev/null".into());
    // The first export opens the file.
    let snapshot = Arc::new(snapshot);
    console.export(&snapshot).expect("/dev/null accepts all data");
    counted_region(|| _ = console.export(&snapshot));
    snapshot.rows.len()
}

/// Adds a snapshot of known families to the totals, and renders them.
fn render_prometheus(snapshot: &Snapshot) -> usize {
    let mut totals = Totals::new(Naming::Prometheus);
    totals.add(snapshot);
    counted_region(|| {
        totals.add(snapshot);
        let Ok(()) =
            prometheus::Format::Text.render(&totals, |piece| Ok::<_, Infallible>(_ = black_box(piece)));
    });
    snapshot.rows.len()
}
