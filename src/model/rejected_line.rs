//! Examples of lines that were not recorded.

use super::Origin;
use crate::text::visible::visible;

/// The longest part of a line that the log shows, in bytes.
const LOGGED: usize = 160;

/// A line that was rejected, or of which a sample was refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RejectedLine {
    /// The reason, as telemetry names it.
    pub reason: &'static str,
    /// The bytes of the line. If it is very long, they are a part of it that contains the offending byte. There are none if
    /// the receiver did not read the line to its end.
    pub bytes: Vec<u8>,
    /// The offset of the first of these bytes in the line.
    pub begin: usize,
    /// The length of the whole line in bytes.
    pub length: usize,
    /// The offset of the offending byte, if the line is invalid.
    pub offset: Option<usize>,
    /// Where the line came from.
    pub origin: Origin,
}

impl RejectedLine {
    /// Returns the column of the offending byte, counted from 1, if the line is invalid.
    #[must_use]
    pub fn column(&self) -> Option<usize> {
        self.offset.map(|offset| offset + 1)
    }

    /// Returns the line as the log shows it: hidden characters are escaped, and a long line is shortened to the part
    /// around the offending byte. Returns `None` if its bytes are not known.
    pub(crate) fn shortened(&self) -> Option<String> {
        let offending = self.offset.unwrap_or(0).saturating_sub(self.begin);
        let begin = if self.bytes.len() <= LOGGED { 0 } else { offending.saturating_sub(LOGGED / 2) };
        let end = self.bytes.len().min(begin + LOGGED);
        let text = String::from_utf8_lossy(&self.bytes[begin..end]);
        let before = if self.begin + begin > 0 { "…" } else { "" };
        let after = if self.begin + end < self.length { "…" } else { "" };
        (self.length > 0).then(|| format!("{before}{}{after}", visible(&text)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_shows_the_part_of_a_line_around_the_offending_byte() {
        let shown = |bytes: &[u8], begin, length, offset| {
            let (reason, origin, bytes) = ("bad_value", Origin::default(), bytes.to_vec());
            RejectedLine { reason, bytes, begin, length, offset: Some(offset), origin }.shortened().unwrap()
        };
        assert_eq!(shown(b"a:\x1b\xff|c", 0, 6, 2), "a:\\u{1b}\u{fffd}|c");
        let long = [[b'a'; 300], [b'b'; 300]].concat();
        let expected = format!("…{}{}…", "a".repeat(80), "b".repeat(80));
        assert_eq!(shown(&long, 0, 600, 300), expected);
        assert_eq!(shown(&long, 1000, 1600, 1300), expected);
        assert_eq!(shown(&long, 0, 600, 0), format!("{}…", "a".repeat(160)));
    }
}
