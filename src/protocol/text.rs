//! Free text: titles and texts of events, messages of service checks.

use std::fmt;

/// Text as sent: any bytes but a line feed, which is written as a backslash and an `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<'a>(pub(super) &'a [u8]);

impl<'a> Text<'a> {
    /// The bytes as they stand in the line.
    #[must_use]
    pub fn raw(self) -> &'a [u8] {
        self.0
    }
}

/// The text that is meant: with line feeds, and U+FFFD for what is not UTF-8.
impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut from = 0;
        for escape in memchr::memmem::find_iter(self.0, b"\\n") {
            writeln!(f, "{}", String::from_utf8_lossy(&self.0[from..escape]))?;
            from = escape + 2;
        }
        f.write_str(&String::from_utf8_lossy(&self.0[from..]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_backslash_and_an_n_are_a_line_feed_and_other_backslashes_are_themselves() {
        let cases: [(&[u8], &str); 6] = [
            (b"", ""),
            (b"a\\nb\\n", "a\nb\n"),
            (b"\\\\n", "\\\n"),
            (b"test\\line1\\nline2", "test\\line1\nline2"),
            (b"m\\:x\\", "m\\:x\\"),
            (b"\xff\\n\xfe", "\u{fffd}\n\u{fffd}"),
        ];
        for (raw, expected) in cases {
            assert_eq!(Text(raw).to_string(), expected);
        }
    }
}
