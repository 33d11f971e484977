//! How long a flush, or tables that grow, keep a receiver from recording. At most 1 ms is wanted.
//!
//! A thread does what a receiver of datagrams does, over and over: it calls the kernel, locks its shard, records a
//! datagram of 20 lines and unlocks the shard. What is reported is the longest time from wanting the lock to having
//! recorded, while another thread cuts; and as a control, for as long again without a cut.
//!
//! The receiver of a real daemon cannot be watched so closely. From outside one sees how full its socket is; what traces
//! its system calls holds up each of them; and when somebody else gets its core, that looks like a lock. Here, what the
//! thread asks of the kernel is for how long it was ready and had no core, and that time does not count. If the thread
//! that cuts loses its core while it has the lock, nobody knows. So the median is what can be relied on, and the most is
//! at least as long as it would be on a machine with nothing else to do.

mod receiver;
mod report;

use std::sync::Arc;
use std::time::Duration;

use tallyd::aggregate::AggregationOptions;
use tallyd::flush::{Aggregator, IdleReporting, ReloadableSettings};
use tallyd::model::{Policies, Policy, Telemetry};

use receiver::Receiver;
use report::Report;

const LINES_A_DATAGRAM: usize = 20;

/// From cut to cut, as the cutter is told. Series that are idle for one interval expire.
const INTERVAL: Duration = Duration::from_secs(10);

fn main() {
    // Without the word that `cargo bench` adds, it matters only whether it works.
    let said = |word: &str| std::env::args().any(|argument| argument == word);
    let (series, lives) = if said("--bench") && !said("--test") { (1_000_000, 5) } else { (20_000, 1) };
    let datagrams: Arc<[String]> = datagrams(series).into();
    let mut report = Report::default();
    for _ in 0..lives {
        live(&datagrams, &mut report);
    }
    println!("{series} counter series, {lives} times.\n");
    report.print();
}

/// Each series once.
fn datagrams(series: usize) -> Vec<String> {
    let lines: Vec<_> = (0..series).map(|n| format!("service.requests.total.{n:07}:1|c")).collect();
    lines.chunks(LINES_A_DATAGRAM).map(|lines| lines.join("\n")).collect()
}

/// The life of a shard, from its first series on.
fn live(datagrams: &Arc<[String]>, report: &mut Report) {
    let all = datagrams.len();
    let (receiver, mut flush) = start(datagrams);
    report.measure("all series are new, no cut", &receiver, || receiver.pass());
    report.measure("their first cut", &receiver, || flush.cut(all));
    receiver.pass();
    report.measure("a cut of series that are known", &receiver, || flush.cut(all));
    for (title, staying) in [
        ("cuts that drop a thousandth of them, and the passes after", all - all / 1000),
        ("cuts that drop half of them, and the passes after", all / 2),
    ] {
        receiver.send_first(all);
        receiver.pass();
        receiver.send_first(staying);
        receiver.pass();
        flush.cut(all);
        receiver.pass();
        report.measure(title, &receiver, || {
            // Those without samples are announced to the registry.
            flush.cut(all);
            receiver.pass();
            // The shard forgets all forms, and learns them anew while the flush drops the series.
            flush.cut(all);
            receiver.pass();
        });
        flush.cut(staying);
    }
    receiver.stop();
}

fn start(datagrams: &Arc<[String]>) -> (Receiver, Flush) {
    // Whatever is alive is reported, so that one sees what was dropped.
    let idle = IdleReporting { zero_counters: true, zero_sets: true, last_gauges: true };
    let policies = Policies::new(vec![Policy { expire_after: [INTERVAL; 6], ..Policy::default() }]);
    let settings = ReloadableSettings { policies, idle, ..ReloadableSettings::default() };
    let mut aggregator = Aggregator::new(AggregationOptions::default(), settings, Telemetry::default());
    let shard = aggregator.add_shard();
    (Receiver::start(shard, Arc::clone(datagrams)), Flush { aggregator, now: Duration::ZERO })
}

/// The side that cuts.
struct Flush {
    aggregator: Aggregator,
    now: Duration,
}

impl Flush {
    /// Ends the interval. So many datagrams hold all series that are alive.
    fn cut(&mut self, datagrams: usize) {
        self.now += INTERVAL;
        assert_eq!(self.aggregator.end_interval(self.now).rows.len(), datagrams * LINES_A_DATAGRAM);
    }
}
