//! Makes text from clients safe to display: it can neither control a terminal nor change the direction of text.

use std::borrow::Cow;
use std::fmt::Write;

/// Returns the text with hidden characters escaped, for example as `\u{1b}`.
pub(crate) fn visible(text: &str) -> Cow<'_, str> {
    if !text.contains(is_hidden) {
        return text.into();
    }
    let mut shown = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if is_hidden(character) {
            shown.extend(character.escape_default());
        } else {
            shown.push(character);
        }
    }
    shown.into()
}

/// The length in bytes to which text from clients is shortened in the log.
const LOGGED: usize = 200;

/// Returns JSON with hidden characters escaped, for example as `\u009b`. JSON has such characters only within strings,
/// so it reads back as the same value.
pub(crate) fn json_escaped(json: &str) -> Cow<'_, str> {
    if !json.contains(is_hidden) {
        return json.into();
    }
    let mut escaped = String::with_capacity(json.len() + 8);
    for character in json.chars() {
        if is_hidden(character) {
            // Writing to a string cannot fail.
            character.encode_utf16(&mut [0; 2]).iter().for_each(|unit| _ = write!(escaped, "\\u{unit:04x}"));
        } else {
            escaped.push(character);
        }
    }
    escaped.into()
}

/// Returns text from a client as the log shows it: hidden characters are escaped, and long text is shortened to about
/// 200 bytes, followed by its length.
pub(crate) fn shortened(text: &str) -> String {
    let shown = visible(&text[..text.floor_char_boundary(LOGGED)]);
    let end = shown.floor_char_boundary(LOGGED);
    if end < shown.len() || text.len() > LOGGED {
        format!("{}… ({} bytes)", &shown[..end], text.len())
    } else {
        shown.into_owned()
    }
}

/// Returns true for control characters, and for the characters that change the direction of text.
pub(crate) fn is_hidden(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_is_shortened_between_two_characters() {
        let exact = "a".repeat(LOGGED);
        assert_eq!(shortened(&exact), exact);
        let long = format!("{}é", "a".repeat(LOGGED - 1));
        assert_eq!(shortened(&long), format!("{}… (201 bytes)", "a".repeat(LOGGED - 1)));
        for text in ["é".repeat(30_000), "\u{1b}".repeat(200)] {
            let shown = shortened(&text);
            assert!(shown.len() < 230 && !shown.contains(is_hidden), "{shown}");
        }
        assert_eq!(shortened("a\u{85}b"), "a\\u{85}b");
    }

    #[test]
    fn only_control_and_direction_characters_are_escaped() {
        let cases = [
            ("a{k=\"v\\\"}", "a{k=\"v\\\"}"),
            ("\u{1b}[31m\"é🎈\"\n", "\\u{1b}[31m\"é🎈\"\\n"),
            ("a\u{202e}b\u{2066}\u{200f}", "a\\u{202e}b\\u{2066}\\u{200f}"),
            ("", ""),
        ];
        for (text, expected) in cases {
            assert_eq!(visible(text), expected);
        }
    }
}
