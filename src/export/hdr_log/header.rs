//! The comments at the beginning of a log: they say in which unit and how precise the values are.

use std::fmt;
use std::io;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;

use crate::model::{Kind, Named};
use crate::text::number::push_number;

/// The first bytes of each log of tallyd.
pub(super) const FIRST: &str = "#[Logged by tallyd";

/// The units of a microsecond in a millisecond, in which tallyd aggregates timings.
pub(super) const TIMING_SCALE: f64 = 1000.0;

/// The legend, which some programs show as titles of columns.
pub(super) const LEGEND: &str =
    "\"StartTimestamp\",\"Interval_Length\",\"Interval_Max\",\"Interval_Compressed_Histogram\"\n";

/// The numbers of a log that make one unit of the values, by the type of the series.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Units {
    /// The numbers per second of a timing.
    pub(crate) timing: u64,
    /// The numbers per 1 of a histogram.
    pub(crate) histogram: u64,
    /// The numbers per 1 of a distribution.
    pub(crate) distribution: u64,
}

const UNITS: &str = "#[Units: ";

impl Units {
    /// Returns the units of a log with this `scale`.
    pub(super) fn of_scale(scale: u64) -> Self {
        Self { timing: 1_000_000, histogram: scale, distribution: scale }
    }

    /// Returns the numbers per unit of a type, or `None` if the log has no series of this type.
    pub(crate) fn of(&self, kind: Kind) -> Option<u64> {
        match kind {
            Kind::Timing => Some(self.timing),
            Kind::Histogram => Some(self.histogram),
            Kind::Distribution => Some(self.distribution),
            Kind::Counter | Kind::Gauge | Kind::Set => None,
        }
    }

    /// Reads the units from a line of a log, or returns `None` if the line says nothing about units.
    pub(crate) fn read(line: &str) -> Option<Self> {
        let mut parts = line.trim_end().strip_prefix(UNITS)?.strip_suffix(']')?.split(", ");
        let mut next = |kind: Kind, unit: &str| {
            let part = parts.next()?.strip_prefix(kind.name())?.strip_prefix(" 1/")?.strip_suffix(unit)?;
            part.parse().ok().filter(|&scale| scale > 0)
        };
        Some(Self {
            timing: next(Kind::Timing, " s")?,
            histogram: next(Kind::Histogram, "")?,
            distribution: next(Kind::Distribution, "")?,
        })
    }
}

/// Writes the units as a line of a log has them, without the `#` and the end of the line.
impl fmt::Display for Units {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { timing, histogram, distribution } = self;
        write!(
            f,
            "{}timing 1/{timing} s, histogram 1/{histogram}, distribution 1/{distribution}]",
            &UNITS[1..]
        )
    }
}

/// The precision of the values in a log.
#[derive(Debug, Clone, Copy)]
pub(super) struct Precision {
    /// The significant decimal digits of the log.
    pub(super) digits: u8,
    /// The largest number of values per series and interval that tallyd does not round.
    pub(super) exact_values: usize,
    /// The significant decimal digits of more values.
    pub(super) internal_digits: u8,
}

impl fmt::Display for Precision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |errors: &[u8]| {
            let mut text = String::new();
            let sum: f64 =
                errors.iter().map(|&digits| 100.0 / f64::from(10_u32.pow(u32::from(digits)))).sum();
            push_number(&mut text, (sum * 1e6).round() / 1e6);
            text
        };
        let Self { digits, exact_values, internal_digits } = *self;
        write!(
            f,
            "[Precision: within {} % and half a unit; within {} % if a series has more than {exact_values} values in an \
             interval]",
            percent(&[digits]),
            percent(&[digits, internal_digits])
        )
    }
}

/// Returns the header of a log whose first interval begins at `start`.
pub(super) fn header(units: Units, precision: Precision, start: SystemTime) -> io::Result<Vec<u8>> {
    let mut header = Vec::new();
    IntervalLogWriterBuilder::new()
        .add_comment(&format!("{} {}]", &FIRST[1..], env!("CARGO_PKG_VERSION")))
        .add_comment("[Histogram log format version 1.3]")
        .add_comment(&units.to_string())
        .add_comment(&precision.to_string())
        .with_start_time(start)
        .begin_log_with(&mut header, &mut V2DeflateSerializer::new())?;
    header.extend_from_slice(LEGEND.as_bytes());
    Ok(header)
}

/// Returns the time at which a log starts, from the text at its beginning.
pub(super) fn start_of(beginning: &str) -> Option<SystemTime> {
    let line = beginning.lines().find_map(|line| line.strip_prefix("#[StartTime: "))?;
    let seconds: f64 = line.split(' ').next()?.parse().ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::try_from_secs_f64(seconds).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_states_the_units_and_the_precision() {
        let precision = Precision { digits: 3, exact_values: 512, internal_digits: 2 };
        let start = SystemTime::UNIX_EPOCH + Duration::from_millis(1_764_588_000_250);
        let units = Units::of_scale(1000);
        let text = String::from_utf8(header(units, precision, start).unwrap()).unwrap();
        let expected = format!(
            "#[Logged by tallyd {}]\n\
             #[Histogram log format version 1.3]\n\
             #[Units: timing 1/1000000 s, histogram 1/1000, distribution 1/1000]\n\
             #[Precision: within 0.1 % and half a unit; within 1.1 % if a series has more than 512 values in an interval]\n\
             #[StartTime: 1764588000.250 (seconds since epoch)]\n{LEGEND}",
            env!("CARGO_PKG_VERSION")
        );
        assert_eq!(text, expected);
        assert_eq!(start_of(&text), Some(start));
        assert_eq!(text.lines().filter_map(Units::read).collect::<Vec<_>>(), [units]);
    }

    #[test]
    fn other_comments_have_no_units() {
        for line in ["", "#", "#[Units: ]", "#[Units: timing 1/0 s, histogram 1/1, distribution 1/1]"] {
            assert_eq!(Units::read(line), None, "{line}");
        }
        assert_eq!(start_of("#[StartTime: soon]\n"), None);
    }
}
