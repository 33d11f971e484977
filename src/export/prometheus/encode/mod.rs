//! Encodes the page: one walk over all families, and an encoder for each format.

mod format;
mod lines;
mod openmetrics;
mod protobuf;
mod text;
mod walk;

pub use format::Format;
pub(super) use lines::{LabelValues, PolicyLabels, help};
pub(super) use openmetrics::canonical;
#[cfg(test)]
pub(super) use protobuf::decoded;
pub(super) use protobuf::{BucketSpan, NativeMessage, native_message};
