//! The configuration: merges layers of TOML, reads them into sections, checks them, and turns them into the options of
//! each part of the program.
//!
//! ```text
//! config.toml, adopt (settings of another server), file, environment, --set
//!       |  layers     merges them, and finds the line of an error
//!       v
//!    sections         one line per key: its type, its bounds, whether a reload changes it
//!       |  check      refuses keys that contradict each other
//!       |  suspects   warns of legal settings that are probably mistakes
//!       v
//!    options          for listeners, aggregation, flush and exporters
//! ```

mod adopt;
mod bounds;
mod check;
mod endpoints;
mod error;
mod file;
mod layer;
mod layers;
mod options;
mod read;
mod schema;
mod sections;
mod setting;
mod suspects;
mod values;

pub(in crate::app) use adopt::{Adopted, StatsdExporterArgs};
pub(in crate::app) use endpoints::PushEndpoint;
pub use error::ConfigError;
pub(in crate::app) use error::Warning;
pub(in crate::app) use file::Occasion;
pub(in crate::app) use layers::prepare;
pub use layers::{Environment, load};
pub(in crate::app) use schema::schema;
pub use sections::Config;
pub(in crate::app) use sections::{DEFAULTS, LogFormat, LogLevel, LogOutput, LoggingSection};

use std::process::ExitCode;

use layer::Layer;

use crate::mapping::Mapping;
use crate::text::visible::visible;

/// `EX_CONFIG` of `sysexits.h`. It tells a service manager that a restart would not help.
const EXIT_CONFIG: u8 = 78;

/// Reports a configuration that tallyd refuses.
pub(in crate::app) fn refuse(error: &ConfigError) -> ExitCode {
    eprintln!("tallyd: {error}");
    ExitCode::from(EXIT_CONFIG)
}

/// A configuration that tallyd can run with.
pub(in crate::app) struct Ready {
    pub(in crate::app) config: Config,
    pub(in crate::app) mapping: Mapping,
    /// Settings that are legal but probably mistakes.
    pub(in crate::app) warnings: Vec<Warning>,
    /// The sources of the settings, for [`to_toml`](Self::to_toml).
    layers: Vec<Layer>,
}

impl Ready {
    /// Returns the configuration as TOML. A comment says where the value of a key comes from, unless it is the default.
    pub(in crate::app) fn to_toml(&self) -> String {
        let sources = layer::sources(&self.layers);
        let mut section = String::new();
        let mut text = String::new();
        for line in self.config.to_toml().lines() {
            text.push_str(line);
            let heading = line.strip_prefix('[').and_then(|line| line.strip_suffix(']'));
            let key = match (heading, line.split_once(" = ")) {
                (Some(heading), _) => {
                    heading.trim_matches(['[', ']']).clone_into(&mut section);
                    section.clone()
                }
                (None, Some((key, _))) => setting::join(&section, key),
                (None, None) => String::new(),
            };
            if let Some(source) = sources.get(&key) {
                // A line feed would end the comment.
                text.extend([" # ", &visible(&source.to_string())]);
            }
            text.push('\n');
        }
        text
    }

    /// Logs the settings that are probably mistakes.
    pub(in crate::app) fn log_warnings(&self) {
        self.warnings.iter().for_each(|warning| tracing::warn!("{warning}"));
    }
}

/// A configuration, or the reason why tallyd refuses it.
pub(in crate::app) type Loaded = Result<Ready, ConfigError>;
