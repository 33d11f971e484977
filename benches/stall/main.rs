//! Measures the longest time for which a flush or growing tables stall a receiver. The target is at most 1 ms.
//!
//! A thread repeats the work of a datagram receiver: it calls the kernel, locks its shard, records a datagram of 20
//! lines and unlocks the shard. The report shows the longest time from requesting the lock to the end of recording
//! while another thread flushes. As a control, it also shows the longest time in an equal span without a flush.
//!
//! The receiver of a real daemon cannot be observed so closely. From outside, only the fill of its socket is visible.
//! Tracing its system calls would delay each of them, and a lost core would look like a wait for a lock. The thread of
//! this bench asks the kernel how long it was ready without a core, and subtracts that time. It cannot detect that the
//! flushing thread loses its core while holding the lock. So the median is reliable, but the maximum can be too high.

#[allow(dead_code, reason = "other benches use the rest")]
#[path = "../pipeline/mod.rs"]
mod pipeline;
mod receiver;
mod report;
#[path = "../traffic/mod.rs"]
mod traffic;
#[path = "../wait_clock/mod.rs"]
mod wait_clock;

use std::sync::Arc;
use std::time::Duration;

use tallyd::flush::{IdleReporting, ReloadableSettings};
use tallyd::model::{Policies, Policy};

use pipeline::Pipeline;
use receiver::Receiver;
use report::Report;
use traffic::LINES_PER_DATAGRAM;

/// The time between two flushes on the clock of the pipeline. Series that are idle for one interval expire.
const INTERVAL: Duration = Duration::from_secs(10);

fn main() {
    // `cargo bench` adds `--bench`. Without it, or with `--test`, the bench only has to work.
    let has_argument = |word: &str| std::env::args().any(|argument| argument == word);
    let (series, repetitions) =
        if has_argument("--bench") && !has_argument("--test") { (1_000_000, 5) } else { (20_000, 1) };
    let datagrams: Arc<[String]> = datagrams(series).into();
    let mut report = Report::default();
    for _ in 0..repetitions {
        measure_shard(&datagrams, &mut report);
    }
    println!("{series} counter series, {repetitions} times.\n");
    report.print();
}

/// Writes one line of each series.
fn datagrams(series: usize) -> Vec<String> {
    let lines: Vec<_> = (0..series).map(|n| format!("service.requests.total.{n:07}:1|c")).collect();
    lines.chunks(LINES_PER_DATAGRAM).map(|lines| lines.join("\n")).collect()
}

/// Measures one shard, beginning with its first series.
fn measure_shard(datagrams: &Arc<[String]>, report: &mut Report) {
    let all = datagrams.len();
    let (receiver, mut flush) = start(datagrams);
    report.measure("all series are new, no flush", &receiver, || receiver.wait_for_pass());
    report.measure("their first flush", &receiver, || flush.run(all));
    receiver.wait_for_pass();
    report.measure("a flush of known series", &receiver, || flush.run(all));
    for (title, staying) in [
        ("flushes that drop a thousandth of them, and the passes after", all - all / 1000),
        ("flushes that drop half of them, and the passes after", all / 2),
    ] {
        receiver.send_first(all);
        receiver.wait_for_pass();
        receiver.send_first(staying);
        receiver.wait_for_pass();
        flush.run(all);
        receiver.wait_for_pass();
        report.measure(title, &receiver, || {
            // In this flush, the shard announces series without samples to the registry.
            flush.run(all);
            receiver.wait_for_pass();
            // In this flush, the series are dropped. Meanwhile, the shard empties its line cache and fills it again.
            flush.run(all);
            receiver.wait_for_pass();
        });
        flush.run(staying);
    }
    receiver.stop();
}

fn start(datagrams: &Arc<[String]>) -> (Receiver, Flush) {
    // The flush reports all live series, so that the number of rows shows how many series were dropped.
    let idle = IdleReporting { zero_counters: true, zero_sets: true, last_gauges: true };
    let policies = Policies::new(vec![Policy { expire_after: [INTERVAL; 6], ..Policy::default() }]);
    let settings = ReloadableSettings { policies, idle, ..ReloadableSettings::default() };
    let pipeline = pipeline::with_settings(1, settings);
    let receiver = Receiver::start(Arc::clone(&pipeline.shards[0]), Arc::clone(datagrams));
    (receiver, Flush { pipeline, now: Duration::ZERO })
}

/// The flushing side of the pipeline, with its clock.
struct Flush {
    pipeline: Pipeline,
    now: Duration,
}

impl Flush {
    /// Ends the interval. `datagrams` is the number of datagrams that hold all live series.
    fn run(&mut self, datagrams: usize) {
        self.now += INTERVAL;
        assert_eq!(self.pipeline.end_interval_at(self.now).rows.len(), datagrams * LINES_PER_DATAGRAM);
    }
}
