//! Prints Markdown tables, row by row as the measurements come.

use crate::arguments::Arguments;
use crate::cores::Cores;
use crate::round::Round;
use crate::streams::Stream;
use crate::{idle, memory};

/// Percent of the time. An idle machine lets the null sink wait for less than 3 %, of which some is tallyd's flush; one
/// with another busy process for more than 15 %, and times are then up to twice as long.
const DISTURBED: f64 = 5.0;

pub(crate) fn streams_heading(arguments: &Arguments, cores: Cores) {
    let Arguments { rounds, interval, .. } = arguments;
    let pinned = if cores.receiver.is_some() { "each on a core of its own" } else { "unpinned" };
    println!("{}; generator and receiver {pinned}.", machine());
    println!(
        "tallyd has one receiver, flushes every {interval:?}, and writes JSON to a pipe; {rounds} rounds.\n"
    );
    println!(
        "| stream | lines/s | null sink, ns of CPU a line | tallyd | ratio: median | least | most | lost by null sink \
         | by tallyd | resident |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
}

pub(crate) fn stream(stream: &Stream, rounds: &[Round]) {
    let ascending = |value: fn(&Round) -> f64| {
        let mut values: Vec<_> = rounds.iter().map(value).collect();
        values.sort_by(f64::total_cmp);
        values
    };
    let median = |value| ascending(value)[rounds.len() / 2];
    // The median would not show what only one round lost.
    let mean = |value| ascending(value).iter().sum::<f64>() / rounds.len() as f64;
    let ratios = ascending(|round| round.tallyd.nanoseconds_a_line() / round.null_sink.nanoseconds_a_line());
    println!(
        "| {} | {} | {:.0} | {:.0} | {:.2} | {:.2} | {:.2} | {:.2} % | {:.2} % | {:.1} MB |",
        stream.title,
        thousands(median(|round| round.tallyd.lines_a_second())),
        median(|round| round.null_sink.nanoseconds_a_line()),
        median(|round| round.tallyd.nanoseconds_a_line()),
        ratios[rounds.len() / 2],
        ratios[0],
        ratios[rounds.len() - 1],
        mean(|round| round.null_sink.percent_lost()),
        mean(|round| round.tallyd.percent_lost()),
        median(|round| megabytes(round.resident)),
    );
    let waited = median(|round| round.null_sink.percent_waited());
    if waited > DISTURBED {
        eprintln!(
            "{}: the null sink waited for its core {waited:.0} % of the time; the machine is busy, and the row means little",
            stream.name
        );
    }
}

pub(crate) fn memory_heading() {
    println!(
        "\n| resident memory | samples recorded | and flushed as JSON | at most | all but 1,000 expired | lost |"
    );
    println!("|---|---:|---:|---:|---:|---:|");
}

pub(crate) fn memory(case: &memory::Case, measured: &memory::Measured) {
    let memory::Measured { recorded, flushed, expired, percent_lost } = measured;
    let [recorded, flushed, most, expired] =
        [*recorded, flushed.resident, flushed.peak, *expired].map(megabytes);
    println!(
        "| {} | {recorded:.0} MB | {flushed:.0} MB | {most:.0} MB | {expired:.0} MB | {percent_lost:.2} % |",
        case.title
    );
}

pub(crate) fn idle_heading() {
    println!(
        "\n| with little to do | null sink, us of CPU a second | tallyd | null sink, sleeps a second | tallyd |"
    );
    println!("|---|---:|---:|---:|---:|");
}

pub(crate) fn idle(case: &idle::Case, measured: &idle::Measured) {
    let idle::Measured { null_sink, tallyd } = measured;
    println!(
        "| {} | {:.0} | {:.0} | {:.1} | {:.1} |",
        case.title, null_sink.microseconds, tallyd.microseconds, null_sink.sleeps, tallyd.sleeps
    );
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Rounded to thousands: "400,000".
fn thousands(number: f64) -> String {
    let thousands = (number / 1e3).round() as u64;
    if thousands < 1000 {
        format!("{thousands},000")
    } else {
        format!("{},{:03},000", thousands / 1000, thousands % 1000)
    }
}

/// Kernel and processors, for whoever reads the table later.
fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let (kernel, processors) = (read("/proc/sys/kernel/osrelease"), read("/proc/cpuinfo"));
    let mut models = processors.lines().filter_map(|line| line.strip_prefix("model name"));
    let model = models.next().unwrap_or("unknown").trim_start_matches([' ', '\t', ':']);
    format!("Linux {}, {} x {model}", kernel.trim(), models.count() + 1)
}
