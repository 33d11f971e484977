//! The configuration: merges layers of TOML, reads them into sections, checks them, and turns them into the options of each
//! part of the program.
//!
//! ```text
//! config.toml, file, environment, --set
//!       |  layers     merges them, and finds the line of an error
//!       v
//!    sections         one line per key: its type, its bounds, whether a reload changes it
//!       |  check      refuses keys that contradict each other
//!       v
//!    options          for listeners, aggregation, flush and exporters
//! ```

mod bounds;
mod check;
mod error;
mod file;
mod layers;
mod options;
mod read;
mod sections;
mod setting;
mod values;

pub use error::ConfigError;
pub use layers::{Environment, load};
pub(in crate::app) use layers::{Occasion, load_on};
pub use sections::Config;
pub(in crate::app) use sections::{LogFormat, LogLevel, LogOutput, LoggingSection};

use crate::mapping::Mapping;

/// `EX_CONFIG` of `sysexits.h`. It tells a service manager that a restart would not help.
pub(in crate::app) const EXIT_CONFIG: u8 = 78;

/// A configuration and its mapping rules, or the reason why tallyd refuses them.
pub(in crate::app) type Loaded = Result<(Config, Mapping), ConfigError>;
