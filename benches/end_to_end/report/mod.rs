//! Prints the measurements as rows of Markdown tables.

pub(crate) mod singles;

use std::fmt::{self, Display, Formatter};

use crate::arguments::Arguments;
use crate::idle;
use crate::measurement::ReceiverCost;
use crate::memory;
use crate::peers;
use crate::process::Cores;
use crate::round::Round;
use crate::streams::Stream;
use crate::turns::{Candidate, Entry};

/// The percentage of time for which the null sink may wait for its core. On an idle machine, it waits for less than
/// 3 %, partly because of tallyd's flush. With another busy process, it waits for more than 15 %, and its CPU time can
/// double.
const MAX_PERCENT_WAITED: f64 = 5.0;

pub(crate) fn streams_heading(arguments: &Arguments, cores: Cores) {
    let Arguments { rounds, interval, .. } = arguments;
    let pinned = if cores.receiver.is_some() { "each on its own core" } else { "unpinned" };
    println!("{}; generator and receiver {pinned}.", machine());
    println!(
        "tallyd has one receiver, flushes every {interval:?}, and writes JSON to a pipe; {rounds} rounds.\n"
    );
    println!(
        "| stream | lines/s | null sink, ns of CPU per line | tallyd | ratio (least to most) | target | lost by null sink \
         | by tallyd | resident |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|---:|---:|");
}

pub(crate) fn stream(stream: &Stream, rounds: &[Round]) {
    let values = |value: fn(&Round) -> f64| rounds.iter().map(value);
    let median = |value| median(values(value));
    let ratios = Ratios::new(values(|round| {
        round.tallyd.nanoseconds_per_line() / round.null_sink.nanoseconds_per_line()
    }));
    let lost = mean(values(|round| round.tallyd.percent_lost()));
    println!(
        "| {} | {} | {:.0} | {:.0} | {ratios} | {} | {:.2} % | {lost:.2} % | {:.1} MB |",
        stream.title,
        thousands(median(|round| round.tallyd.lines_per_second())),
        median(|round| round.null_sink.nanoseconds_per_line()),
        median(|round| round.tallyd.nanoseconds_per_line()),
        verdict(stream.targets.cpu, &ratios, lost),
        mean(values(|round| round.null_sink.percent_lost())),
        median(|round| megabytes(round.resident)),
    );
    warn_if_busy(stream, median(|round| round.null_sink.percent_waited()));
}

fn warn_if_busy(stream: &Stream, percent_waited: f64) {
    if percent_waited > MAX_PERCENT_WAITED {
        eprintln!(
            "{}: the null sink waited for its core {percent_waited:.0} % of the time; the machine is busy, so \
             the row means little",
            stream.name
        );
    }
}

pub(crate) fn peers_heading(arguments: &Arguments) {
    println!(
        "{}; each server alone on the receivers' core, {} rounds. tallyd has one receiver.\n",
        machine(),
        arguments.rounds
    );
    println!(
        "| stream | server | ns of CPU per line | to null sink (least to most) | target | lost | resident |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|");
}

/// Prints a row for each server. The null sink must come first.
pub(crate) fn peers(stream: &Stream, entries: &[Entry]) {
    let times =
        |entry: &Entry| entry.costs.iter().map(ReceiverCost::nanoseconds_per_line).collect::<Vec<_>>();
    let null_sink = times(&entries[0]);
    for entry in entries {
        let times = times(entry);
        let ratios = Ratios::new(times.iter().zip(&null_sink).map(|(server, null_sink)| server / null_sink));
        let lost = mean(entry.costs.iter().map(ReceiverCost::percent_lost));
        let target = stream.targets.cpu.filter(|_| matches!(entry.candidate, Candidate::Tallyd));
        println!(
            "| {} | {} | {:.0} | {ratios} | {} | {lost:.1} % | {:.1} MB |",
            stream.title,
            entry.candidate.name(),
            median(times.iter().copied()),
            verdict(target, &ratios, lost),
            median(entry.resident.iter().copied().map(megabytes)),
        );
    }
    warn_if_busy(stream, median(entries[0].costs.iter().map(ReceiverCost::percent_waited)));
}

