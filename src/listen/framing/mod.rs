//! Finds whole lines in the bytes of a stream, however the network split them. It uses no socket and no clock.

mod frame;
mod length;
mod lines;

pub use frame::{End, Frame, FrameTooLong};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use length::Length;
use lines::Lines;

/// The way in which a stream carries lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Framing {
    /// Each line ends in a line feed. The last one may end with the stream.
    Lines,
    /// Each payload of lines follows its length in four bytes, the least significant first.
    Length,
}

/// Splits one stream. It holds at most one incomplete line or payload in memory.
///
/// ```
/// use tallyd::listen::{Deframer, End, Frame, Framing};
///
/// let mut deframer = Deframer::new(Framing::Lines, 65_536);
/// let mut found = Vec::new();
/// deframer.push(b"a:1|c\nb:", |frame| assert_eq!(frame, Frame::Lines(b"a:1|c\n"))).unwrap();
/// deframer.push(b"2|c", |_| unreachable!("the line may go on")).unwrap();
/// deframer.end(End::Whole, |frame| found.push(format!("{frame:?}")));
/// assert_eq!(found.len(), 1);
/// ```
#[derive(Debug)]
pub struct Deframer(Splitter);

#[derive(Debug)]
enum Splitter {
    Lines(Lines),
    Length(Length),
}

impl Deframer {
    /// Returns a deframer for a new stream. `limit` is the greatest length in bytes of a payload or a line. The length
    /// of a line includes its carriage return and excludes its line feed.
    #[must_use]
    pub fn new(framing: Framing, limit: usize) -> Self {
        Self(match framing {
            Framing::Lines => Splitter::Lines(Lines::new(limit)),
            Framing::Length => Splitter::Length(Length::new(limit)),
        })
    }

