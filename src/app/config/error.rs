//! What is wrong with a configuration: where, which key, and what would be right.

use std::fmt;
use std::path::PathBuf;

/// The key that is to blame, and what is wrong with its value.
pub(super) type Problem = (&'static str, String);

/// A configuration that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where it was written.
    pub place: Place,
    /// The key, dotted; empty where no key is to blame.
    pub key: String,
    /// What is wrong, and what would be right.
    pub problem: String,
}

/// Where something was configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In the defaults, or by leaving keys out.
    Defaults,
    /// In a file; the line counts from 1.
    File {
        /// Its path, as given.
        path: PathBuf,
        /// The line, if one is to blame.
        line: Option<usize>,
    },
    /// In this environment variable.
    Variable(String),
    /// By `--set`, with this argument.
    Argument(String),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Defaults => f.write_str("configuration"),
            Place::File { path, line: None } => write!(f, "{}", path.display()),
            Place::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Place::Variable(name) => write!(f, "environment variable {name}"),
            Place::Argument(argument) => write!(f, "--set {argument}"),
        }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.place)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.problem)
    }
}

impl std::error::Error for ConfigError {}
