//! The streams that the generator sends. They are rendered in advance, so sending costs little more than the system
//! call.

use crate::traffic::{LINES_PER_DATAGRAM, Random, shuffled_passes};

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

/// The least number of lines before they repeat. So many lines give each series different values, and take 14 to 40 MB.
const RENDERED: usize = 400_000;

/// Datagrams that the generator sends repeatedly.
#[derive(Debug)]
pub(crate) struct Ring {
    bytes: Vec<u8>,
    /// The offsets of the ends of the datagrams.
    ends: Vec<usize>,
}

impl Ring {
    /// Renders a stream. Each pass has one line per series.
    pub(crate) fn of(stream: &Stream) -> Self {
        let Stream { content, series, lines_per_datagram, .. } = *stream;
        let mut ring = Self { bytes: Vec::new(), ends: Vec::new() };
        let mut noise = Random(2);
        let ids: Vec<_> = shuffled_passes(series, (RENDERED / series).max(1)).collect();
        for datagram in ids.chunks(lines_per_datagram) {
            for &id in datagram {
                push_line(&mut ring.bytes, content, id, noise.below(1 << 32));
            }
            ring.bytes.pop();
            ring.ends.push(ring.bytes.len());
        }
        ring
    }

    pub(crate) fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(&self.ends).map(|(begin, &end)| &self.bytes[begin..end])
    }
}

/// Appends a line with a name of 30 bytes. The value depends on `noise`.
fn push_line(text: &mut Vec<u8>, content: Content, series: usize, noise: usize) {
    let tags = "|#env:production,region:eu-west-1,host:web-042,status:200";
    let (kind, tags) = match content {
        Content::Counters => (0, ""),
        Content::Timings => (1, ""),
        Content::Mixed => (series % 4, tags),
    };
    let rest = match kind {
        0 => format!("{}|c", 1 + noise % 9),
        // Timings are from 0.1 ms to 500 ms.
        1 => format!("{:.1}|ms", (1 + noise % 5000) as f64 / 10.0),
        2 => format!("{}|g", noise % 10_000),
        // Each set has at most a thousand members.
        _ => format!("user{}|s", noise % 1000),
    };
    text.extend_from_slice(format!("service.requests.total.{series:07}:{rest}{tags}\n").as_bytes());
}
