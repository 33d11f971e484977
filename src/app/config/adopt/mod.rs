//! Reads the settings of another server as tallyd's own: the flags of `statsd_exporter`, and `datadog.yaml`.
//!
//! Each setting becomes a layer, so `tallyd check` names the setting from which a value comes. Files, environment variables and `--set`
//! override `datadog.yaml`. Flags and their defaults override all but `--set`.

mod datadog;
mod settings;
mod statsd_exporter;

use std::path::PathBuf;

use super::error::{ConfigError, Warning};
use super::file::Occasion;
use super::layer::Layer;

pub(in crate::app) use statsd_exporter::StatsdExporterArgs;

/// Another server whose settings apply.
#[derive(Debug, Clone)]
pub(in crate::app) enum Adopted {
    /// The command line is that of `statsd_exporter`.
    StatsdExporter(Box<StatsdExporterArgs>),
    /// The file is that of a Datadog agent.
    Datadog(PathBuf),
}

impl Adopted {
    /// Returns true if the settings are on the command line, and not in a file.
    pub(super) fn is_on_command_line(&self) -> bool {
        matches!(self, Self::StatsdExporter(_))
    }

    /// Returns the settings as tallyd's own, and those that it does not have.
    ///
    /// # Errors
    ///
    /// Returns the first setting that cannot be read.
    pub(super) fn read(&self, occasion: Occasion) -> Result<(Vec<Layer>, Vec<Warning>), ConfigError> {
        let settings = match self {
            Self::StatsdExporter(arguments) => arguments.settings()?,
            Self::Datadog(path) => datadog::read(path, occasion)?,
        };
        Ok((settings.layers, settings.warnings))
    }
}
