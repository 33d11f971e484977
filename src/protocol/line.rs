//! Splits datagrams into lines, and parses a line of any type.

use super::event::{self, Event};
use super::metric::{self, Metric};
use super::service_check::{self, ServiceCheck};
use super::{Dialects, ParseError};

/// A parsed line.
#[derive(Debug, Clone, Copy)]
pub enum Line<'a> {
    /// The line holds samples of one metric name.
    Metric(Metric<'a>),
    /// The line reports an event.
    Event(Event<'a>),
    /// The line reports the state of a service.
    ServiceCheck(ServiceCheck<'a>),
}

/// Splits a datagram into its lines, which line feeds separate. Removes one carriage return before a line feed, and
/// skips empty lines.
pub fn lines(datagram: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
            let line = &rest[..end];
            rest = rest.get(end + 1..).unwrap_or_default();
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if !line.is_empty() {
                return Some(line);
            }
        }
        None
    })
}

/// Parses one line, which must not contain a line feed.
///
/// # Errors
///
/// Returns the reason for the rejection and the offset of the offending byte.
pub fn parse(line: &[u8], dialects: Dialects) -> Result<Line<'_>, ParseError> {
    let parsed = if line.starts_with(event::PREFIX) {
        event::parse(line).map(Line::Event)
    } else if line.starts_with(service_check::PREFIX) {
        service_check::parse(line).map(Line::ServiceCheck)
    } else {
        metric::parse(line, dialects).map(Line::Metric)
    };
    parsed.map_err(|rejection| rejection.in_line(line))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_lines_are_skipped_and_one_carriage_return_is_removed() {
        let cases: [(&[u8], &[&[u8]]); 8] = [
            (b"", &[]),
            (b"\n", &[]),
            (b"\r\n\n", &[]),
            (b"a:1|c", &[b"a:1|c"]),
            (b"a:1|c\n", &[b"a:1|c"]),
            (b"a:1|c\r\nb:1|c\r", &[b"a:1|c", b"b:1|c"]),
            (b"a:1|c\n\n\nb:1|c", &[b"a:1|c", b"b:1|c"]),
            (b"a\r\r\n", &[b"a\r"]),
        ];
        for (datagram, expected) in cases {
            assert_eq!(lines(datagram).collect::<Vec<_>>(), expected, "{datagram:?}");
        }
    }
}
