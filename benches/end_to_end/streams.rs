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
    /// A pace at which several receivers can share a core.
    LinesPerSecond(u32),
    /// A pace at which each receiver needs the whole core, so the receivers take turns.
    HeavyLinesPerSecond(u32),
    /// The highest pace of the generator.
    FlatOut,
}

/// The largest ratios to the blocking null sink that are good enough.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Targets {
    pub(crate) cpu: Option<f64>,
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
        }
    }

    fn with_cpu_target(self, ratio: f64) -> Self {
        Self { targets: Targets { cpu: Some(ratio) }, ..self }
    }
}

const PACED: Pace = Pace::LinesPerSecond(400_000);
const HEAVY: Pace = Pace::HeavyLinesPerSecond(5_000_000);

/// Returns all streams.
pub(crate) fn all() -> Vec<Stream> {
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