/// Prints the servers that are not installed.
pub(crate) fn missing_peers() {
    for peer in peers::ALL.iter().filter(|peer| !peer.is_installed()) {
        println!("\n{} is not installed; `{}` installs it.", peer.name, peer.install);
    }
}

pub(crate) fn memory_heading() {
    println!(
        "\n| resident memory | samples recorded | and flushed as JSON | target | at most | all but 1,000 expired | lost |"
    );
    println!("|---|---:|---:|---:|---:|---:|---:|");
}

pub(crate) fn memory(case: &memory::Case, measured: &memory::Measured) {
    let memory::Measured { recorded, flushed, expired, percent_lost } = measured;
    let [recorded, flushed, most, expired] =
        [*recorded, flushed.resident, flushed.peak, *expired].map(megabytes);
    let target = megabytes(case.target);
    let met = met(flushed <= target);
    println!(
        "| {} | {recorded:.0} MB | {flushed:.0} MB | {target:.0} MB: {met} | {most:.0} MB | {expired:.0} MB | {percent_lost:.2} % |",
        case.title
    );
}

pub(crate) fn idle_heading() {
    println!(
        "\n| with little to do | null sink, us of CPU per second | tallyd | null sink, sleeps per second | tallyd |"
    );
    println!("|---|---:|---:|---:|---:|");
}

pub(crate) fn idle(case: &idle::Case, measured: &idle::Measured) {
    let idle::Measured { null_sink, tallyd } = measured;
    println!(
        "| {} | {:.0} | {:.0} | {:.1} | {:.1} |",
        case.title, null_sink.cpu_microseconds, tallyd.cpu_microseconds, null_sink.sleeps, tallyd.sleeps
    );
}

/// The ratios of a receiver's figures to those of the null sink in the same rounds.
struct Ratios {
    median: f64,
    least: f64,
    most: f64,
}

impl Ratios {
    fn new(ratios: impl Iterator<Item = f64>) -> Self {
        let ratios = ascending(ratios);
        Self { median: ratios[ratios.len() / 2], least: ratios[0], most: ratios[ratios.len() - 1] }
    }
}

impl Display for Ratios {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2} ({:.2} to {:.2})", self.median, self.least, self.most)
    }
}

/// Says whether a target is met. A receiver that loses datagrams misses it, because losing them is cheaper than recording them.
fn verdict(target: Option<f64>, ratios: &Ratios, percent_lost: f64) -> String {
    target.map_or_else(String::new, |target| {
        format!("{target}: {}", met(ratios.median <= target && percent_lost == 0.0))
    })
}

fn met(met: bool) -> &'static str {
    if met { "met" } else { "missed" }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let values = ascending(values);
    values[values.len() / 2]
}

/// Returns the mean. It shows a loss in a single round, which the median would hide.
fn mean(values: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = values.len() as f64;
    values.sum::<f64>() / count
}

fn ascending(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

/// Rounds a number to thousands, for example "400,000".
fn thousands(number: f64) -> String {
    let thousands = (number / 1e3).round() as u64;
    if thousands < 1000 {
        format!("{thousands},000")
    } else {
        format!("{},{:03},000", thousands / 1000, thousands % 1000)
    }
}

/// Returns the names of the kernel and the processors, for readers of the table.
fn machine() -> String {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let (kernel, processors) = (read("/proc/sys/kernel/osrelease"), read("/proc/cpuinfo"));
    let mut models = processors.lines().filter_map(|line| line.strip_prefix("model name"));
    let model = models.next().unwrap_or("unknown").trim_start_matches([' ', '\t', ':']);
    format!("Linux {}, {} x {model}", kernel.trim(), models.count() + 1)
}
