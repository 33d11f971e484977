//! What a line means: bytes in, samples out, nothing else.
//!
//! The parser is pure. It knows no counters, no clock and no logger; it borrows from the datagram and allocates
//! nothing. Whoever calls it counts.
//!
//! ```
//! use tallyd::protocol::{self, Value};
//!
//! let metric = protocol::parse(b"api.latency:12.5|ms|@0.1|#env:prod").unwrap();
//! let sample = metric.samples().next().unwrap();
//! assert_eq!(metric.name(), "api.latency");
//! assert_eq!(sample.value, Value::Number(12.5));
//! assert_eq!(sample.rate.weight(), 10.0);
//! ```

mod error;
mod lines;
mod metric;
mod notes;
mod number;
mod sample;

pub use error::{ParseError, Reason};
pub use lines::lines;
pub use metric::{Metric, Tags, parse};
pub use notes::{Note, Notes};
pub use number::number;
pub use sample::{Kind, Sample, SampleRate, Value};
