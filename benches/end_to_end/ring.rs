//! Renders the datagrams of a stream in advance, so sending costs little more than the system call.

use crate::streams::{Content, Stream};
use crate::traffic::{Random, shuffled_passes};

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
