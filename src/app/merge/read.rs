//! Reads an interval log line by line, in bounded memory.

use std::io::{self, BufRead, Read};
use std::mem;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::read::ZlibDecoder;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use crate::export::hdr_log::Units;

/// The longest line in bytes. The histogram of the widest range with 5 digits and a different count in each bucket would be as
/// long.
const LONGEST: usize = 80 << 20;

/// The most bytes of a histogram that is not compressed.
const LARGEST: usize = 60 << 20;

/// The seconds of a year. A time that is more than a year before the start of the log counts from the start, as in Java's
/// `HistogramLogReader`.
const YEAR: f64 = 365.0 * 24.0 * 3600.0;

/// An interval of one series.
#[derive(Debug, PartialEq)]
pub(super) struct Interval<'a> {
    pub(super) tag: Option<&'a str>,
    /// The seconds since 1970 at which it begins.
    pub(super) start: f64,
    /// Its length in seconds.
    pub(super) length: f64,
    /// The units of the log, if it states them as tallyd does.
    pub(super) units: Option<Units>,
    /// The histogram as the line has it.
    pub(super) encoded: &'a str,
}

/// Calls `each` with each interval. Calls `bad` with the number of each line that is wrong, and with the problem.
///
/// # Errors
///
/// Fails if the log cannot be read, or with the error of `bad`.
pub(super) fn read_log<E: From<io::Error>>(
    mut log: impl BufRead,
    mut each: impl FnMut(Interval<'_>) -> Result<(), LineError<E>>,
    mut bad: impl FnMut(u64, String),
) -> Result<(), E> {
    let mut times = Times::default();
    let mut units = None;
    let (mut line, mut number) = (Vec::new(), 0);
    while read_line(&mut log, &mut line)? {
        number += 1;
        let outcome = match Line::parse(&line) {
            Ok(Line::Units(stated)) => {
                units = Some(stated);
                Ok(())
            }
            Ok(Line::Entry(LogEntry::StartTime(time))) => {
                times.start = Some(time.as_secs_f64());
                Ok(())
            }
            Ok(Line::Entry(LogEntry::BaseTime(time))) => {
                times.base = Some(time.as_secs_f64());
                Ok(())
            }
            Ok(Line::Entry(LogEntry::Interval(interval))) => each(Interval {
                tag: interval.tag().map(|tag| tag.as_str()),
                start: times.absolute(interval.start_timestamp().as_secs_f64()),
                length: interval.duration().as_secs_f64(),
                units,
                encoded: interval.encoded_histogram(),
            }),
            Ok(Line::Other) => Ok(()),
            Err(problem) => Err(LineError::Bad(problem)),
        };
        match outcome {
            Ok(()) => {}
            Err(LineError::Bad(problem)) => bad(number, problem),
            Err(LineError::Fatal(error)) => return Err(error),
        }
    }
    Ok(())
}

/// The fault of a line.
#[derive(Debug)]
pub(super) enum LineError<E> {
    /// The line is left out.
    Bad(String),
    /// Reading ends.
    Fatal(E),
}

/// The times of a log to which those of its intervals are added.
#[derive(Debug, Default)]
struct Times {
    start: Option<f64>,
    base: Option<f64>,
}

impl Times {
    fn absolute(&self, time: f64) -> f64 {
        match (self.base, self.start) {
            (Some(base), _) => base + time,
            (None, Some(start)) if time < start - YEAR => start + time,
            _ => time,
        }
    }
}

/// A line of a log.
enum Line<'a> {
    Units(Units),
    Entry(LogEntry<'a>),
    /// A comment, a legend or an empty line.
    Other,
}

impl<'a> Line<'a> {
    fn parse(line: &'a [u8]) -> Result<Self, String> {
        if line.len() > LONGEST {
            return Err(format!("longer than {} MiB", LONGEST >> 20));
        }
        if !line.ends_with(b"\n") {
            return Err("incomplete; its writer may be writing it now".to_owned());
        }
        if line.trim_ascii().is_empty() {
            return Ok(Line::Other);
        }
        if let Some(units) = str::from_utf8(line).ok().and_then(Units::read) {
            return Ok(Line::Units(units));
        }
        match IntervalLogIterator::new(line).next() {
            Some(Ok(entry)) => Ok(Line::Entry(entry)),
            Some(Err(_)) => Err("not an interval; expected [Tag=TAG,]START,LENGTH,MAX,HISTOGRAM".to_owned()),
            None => Ok(Line::Other),
        }
    }
}

/// Reads a line with its line feed. Of a line that is too long, it keeps the beginning. Returns false at the end.
fn read_line(log: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    log.take(LONGEST as u64 + 1).read_until(b'\n', line)?;
    if line.len() > LONGEST && !line.ends_with(b"\n") {
        loop {
            let rest = log.fill_buf()?;
            let end = memchr::memchr(b'\n', rest);
            let used = end.map_or(rest.len(), |end| end + 1);
            if used == 0 {
                break;
            }
            log.consume(used);
            if end.is_some() {
                break;
            }
        }
    }
    Ok(!line.is_empty())
}

/// The first bytes of a histogram, as version 2 of the format has them.
const PLAIN: u32 = 0x1c84_9313;
const COMPRESSED: u32 = 0x1c84_9314;
/// The length of the header of a histogram that is not compressed.
const HEADER: usize = 40;

/// Decodes histograms.
#[derive(Default)]
pub(super) struct Decoder(Deserializer);

impl Decoder {
    /// Decodes a histogram. A wrong length cannot make it take much memory.
    ///
    /// # Errors
    ///
    /// Returns the problem in words.
    pub(super) fn decode(&mut self, encoded: &str) -> Result<Histogram<u64>, String> {
        let mut bytes =
            STANDARD.decode(encoded.trim_end()).map_err(|error| format!("not base64: {error}"))?;
        if be_u32(&bytes, 0) == Some(COMPRESSED) {
            let compressed = mem::take(&mut bytes);
            let decoder = ZlibDecoder::new(&compressed[8.min(compressed.len())..]);
            let inflated = decoder.take(LARGEST as u64 + 1).read_to_end(&mut bytes);
            inflated.map_err(|error| format!("the compressed histogram is damaged: {error}"))?;
        }
        if be_u32(&bytes, 0) != Some(PLAIN) {
            return Err("not a histogram of version 2".to_owned());
        }
        let length = be_u32(&bytes, 4).map(|length| length as usize);
        if length != bytes.len().checked_sub(HEADER) {
            return Err("the histogram is shorter or longer than it says".to_owned());
        }
        self.0.deserialize(&mut &*bytes).map_err(|error| format!("the histogram is damaged: {error}"))
    }
}

/// Returns the number at an offset.
fn be_u32(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use hdrhistogram::serialization::{Serializer, V2DeflateSerializer, V2Serializer};
    use proptest::prelude::*;

    use super::*;

    fn encoded(serializer: &mut impl Serializer, values: &[u64]) -> String {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        values.iter().for_each(|&value| histogram.record(value).unwrap());
        let mut bytes = Vec::new();
        assert!(serializer.serialize(&histogram, &mut bytes).is_ok());
        STANDARD.encode(bytes)
    }

    /// Returns the tags and starts of the intervals of a log, and the bad lines.
    fn read(log: &str) -> (Vec<(Option<String>, f64)>, Vec<(u64, String)>) {
        let (mut intervals, mut bad) = (Vec::new(), Vec::new());
        let outcome = read_log::<io::Error>(
            log.as_bytes(),
            |interval| {
                intervals.push((interval.tag.map(str::to_owned), interval.start));
                Ok(())
            },
            |line, problem| bad.push((line, problem)),
        );
        outcome.unwrap();
        (intervals, bad)
    }

    #[test]
    fn bad_lines_are_named_and_the_rest_is_read() {
        let (intervals, bad) = read(
            "#[StartTime: 1764588000.000 (seconds since epoch)]\n\"StartTimestamp\",\"x\"\n\
             Tag=a,1764588000.000,10.000,1.000,HIST\nhello\n\n1764588010.000,10.000,1.000,HIST\r\nTag=b,17645",
        );
        assert_eq!(intervals, [(Some("a".to_owned()), 1_764_588_000.0), (None, 1_764_588_010.0)]);
        assert_eq!(bad.iter().map(|(line, _)| *line).collect::<Vec<_>>(), [4, 7]);
        assert!(bad[0].1.contains("not an interval") && bad[1].1.contains("incomplete"), "{bad:?}");
    }

    #[test]
    fn times_count_from_the_base_or_the_start_as_in_java() {
        for (header, expected) in [
            ("", 5.5),
            ("#[BaseTime: 1000.000 (seconds since epoch)]\n", 1005.5),
            ("#[StartTime: 1764588000.000 (seconds since epoch)]\n", 1_764_588_005.5),
            ("#[StartTime: 1000.000 (seconds since epoch)]\n", 5.5),
        ] {
            assert_eq!(read(&format!("{header}5.500,1.000,1.000,HIST\n")).0[0].1, expected, "{header}");
        }
    }

    #[test]
    fn a_line_that_is_too_long_is_skipped() {
        let log = format!("{}\nTag=a,1.000,1.000,1.000,HIST\n", "x".repeat(LONGEST + 100));
        let (intervals, bad) = read(&log);
        assert_eq!((intervals.len(), bad.len()), (1, 1));
        assert!(bad[0].1.contains("longer than"), "{bad:?}");
    }

    #[test]
    fn histograms_are_decoded_compressed_or_not() {
        for text in [
            encoded(&mut V2DeflateSerializer::new(), &[1, 2000]),
            encoded(&mut V2Serializer::new(), &[1, 2000]),
        ] {
            let histogram = Decoder::default().decode(&text).unwrap();
            assert_eq!((histogram.len(), histogram.count_at(2000)), (2, 1));
        }
    }

    #[test]
    fn a_damaged_histogram_is_refused_with_the_reason() {
        let mut lying = STANDARD.decode(encoded(&mut V2Serializer::new(), &[1])).unwrap();
        lying[4..8].fill(0xff);
        for (text, problem) in [
            ("", "not a histogram"),
            ("!", "not base64"),
            ("AAAAAAAA", "not a histogram"),
            (&STANDARD.encode(COMPRESSED.to_be_bytes()), "damaged"),
            (&STANDARD.encode(lying), "shorter or longer"),
        ] {
            let refused = Decoder::default().decode(text).unwrap_err();
            assert!(refused.contains(problem), "{text}: {refused}");
        }
    }

    proptest! {
        #[test]
        fn no_damaged_byte_causes_a_panic(values in proptest::collection::vec(0_u64..1 << 40, 1..20), at in 0_usize..1000, byte: u8) {
            let mut bytes = STANDARD.decode(encoded(&mut V2Serializer::new(), &values)).unwrap();
            let at = at % bytes.len();
            bytes[at] = byte;
            _ = Decoder::default().decode(&STANDARD.encode(bytes));
        }
    }
}
