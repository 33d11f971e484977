//! Searches, checks and shows the bytes of a line as text.

use std::fmt;

/// Free text as sent: the title and text of an event, or the message of a service check. It may contain any byte except
/// a line feed. Clients write a line feed as a backslash and an `n`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Text<'a>(pub(super) &'a [u8]);

impl<'a> Text<'a> {
    /// Returns the bytes as sent.
    #[must_use]
    pub fn raw(self) -> &'a [u8] {
        self.0
    }
}

/// Shows the text with real line feeds, and with U+FFFD in place of bytes that are not UTF-8.
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

/// Returns true if `text` is UTF-8. Most texts are ASCII, and the check for ASCII is faster.
pub(super) fn is_utf8(text: &[u8]) -> bool {
    text.is_ascii() || std::str::from_utf8(text).is_ok()
}

/// Splits `text` at the first `byte`. Returns the part before it, and the part after it if there is one.
#[inline]
pub(super) fn split_at_byte(text: &[u8], byte: u8) -> (&[u8], Option<&[u8]>) {
    match find_near(text, byte) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    }
}

/// Returns the offset of the first `byte`, as `memchr` does, but faster if the byte is near.
///
/// Most values and sections are short, so calling a search with wide registers costs more than the search itself. This
/// search is inlined and reads eight bytes at a time. Bytes equal to `byte` become 0. Mycroft's test subtracts 1 from
/// each byte to find the lowest 0. A borrow may wrongly mark a byte above a 0, but never a byte below it.
#[inline]
fn find_near(text: &[u8], byte: u8) -> Option<usize> {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const HIGHS: u64 = u64::from_ne_bytes([0x80; 8]);
    let sought = u64::from_ne_bytes([byte; 8]);
    let (words, rest) = text.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let different = u64::from_le_bytes(*word) ^ sought;
        let zeros = different.wrapping_sub(ONES) & !different & HIGHS;
        if zeros != 0 {
            return Some(index * 8 + zeros.trailing_zeros() as usize / 8);
        }
    }
    Some(words.len() * 8 + rest.iter().position(|&other| other == byte)?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn backslash_and_n_become_a_line_feed_and_other_backslashes_stay() {
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

    proptest! {
        #[test]
        fn the_near_search_agrees_with_a_plain_search(
            text in proptest::collection::vec(proptest::sample::select(&b"|{}\0\x7f\x80\xffa"[..]), 0..40),
            byte in proptest::sample::select(&b"|:\0\x80"[..]),
        ) {
            prop_assert_eq!(find_near(&text, byte), text.iter().position(|&other| other == byte));
        }
    }
}
