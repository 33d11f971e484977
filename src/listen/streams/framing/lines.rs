//! Lines that end in a line feed.

use super::waiting::Waiting;
use super::{End, Frame};

#[derive(Debug)]
pub(super) struct Lines {
    limit: usize,
    /// The beginning of a line, without line feed and not longer than `limit`.
    pub(super) waiting: Waiting,
    /// Whether what comes, up to the next line feed, belongs to a line that was too long.
    skipping: bool,
}

impl Lines {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, waiting: Waiting::default(), skipping: false }
    }

    pub(super) fn push(&mut self, bytes: &[u8], out: &mut impl FnMut(Frame<'_>)) {
        let Some(mut rest) = self.finish_begun_line(bytes, out) else { return };
        while !rest.is_empty() {
            // Each line in a window of this length is short enough, so it suffices to find the last line feed there,
            // and most often the window is all there is.
            let window = &rest[..rest.len().min(self.limit.saturating_add(1))];
            if let Some(last) = memchr::memrchr(b'\n', window) {
                let (whole, after) = rest.split_at(last + 1);
                out(Frame::Lines(whole));
                rest = after;
            } else if rest.len() <= self.limit {
                self.waiting.append(rest, self.limit);
                return;
            } else {
                out(Frame::TooLong);
                let Some(end) = memchr::memchr(b'\n', rest) else {
                    self.skipping = true;
                    return;
                };
                rest = &rest[end + 1..];
            }
        }
    }

    /// What follows the line that began in earlier bytes, if it ends in these.
    fn finish_begun_line<'a>(
        &mut self,
        bytes: &'a [u8],
        out: &mut impl FnMut(Frame<'_>),
    ) -> Option<&'a [u8]> {
        if !self.skipping && self.waiting.bytes().is_empty() {
            return Some(bytes);
        }
        let end = memchr::memchr(b'\n', bytes);
        let more = &bytes[..end.unwrap_or(bytes.len())];
        if !self.skipping && self.waiting.bytes().len() + more.len() > self.limit {
            self.waiting.clear();
            self.skipping = true;
            out(Frame::TooLong);
        }
        if !self.skipping {
            self.waiting.append(more, self.limit);
        }
        let end = end?;
        if !self.skipping {
            out(Frame::Lines(self.waiting.bytes()));
            self.waiting.clear();
        }
        self.skipping = false;
        Some(&bytes[end + 1..])
    }

    pub(super) fn end(self, end: End, out: &mut impl FnMut(Frame<'_>)) {
        match end {
            _ if self.waiting.bytes().is_empty() => {}
            End::Whole => out(Frame::Lines(self.waiting.bytes())),
            End::Broken => out(Frame::Cut),
        }
    }
}
