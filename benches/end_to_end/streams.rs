//! The streams that the bench measures, with their targets.

use crate::traffic::LINES_PER_DATAGRAM;

/// The content of a stream's lines.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Content {
    Counters,
    Timings,
    /// Counters, timings, gauges and sets in equal parts. Each line has four tags.
    Mixed,
}

/// The speed of a stream.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// Bursts at a pace at which several receivers can share a core.
    LinesPerSecond(u32),
    /// Bursts at a pace at which each receiver needs the whole core, so the receivers take turns.
    HeavyLinesPerSecond(u32),
    /// Bursts at the highest pace of the generator.
    FlatOut,
    /// One datagram per system call, as applications send. The receivers take turns, because a wake-up costs less if
    /// another receiver keeps the core awake.
    Singles(Singles),
}

impl Pace {
    /// Returns the number of sockets that send the stream.
    pub(crate) fn sockets(&self) -> usize {
        match self {
            Self::Singles(singles) => singles.sockets,
            _ => 1,
        }
    }
}

/// The pace of single datagrams.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Singles {
    pub(crate) per_second: u32,
    pub(crate) arrivals: Arrivals,
    /// The number of sockets that send in turn.
    pub(crate) sockets: usize,
}

/// The distances of single datagrams.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Arrivals {
    EvenlySpaced,
    /// Random distances, as if many independent applications sent the datagrams.
    Poisson,
}

/// The largest ratios to the blocking null sink that are good enough.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Targets {
    pub(crate) cpu: Option<f64>,
    /// For the time of the client's calls.
    pub(crate) send: Option<f64>,
}

/// A row of the report.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) name: String,
    /// The title in the report.
    pub(crate) title: String,
    pub(crate) content: Content,
    pub(crate) series: usize,
    pub(crate) lines_per_datagram: usize,
    pub(crate) pace: Pace,
    pub(crate) targets: Targets,
    /// True if the bench measures it without `--stream`.
    pub(crate) by_default: bool,
}

impl Stream {
    /// Returns a stream with the usual numbers of series and of lines per datagram, and without targets.
    pub(crate) fn new(name: &str, title: &str, content: Content, pace: Pace) -> Self {
        Self {
            name: name.to_owned(),
            title: title.to_owned(),
            content,
            series: 1000,
            lines_per_datagram: LINES_PER_DATAGRAM,
            pace,
            targets: Targets::default(),
            by_default: true,
        }
    }

    fn with_cpu_target(self, ratio: f64) -> Self {
        Self { targets: Targets { cpu: Some(ratio), send: None }, ..self }
    }
}

const PACED: Pace = Pace::LinesPerSecond(400_000);
const HEAVY: Pace = Pace::HeavyLinesPerSecond(5_000_000);

/// The name for `--stream` that selects all streams of bursts.
pub(crate) const BURSTS: &str = "bursts";

/// Returns the streams of bursts.
pub(crate) fn bursts() -> Vec<Stream> {
    use Content::{Counters, Mixed, Timings};
    let new = Stream::new;
    vec![
        new("counters", "counters, 1,000 series, 20 lines per datagram", Counters, PACED)
            .with_cpu_target(1.1),
        new("timings", "timings, 1,000 series, 20 lines per datagram", Timings, PACED).with_cpu_target(1.35),
        new("mixed", "mixed types with four tags, 1,000 series, 20 lines per datagram", Mixed, PACED)
            .with_cpu_target(1.3),
        Stream {
            lines_per_datagram: 1,
            ..new(
                "one-line",
                "counters, 1,000 series, one line per datagram",
                Counters,
                Pace::LinesPerSecond(60_000),
            )
        },
        Stream {
            series: 200_000,
            ..new("many-series", "counters, 200,000 series, 20 lines per datagram", Counters, PACED)
        }
        .with_cpu_target(3.5),
        new("counters-heavy", "counters, 1,000 series, 5,000,000 lines per second", Counters, HEAVY)
            .with_cpu_target(1.15),
        new("timings-heavy", "timings, 1,000 series, 5,000,000 lines per second", Timings, HEAVY)
            .with_cpu_target(1.4),
        new("counters-flat-out", "counters, 1,000 series, flat out", Counters, Pace::FlatOut)
            .with_cpu_target(1.15),
        new("timings-flat-out", "timings, 1,000 series, flat out", Timings, Pace::FlatOut)
            .with_cpu_target(1.4),
    ]
}

/// The name for `--stream` that selects the usual streams of single datagrams.
pub(crate) const SINGLES: &str = "singles";

/// The streams of single datagrams that the bench measures without `--stream`.
const USUAL_SINGLES: [&str; 8] = [
    "single-1000",
    "single-1000-poisson",
    "single-10000",
    "single-10000-poisson-50-sockets",
    "single-60000",
    "single-60000-poisson",
    "single-60000-20-lines",
    "single-60000-20-lines-poisson-50-sockets",
];

/// Returns the streams of single datagrams: all combinations of pace, lines per datagram, distances and sockets.
pub(crate) fn singles() -> Vec<Stream> {
    let mut streams = Vec::new();
    for (per_second, lines, cpu, send) in [
        (1000, 1, Some(0.3), Some(0.6)),
        (1000, LINES_PER_DATAGRAM, None, None),
        (10_000, 1, Some(0.16), Some(0.4)),
        (10_000, LINES_PER_DATAGRAM, None, None),
        (60_000, 1, Some(0.28), Some(0.65)),
        (60_000, LINES_PER_DATAGRAM, Some(0.42), Some(0.75)),
    ] {
        for arrivals in [Arrivals::EvenlySpaced, Arrivals::Poisson] {
            for sockets in [1, 50] {
                let targets = Targets { cpu, send };
                streams.push(single(Singles { per_second, arrivals, sockets }, lines, targets));
            }
        }
    }
    streams
}

/// Returns a stream of counters, named after everything in which it differs from one line per datagram, evenly spaced,
/// from one socket.
fn single(singles: Singles, lines_per_datagram: usize, targets: Targets) -> Stream {
    let Singles { per_second, arrivals, sockets } = singles;
    let parts = [
        Some((format!("single-{per_second}"), format!("{},000 per second", per_second / 1000))),
        (lines_per_datagram > 1)
            .then(|| (format!("{lines_per_datagram}-lines"), format!("{lines_per_datagram} lines each"))),
        matches!(arrivals, Arrivals::Poisson).then(|| ("poisson".to_owned(), "Poisson".to_owned())),
        (sockets > 1).then(|| (format!("{sockets}-sockets"), format!("{sockets} sockets"))),
    ];
    let (names, titles): (Vec<_>, Vec<_>) = parts.into_iter().flatten().unzip();
    let name = names.join("-");
    let by_default = USUAL_SINGLES.contains(&name.as_str());
    Stream {
        lines_per_datagram,
        targets,
        by_default,
        ..Stream::new(&name, &titles.join(", "), Content::Counters, Pace::Singles(singles))
    }
}
