//! Defines what is sent in one request.

use std::time::SystemTime;

use bytes::Bytes;

/// The body of one request, encoded as it goes over the wire.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    /// The body.
    pub(crate) body: Bytes,
    /// The number of points. A point is one value of one series at one time.
    pub(crate) points: u64,
    /// The end of the interval that the points belong to.
    pub(crate) time: SystemTime,
}
