//! The error for a wrong configuration: its place, its key, the problem and the remedy.

use std::fmt;
use std::path::{Path, PathBuf};

/// The reason why tallyd refuses a configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// The source of the wrong setting.
    pub(super) source: SettingSource,
    /// The dotted key, or empty if the error is not about a key.
    pub(super) key: String,
    /// The problem, and what to do instead.
    pub(super) problem: String,
}

/// A warning about a setting that is legal but probably a mistake. It says the same as an error: where, what, and what
/// to do.
pub(in crate::app) type Warning = ConfigError;

/// The place in which a user wrote a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SettingSource {
    /// The defaults, or the lack of a key.
    Defaults,
    /// A file. Lines count from 1.
    File { path: PathBuf, line: Option<usize> },
    /// The environment variable with this name.
    Variable(String),
    /// `--set` with this argument.
    Argument(String),
    /// A setting of another server, with its place.
    Adopted(String),
}

impl ConfigError {
    /// Returns an error about a file rather than about a key.
    pub(super) fn in_file(path: &Path, line: Option<usize>, problem: String) -> Self {
        Self { source: SettingSource::File { path: path.to_owned(), line }, key: String::new(), problem }
    }
}

impl fmt::Display for SettingSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => f.write_str("configuration"),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Argument(argument) => write!(f, "--set {argument}"),
            Self::Adopted(setting) => f.write_str(setting),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.source)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for ConfigError {}
