//! Splits a stream of payloads, each of which follows its length.

use super::frame::{Frame, FrameTooLong, Incomplete};

#[derive(Debug)]
pub(super) struct Length {
    limit: usize,
    /// The length of the next payload. The first `known` bytes of this header have arrived.
    header: [u8; 4],
    known: usize,
    /// The length of the payload that is arriving. It is `None` until the header has arrived.
    payload: Option<usize>,
    /// The beginning of that payload.
    pub(super) incomplete: Incomplete,
    /// Whether a length was over the limit. If so, the start of the next length is unknown.
    failed: bool,
}

impl Length {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            header: [0; 4],
            known: 0,
            payload: None,
            incomplete: Incomplete::default(),
            failed: false,
        }
    }

    pub(super) fn push(
        &mut self,
        mut bytes: &[u8],
        out: &mut impl FnMut(Frame<'_>),
    ) -> Result<(), FrameTooLong> {
        if self.failed {
            return Err(FrameTooLong);
        }
        while !bytes.is_empty() {
            let Some(length) = self.payload else {
                bytes = self.read_header(bytes, out)?;
                continue;
            };
            let missing = length - self.incomplete.bytes().len();
            let Some((end, after)) = bytes.split_at_checked(missing) else {
                self.incomplete.append(bytes, length);
                return Ok(());
            };
            if self.incomplete.bytes().is_empty() {
                out(Frame::Lines(end));
            } else {
                self.incomplete.append(end, length);
                out(Frame::Lines(self.incomplete.bytes()));
                self.incomplete.clear();
            }
            self.payload = None;
            bytes = after;
        }
        Ok(())
    }

    /// Reads as much of the header as has arrived, and returns the bytes after it.
    fn read_header<'a>(
        &mut self,
        bytes: &'a [u8],
        out: &mut impl FnMut(Frame<'_>),
    ) -> Result<&'a [u8], FrameTooLong> {
        let missing = self.header.len() - self.known;
        let (taken, after) = bytes.split_at(missing.min(bytes.len()));
        self.header[self.known..][..taken.len()].copy_from_slice(taken);
        self.known += taken.len();
        if self.known == self.header.len() {
            let length = u32::from_le_bytes(self.header) as usize;
            if length > self.limit {
                self.failed = true;
                out(Frame::TooLong);
                return Err(FrameTooLong);
            }
            self.known = 0;
            // An empty payload is complete at once.
            self.payload = (length > 0).then_some(length);
        }
        Ok(after)
    }

    /// Hands out the whole lines of an incomplete payload. Its last line is truncated, however the stream ended.
    pub(super) fn end(self, out: &mut impl FnMut(Frame<'_>)) {
        if self.failed || self.known == 0 && self.payload.is_none() {
            return;
        }
        let beginning = self.incomplete.bytes();
        if let Some(last) = memchr::memrchr(b'\n', beginning) {
            out(Frame::Lines(&beginning[..=last]));
        }
        out(Frame::Truncated);
    }
}
