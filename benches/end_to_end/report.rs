//! Prints Markdown tables, row by row as the measurements come.

use crate::arguments::Arguments;
use crate::cores::Cores;
use crate::memory::{Case, Measured};
use crate::round::Round;
use crate::streams::Stream;

pub(crate) fn streams_heading(arguments: &Arguments, cores: Cores) {
    let Arguments { rounds, measured, .. } = arguments;
    let pinned = if cores.receiver.is_some() { "each on a core of its own" } else { "unpinned" };
    println!("{}; generator and receiver {pinned}.", machine());
    println!(
        "Median of {rounds} rounds of {measured:?}; tallyd has one receiver, flushes every {measured:?}, and writes JSON to a pipe.\n"
    );
    println!(
        "| stream | lines/s offered | null sink, ns of CPU a line | tallyd | ratio | least-most | lost: null sink | tallyd | resident, MB |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
}

pub(crate) fn stream(stream: &Stream, rounds: &[Round]) {
    let of = |value: fn(&Round) -> f64| Spread::of(rounds.iter().map(value).collect());
    let ratio = of(|round| round.tallyd.nanoseconds_a_line() / round.null_sink.nanoseconds_a_line());
    println!(
        "| {} | {:.0} | {:.0} | {:.0} | {:.2} | {:.2}-{:.2} | {:.2} % | {:.2} % | {:.1} |",
        stream.title,
        of(|round| round.tallyd.lines_a_second()).median,
        of(|round| round.null_sink.nanoseconds_a_line()).median,
        of(|round| round.tallyd.nanoseconds_a_line()).median,
        ratio.median,
        ratio.least,
        ratio.most,
        of(|round| round.null_sink.percent_lost()).median,
        of(|round| round.tallyd.percent_lost()).median,
        of(|round| megabytes(round.resident)).median,
    );
}

pub(crate) fn memory_heading() {
    println!("\n| memory, MB resident | recorded | flushed | at most |");
    println!("|---|---:|---:|---:|");
}

pub(crate) fn memory(case: &Case, measured: &Measured) {
    let Measured { recorded, flushed } = measured;
    let [recorded, flushed, peak] = [recorded.resident, flushed.resident, flushed.peak].map(megabytes);
    println!("| {} | {recorded:.0} | {flushed:.0} | {peak:.0} |", case.stream.title);
}

struct Spread {
    least: f64,
    median: f64,
    most: f64,
}

impl Spread {
    /// Of at least one value.
    fn of(mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        Self { least: values[0], median: values[values.len() / 2], most: values[values.len() - 1] }
    }
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Kernel and processor, for whoever reads the table later.
fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let processors = read("/proc/cpuinfo");
    let model = processors.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
    let count = processors.lines().filter(|line| line.starts_with("processor")).count();
    format!(
        "Linux {}, {count} x {}",
        read("/proc/sys/kernel/osrelease").trim(),
        model.trim_start_matches([' ', '\t', ':'])
    )
}
