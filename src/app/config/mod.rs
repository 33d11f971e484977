//! The configuration: layers of TOML are merged, read into sections, checked, and turned into the options of each part of
//! the program.
//!
//! ```text
//! config.toml, file, environment, --set
//!       |  layers     merges them, and later finds the line that is to blame
//!       v
//!    sections         one line a key: its type, its bounds, whether a reload changes it
//!       |  check      refuses values that do harm
//!       v
//!    options          what listeners, aggregation, flush and exporters take
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
pub use sections::Config;
pub(in crate::app) use sections::{LogFormat, LogLevel, LogOutput, LoggingSection};

use crate::mapping::Mapping;

/// A configuration and its mapping rules, or what is wrong with them.
pub(in crate::app) type Loaded = Result<(Config, Mapping), ConfigError>;
