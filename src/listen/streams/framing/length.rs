//! Payloads that follow their length.

use super::waiting::Waiting;
use super::{Frame, FrameTooLong};

#[derive(Debug)]
pub(super) struct Length {
    limit: usize,
    /// Bytes of the next payload's length, of which `known` have arrived.
    header: [u8; 4],
    known: usize,
    /// The length of the payload that is arriving, if its header has.
    payload: Option<usize>,
    /// The beginning of that payload.
    pub(super) waiting: Waiting,
    /// Whether a length was over the limit, so that nobody knows where the next one stands.
    failed: bool,
}

impl Length {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, header: [0; 4], known: 0, payload: None, waiting: Waiting::default(), failed: false }
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
            let missing = length - self.waiting.bytes().len();
            let Some((end, after)) = bytes.split_at_checked(missing) else {
                self.waiting.append(bytes, length);
                return Ok(());
            };
            if self.waiting.bytes().is_empty() {
                out(Frame::Lines(end));
            } else {
                self.waiting.append(end, length);
                out(Frame::Lines(self.waiting.bytes()));
                self.waiting.clear();
            }
            self.payload = None;
            bytes = after;
        }
        Ok(())
    }

    /// Takes what there is of a length; what follows it.
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
            // An empty payload is over already.
            self.payload = (length > 0).then_some(length);
        }
        Ok(after)
    }

    /// However the stream ended, a payload that is not whole was cut.
    pub(super) fn end(self, out: &mut impl FnMut(Frame<'_>)) {
        if self.failed || self.known == 0 && self.payload.is_none() {
            return;
        }
        let beginning = self.waiting.bytes();
        if let Some(last) = memchr::memrchr(b'\n', beginning) {
            out(Frame::Lines(&beginning[..=last]));
        }
        out(Frame::Cut);
    }
}
