//! The pieces that a stream is split into, and the buffer for an incomplete piece.

use std::fmt;

/// A piece of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Frame<'a> {
    /// Whole lines, which [`protocol::lines`](crate::protocol::lines) can split.
    Lines(&'a [u8]),
    /// A line or payload over the limit, which is dropped.
    TooLong,
    /// A line whose end never arrived, for example `a:12` of `a:1234`. It is dropped.
    Truncated,
}

/// The way in which a stream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The sender closed the stream, so its last line needs no line feed.
    Whole,
    /// The stream broke, or the receiver closed it. Its last line may be truncated.
    Broken,
}

/// The error of a payload that is longer than the limit. Most likely, the client sends lines, and the receiver read
/// text as a length. The rest of the stream cannot be split.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameTooLong;

impl fmt::Display for FrameTooLong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a payload is longer than the limit; a client that sends lines needs framing = \"lines\"")
    }
}

impl std::error::Error for FrameTooLong {}

/// The beginning of a line or payload whose rest has not arrived yet. It takes no memory while it is empty.
#[derive(Debug, Default)]
pub(super) struct Incomplete(Vec<u8>);

impl Incomplete {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Appends `bytes`. The total may be up to `limit` bytes long. The capacity doubles up to `limit`, so the work
    /// stays proportional to the bytes, however small the pieces are.
    pub(super) fn append(&mut self, bytes: &[u8], limit: usize) {
        let length = self.0.len() + bytes.len();
        if length > self.0.capacity() {
            let capacity = length.max(limit.min(2 * self.0.capacity()));
            self.0.reserve_exact(capacity - self.0.len());
        }
        self.0.extend_from_slice(bytes);
    }

    /// Drops the bytes and frees their memory, because thousands of connections may be idle.
    pub(super) fn clear(&mut self) {
        self.0 = Vec::new();
    }

    pub(super) fn capacity(&self) -> usize {
        self.0.capacity()
    }
}
