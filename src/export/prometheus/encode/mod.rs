//! Encodes the page: one walk over all families, and an encoder for each format.

mod format;
mod lines;
mod openmetrics;
mod protobuf;
mod text;
mod walk;

pub use format::Format;
#[cfg(test)]
pub(super) use protobuf::decoded;
