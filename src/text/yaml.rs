//! Files in YAML, which people bring along from other programs.

use serde::de::DeserializeOwned;

/// What is wrong with a file, and in which line of it, from 1, if that is known.
#[derive(Debug)]
pub(crate) struct YamlError {
    pub(crate) line: Option<u64>,
    pub(crate) problem: String,
}

/// `None` if there is nothing in it, or nothing but comments.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<Option<T>, YamlError> {
    serde_saphyr::from_str(text).map_err(|error| YamlError {
        line: error.location().map(|location| location.line()),
        problem: error.without_snippet().to_string(),
    })
}
