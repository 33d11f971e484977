//! Splits a stream of lines, each of which ends in a line feed.

use super::frame::{End, Frame, Incomplete};

#[derive(Debug)]
pub(super) struct Lines {
    limit: usize,
    /// The beginning of a line, without line feed and at most `limit` bytes long.
    pub(super) incomplete: Incomplete,
    /// Whether the bytes up to the next line feed belong to a line that was too long.
    skipping: bool,
}

impl Lines {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, incomplete: Incomplete::default(), skipping: false }
    }

    pub(super) fn push(&mut self, bytes: &[u8], out: &mut impl FnMut(Frame<'_>)) {
        let Some(mut rest) = self.finish_begun_line(bytes, out) else { return };
        while !rest.is_empty() {
            // All lines that end in a window of this length are short enough, so only the last line feed matters.
            // Usually, the window holds all bytes.
            let window = &rest[..rest.len().min(self.limit.saturating_add(1))];
            if let Some(last) = memchr::memrchr(b'\n', window) {
                let (whole, after) = rest.split_at(last + 1);
                out(Frame::Lines(whole));
                rest = after;
            } else if rest.len() <= self.limit {
                self.incomplete.append(rest, self.limit);
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

    /// Finishes the line that began in earlier bytes. Returns the bytes after it, or `None` if the line does not end in
    /// `bytes`.
    fn finish_begun_line<'a>(
        &mut self,
        bytes: &'a [u8],
        out: &mut impl FnMut(Frame<'_>),
    ) -> Option<&'a [u8]> {
        if !self.skipping && self.incomplete.bytes().is_empty() {
            return Some(bytes);
        }
        let end = memchr::memchr(b'\n', bytes);
        let more = &bytes[..end.unwrap_or(bytes.len())];
        if !self.skipping && self.incomplete.bytes().len() + more.len() > self.limit {
            self.incomplete.clear();
            self.skipping = true;
            out(Frame::TooLong);
        }
        if !self.skipping {
            self.incomplete.append(more, self.limit);
        }
        let end = end?;
        if !self.skipping {
            out(Frame::Lines(self.incomplete.bytes()));
            self.incomplete.clear();
        }
        self.skipping = false;
        Some(&bytes[end + 1..])
    }

    pub(super) fn end(self, end: End, out: &mut impl FnMut(Frame<'_>)) {
        match end {
            _ if self.incomplete.bytes().is_empty() => {}
            End::Whole => out(Frame::Lines(self.incomplete.bytes())),
            End::Broken => out(Frame::Truncated),
        }
    }
}
