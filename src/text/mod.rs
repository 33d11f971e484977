//! Writes numbers, legal names and visible text, and reads YAML and durations.

pub(crate) mod advice;
pub(crate) mod brief;
pub(crate) mod duration;
pub(crate) mod name;
pub(crate) mod number;
pub(crate) mod visible;
pub(crate) mod yaml;
