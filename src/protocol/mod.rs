//! Parses lines from bytes into samples, events and service checks.
//!
//! The parser is pure: it has no counters, no clock and no log. It borrows from the datagram and allocates nothing. The
//! caller counts what the parser returns.
//!
//! ```
//! use tallyd::protocol::{self, Dialects, Line, SampleValue};
//!
//! let line = protocol::parse(b"api.latency:12.5|ms|@0.1|#env:prod", Dialects::ALL).unwrap();
//! let Line::Metric(metric) = line else { panic!("{line:?}") };
//! let sample = metric.samples().next().unwrap();
//! assert_eq!(metric.name(), "api.latency");
//! assert_eq!(sample.value, SampleValue::Number(12.5));
//! assert_eq!(sample.rate.weight(), 10.0);
//! ```

mod error;
mod event;
mod line;
mod metric;
mod name;
mod notes;
mod number;
mod sample;
mod sections;
mod service_check;
mod tag_list;
mod tags;
mod text;
mod tokens;

pub use error::{ParseError, RejectReason};
pub use event::Event;
pub use line::{Line, lines, parse};
pub use metric::Metric;
pub use name::Name;
pub use notes::{Note, Notes};
pub use number::number;
pub use sample::{Sample, SampleRate, SampleValue};
pub use sections::{Cardinality, Origin};
pub use service_check::{ServiceCheck, Status};
pub use tag_list::Tag;
pub use tags::{Dialect, Dialects, Tags};
pub use text::Text;
pub(crate) use tokens::{Token, tokens};
