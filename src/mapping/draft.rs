//! The series that a line names, while it is shaped.

use std::fmt;

/// The name and the tags of a series. Rules change both.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Draft {
    /// The name. It need not be a legal one.
    pub name: String,
    /// Keys and values, in any order. The tag `k` has no value, and the value of `k:` is empty.
    pub tags: Vec<(String, Option<String>)>,
}

impl Draft {
    /// Returns a series without tags.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: name.into(), tags: Vec::new() }
    }
}

/// Writes the name and the tags like a line: `name|#key:value,key`.
impl fmt::Display for Draft {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        for (index, (key, value)) in self.tags.iter().enumerate() {
            write!(f, "{}{key}", if index == 0 { "|#" } else { "," })?;
            if let Some(value) = value {
                write!(f, ":{value}")?;
            }
        }
        Ok(())
    }
}