    /// Takes the next bytes of the stream and hands out the lines that they complete, in the order of the stream. It
    /// does not copy lines that lie entirely in `bytes`. The time is proportional to the number of bytes.
    ///
    /// # Errors
    ///
    /// Fails if the rest of the stream cannot be split. Later calls return the same error.
    pub fn push(&mut self, bytes: &[u8], mut out: impl FnMut(Frame<'_>)) -> Result<(), FrameTooLong> {
        match &mut self.0 {
            Splitter::Lines(lines) => {
                lines.push(bytes, &mut out);
                Ok(())
            }
            Splitter::Length(length) => length.push(bytes, &mut out),
        }
    }

    /// Hands out the remaining frames after the end of the stream.
    pub fn end(self, end: End, mut out: impl FnMut(Frame<'_>)) {
        match self.0 {
            Splitter::Lines(lines) => lines.end(end, &mut out),
            Splitter::Length(length) => length.end(&mut out),
        }
    }

    /// Returns the memory that an incomplete line or payload takes, in bytes.
    #[must_use]
    pub fn memory(&self) -> usize {
        match &self.0 {
            Splitter::Lines(lines) => lines.incomplete.capacity(),
            Splitter::Length(length) => length.incomplete.capacity(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A [`Frame`] of one line.
    #[derive(Debug, Clone, PartialEq)]
    enum Found {
        Line(Vec<u8>),
        TooLong,
        Truncated,
    }

    fn not_empty(lines: &[u8]) -> impl Iterator<Item = Found> {
        lines
            .split(|&byte| byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(|line| Found::Line(line.to_vec()))
    }

    /// Finds the lines of a whole stream. The deframer must find the same lines.
    fn expected_lines(stream: &[u8], limit: usize, end: End) -> Vec<Found> {
        let mut pieces: Vec<_> = stream.split(|&byte| byte == b'\n').collect();
        let last = pieces.pop().unwrap_or_default();
        let fits = |line: &[u8]| line.len() <= limit;
        let whole = |line: &[u8]| if fits(line) { Found::Line(line.to_vec()) } else { Found::TooLong };
        let mut found: Vec<_> =
            pieces.iter().filter(|line| !line.is_empty()).map(|line| whole(line)).collect();
        if !last.is_empty() {
            let is_truncated = end == End::Broken && fits(last);
            found.push(if is_truncated { Found::Truncated } else { whole(last) });
        }
        found
    }

    fn expected_payloads(mut stream: &[u8], limit: usize) -> Vec<Found> {
        let mut found = Vec::new();
        while let Some((header, rest)) = stream.split_first_chunk() {
            let length = u32::from_le_bytes(*header) as usize;
            if length > limit {
                found.push(Found::TooLong);
                return found;
            }
            if rest.len() < length {
                let whole = rest.iter().rposition(|&byte| byte == b'\n').unwrap_or(0);
                found.extend(not_empty(&rest[..whole]));
                found.push(Found::Truncated);
                return found;
            }
            found.extend(not_empty(&rest[..length]));
            stream = &rest[length..];
        }
        if !stream.is_empty() {
            found.push(Found::Truncated);
        }
        found
    }

    fn found_in_pieces(pieces: &[&[u8]], framing: Framing, limit: usize, end: End) -> Vec<Found> {
        let mut deframer = Deframer::new(framing, limit);
        let mut found = Vec::new();
        let mut keep = |frame: Frame<'_>| match frame {
            Frame::Lines(lines) => found.extend(not_empty(lines)),
            Frame::TooLong => found.push(Found::TooLong),
            Frame::Truncated => found.push(Found::Truncated),
        };
        for piece in pieces {
            let failed = deframer.push(piece, &mut keep).is_err();
            assert!(!failed || framing == Framing::Length);
            assert!(deframer.memory() <= limit, "{} of {limit}", deframer.memory());
        }
        deframer.end(end, &mut keep);
        found
    }

    fn split<'a>(stream: &'a [u8], at: &[usize]) -> Vec<&'a [u8]> {
        let mut at: Vec<_> = at.iter().map(|at| at % (stream.len() + 1)).collect();
        at.extend([0, stream.len()]);
        at.sort_unstable();
        at.windows(2).map(|ends| &stream[ends[0]..ends[1]]).collect()
    }

    fn end() -> impl Strategy<Value = End> {
        prop_oneof![Just(End::Whole), Just(End::Broken)]
    }

    /// Generates payloads of lines, of which a few have a wrong length.
    fn payloads() -> impl Strategy<Value = Vec<u8>> {
        let payload = proptest::collection::vec(proptest::sample::select(&b"ab\n\r"[..]), 0..14);
        let excess = prop_oneof![12 => Just(0), 1 => Just(1_u32), 1 => Just(1 << 20)];
        proptest::collection::vec((payload, excess), 0..8).prop_map(|payloads| {
            let mut stream = Vec::new();
            for (payload, excess) in payloads {
                stream.extend((payload.len() as u32 + excess).to_le_bytes());
                stream.extend(payload);
            }
            stream
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn any_split_of_a_stream_gives_the_same_lines(
            stream in proptest::collection::vec(proptest::sample::select(&b"abc\n\r"[..]), 0..80),
            at in proptest::collection::vec(any::<usize>(), 0..10),
            limit in 0_usize..12,
            end in end(),
        ) {
            let found = found_in_pieces(&split(&stream, &at), Framing::Lines, limit, end);
            prop_assert_eq!(found, expected_lines(&stream, limit, end));
        }

        #[test]
        fn any_split_of_a_stream_gives_the_same_payloads(
            whole in payloads(),
            missing in 0_usize..100,
            at in proptest::collection::vec(any::<usize>(), 0..10),
            limit in 0_usize..16,
            end in end(),
        ) {
            let stream = &whole[..whole.len() - missing.min(whole.len())];
            for stream in [stream, &whole] {
                let found = found_in_pieces(&split(stream, &at), Framing::Length, limit, end);
                prop_assert_eq!(found, expected_payloads(stream, limit));
            }
        }
    }

    #[test]
    fn memory_is_held_only_while_a_line_or_payload_is_incomplete() {
        for (framing, piece, rest) in
            [(Framing::Lines, &b"a:1|c\nb:1"[..], &b"|c\n"[..]), (Framing::Length, b"\x05\0\0\0a:1", b"|c")]
        {
            let mut deframer = Deframer::new(framing, 100);
            deframer.push(piece, |_| ()).unwrap();
            assert_eq!(deframer.memory(), 3);
            deframer.push(rest, |_| ()).unwrap();
            assert_eq!(deframer.memory(), 0);
        }
    }

    #[test]
    fn an_endless_line_stays_within_the_limit_and_is_reported_once() {
        let mut deframer = Deframer::new(Framing::Lines, 1000);
        let mut reported = 0;
        for _ in 0..100_000 {
            deframer.push(b"xyz", |_| reported += 1).unwrap();
            assert!(deframer.memory() <= 1000);
        }
        assert_eq!((reported, deframer.memory()), (1, 0));
        let mut after = Vec::new();
        deframer.push(b"\na:1|c\n", |frame| after.push(format!("{frame:?}"))).unwrap();
        assert_eq!(after, [format!("{:?}", Frame::Lines(b"a:1|c\n"))]);
    }
}
