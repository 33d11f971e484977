//! The streams that the bench measures.

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

/// A row of the report.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) name: &'static str,
    /// The title in the report.
    pub(crate) title: &'static str,
    pub(crate) content: Content,
    pub(crate) series: usize,
    pub(crate) lines_per_datagram: usize,
    pub(crate) pace: Pace,
}

const PACED: Pace = Pace::LinesPerSecond(400_000);
const HEAVY: Pace = Pace::HeavyLinesPerSecond(5_000_000);

pub(crate) const ALL: [Stream; 9] = [
    stream("counters", "counters, 1,000 series, 20 lines per datagram", Content::Counters, PACED),
    stream("timings", "timings, 1,000 series, 20 lines per datagram", Content::Timings, PACED),
    stream("mixed", "mixed types with four tags, 1,000 series, 20 lines per datagram", Content::Mixed, PACED),
    Stream {
        lines_per_datagram: 1,
        ..stream(
            "one-line",
            "counters, 1,000 series, one line per datagram",
            Content::Counters,
            Pace::LinesPerSecond(60_000),
        )
    },
    Stream {
        series: 200_000,
        ..stream("many-series", "counters, 200,000 series, 20 lines per datagram", Content::Counters, PACED)
    },
    stream("counters-heavy", "counters, 1,000 series, 5,000,000 lines per second", Content::Counters, HEAVY),
    stream("timings-heavy", "timings, 1,000 series, 5,000,000 lines per second", Content::Timings, HEAVY),
    stream("counters-flat-out", "counters, 1,000 series, flat out", Content::Counters, Pace::FlatOut),
    stream("timings-flat-out", "timings, 1,000 series, flat out", Content::Timings, Pace::FlatOut),
];

/// Returns a stream with the usual numbers of series and of lines per datagram.
const fn stream(name: &'static str, title: &'static str, content: Content, pace: Pace) -> Stream {
    Stream { name, title, content, series: 1000, lines_per_datagram: LINES_PER_DATAGRAM, pace }
}
