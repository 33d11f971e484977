//! What is wrong with a configuration: where, in which key, and what to do instead.

use std::fmt;
use std::path::{Path, PathBuf};

/// A configuration that tallyd refuses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    /// Where it was written.
    pub(super) source: Source,
    /// The dotted key; empty where no key is to blame.
    pub(super) key: String,
    /// What is wrong, and what to do instead.
    pub(super) problem: String,
}

/// Where something was configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Source {
    /// In the defaults, or by leaving keys out.
    Defaults,
    /// In a file. Lines count from 1.
    File { path: PathBuf, line: Option<usize> },
    /// In this environment variable.
    Variable(String),
    /// By `--set` with this argument.
    Argument(String),
}

impl ConfigError {
    /// Returns an error that is about a file rather than about a key.
    pub(super) fn in_file(path: &Path, line: Option<usize>, problem: String) -> Self {
        Self { source: Source::File { path: path.to_owned(), line }, key: String::new(), problem }
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Defaults => f.write_str("configuration"),
            Self::File { path, line: None } => write!(f, "{}", path.display()),
            Self::File { path, line: Some(line) } => write!(f, "{}:{line}", path.display()),
            Self::Variable(name) => write!(f, "environment variable {name}"),
            Self::Argument(argument) => write!(f, "--set {argument}"),
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
