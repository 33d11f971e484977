//! What a line means: bytes in, samples out, nothing else.
//!
//! The parser is pure. It knows no counters, no clock and no logger; it borrows from the datagram and allocates
//! nothing. Whoever calls it counts.
//!
//! ```
//! use tallyd::protocol::{self, Dialects, Line, Value};
//!
//! let line = protocol::parse(b"api.latency:12.5|ms|@0.1|#env:prod", Dialects::ALL).unwrap();
//! let Line::Metric(metric) = line else { panic!("{line:?}") };
//! let sample = metric.samples().next().unwrap();
//! assert_eq!(metric.name(), "api.latency");
//! assert_eq!(sample.value, Value::Number(12.5));
//! assert_eq!(sample.rate.weight(), 10.0);
//! ```

mod check;
mod dialects;
mod error;
mod event;
mod lines;
mod metric;
mod name;
mod notes;
mod number;
mod sample;
mod sections;
mod tags;
mod text;
mod tokens;

pub use check::{ServiceCheck, Status};
pub use dialects::{Dialect, Dialects};
pub use error::{ParseError, RejectReason};
pub use event::Event;
pub use lines::lines;
pub use metric::Metric;
pub use name::Name;
pub use notes::{Note, Notes};
pub use number::number;
pub use sample::{Sample, SampleRate, SampleValue};
pub use sections::{Cardinality, Origin};
pub use tags::Tags;
pub use text::Text;
pub use tokens::{Token, tokens};

/// What a line is.
#[derive(Debug, Clone, Copy)]
pub enum Line<'a> {
    /// Samples of one name.
    Metric(Metric<'a>),
    /// Something that happened.
    Event(Event<'a>),
    /// How a service is.
    ServiceCheck(ServiceCheck<'a>),
}

/// Parses one line, which must be free of line feeds.
///
/// # Errors
///
/// The reason why the line does not count, and where that shows.
pub fn parse(line: &[u8], dialects: Dialects) -> Result<Line<'_>, ParseError> {
    let parsed = if line.starts_with(event::PREFIX) {
        event::event(line).map(Line::Event)
    } else if line.starts_with(check::PREFIX) {
        check::check(line).map(Line::ServiceCheck)
    } else {
        metric::metric(line, dialects).map(Line::Metric)
    };
    parsed.map_err(|failure| failure.located(line))
}
