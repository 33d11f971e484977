//! Prints the rows of single datagrams.

use super::{Ratios, ascending, machine, mean, median, verdict, warn_if_busy};
use crate::arguments::Arguments;
use crate::measurement::ReceiverCost;
use crate::streams::{Pace, Singles, Stream};
use crate::turns::{Candidate, Entry};

/// The share of the stream's pace that the generator must reach.
const LEAST_PACE: f64 = 0.99;

pub(crate) fn heading(arguments: &Arguments) {
    let Arguments { rounds, interval, coalesce, .. } = arguments;
    println!(
        "\nSingle datagrams, one per send(), 1,000 counter series; {}; each receiver alone on its core, {rounds} rounds.",
        machine()
    );
    println!(
        "tallyd has one receiver, flushes every {interval:?}, and has {}. The resting null sink rests for {:?}.",
        coalesce
            .map_or("the default coalesce_delay".to_owned(), |delay| format!("coalesce_delay = {delay:?}")),
        arguments.rest()
    );
    println!("A send() is the mean of the elapsed time. The longest wait is the median of the rounds.\n");
    println!(
        "| single datagrams | receiver | CPU per datagram | to null sink (least to most) | target \
         | send() | to null sink (least to most) | target | wake-ups per second | longest wait | lost |"
    );
    println!("|---|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|");
}

/// Prints a row for each receiver. The blocking null sink must come first.
pub(crate) fn rows(stream: &Stream, entries: &[Entry], test: bool) {
    let null_sink = &entries[0];
    for entry in entries {
        let values = |value: fn(&ReceiverCost) -> f64| entry.costs.iter().map(value);
        let ratios = |value: fn(&ReceiverCost) -> f64| {
            Ratios::new(
                entry.costs.iter().zip(&null_sink.costs).map(|(cost, base)| value(cost) / value(base)),
            )
        };
        let cpu = ratios(ReceiverCost::nanoseconds_per_datagram);
        let send = ratios(ReceiverCost::nanoseconds_per_send);
        let lost = mean(values(ReceiverCost::percent_lost));
        let targets =
            matches!(entry.candidate, Candidate::Tallyd).then_some(stream.targets).unwrap_or_default();
        println!(
            "| {} | {} | {:.0} ns | {cpu} | {} | {:.0} ns | {send} | {} | {:.0} | {:.1} ms | {lost:.2} % |",
            stream.title,
            entry.candidate.name(),
            median(values(ReceiverCost::nanoseconds_per_datagram)),
            verdict(targets.cpu, &cpu, lost),
            median(values(ReceiverCost::nanoseconds_per_send)),
            verdict(targets.send, &send, lost),
            median(values(ReceiverCost::wake_ups_per_second)),
            median(entry.longest_waits.iter().map(|wait| wait.as_secs_f64() * 1e3)),
        );
    }
    if !test {
        warn_if_slow(stream, entries);
    }
    warn_if_busy(stream, median(null_sink.costs.iter().map(ReceiverCost::percent_waited)));
}

/// Warns if the generator did not hold the pace of the stream for one of the receivers.
fn warn_if_slow(stream: &Stream, entries: &[Entry]) {
    let Pace::Singles(Singles { per_second, .. }) = stream.pace else { return };
    let paces = entries.iter().flat_map(|entry| &entry.costs).map(ReceiverCost::datagrams_per_second);
    let slowest = ascending(paces)[0];
    if slowest < f64::from(per_second) * LEAST_PACE {
        eprintln!("{}: the generator sent only {slowest:.0} datagrams per second in a round", stream.name);
    }
}
