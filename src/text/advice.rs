//! Says what to write instead of a refused value, in the words of users rather than of parsing libraries.

use std::borrow::Cow;
use std::fmt::Display;

use serde::de::Unexpected;

/// Returns what to write instead of a value that serde refused. `expected` is serde's description: a type, or the text
/// of a visitor.
pub(crate) fn wanted(expected: &str) -> Cow<'_, str> {
    let words = match expected {
        "a boolean" | "boolean" => "true or false",
        "f64" | "floating point" => "a number",
        "u16" => "a whole number from 0 to 65535",
        "u32" => "a whole number from 0 to 4294967295",
        "u64" | "usize" => "a whole number that is not negative",
        "a string" | "path string" => "text in quotes",
        "a sequence" => "a list, such as [a, b]",
        "a map" => "keys and their values",
        _ if expected.starts_with("struct ") => "keys and their values",
        _ => expected,
    };
    words.into()
}

/// Describes the value that serde found.
pub(crate) fn found(unexpected: &Unexpected<'_>) -> String {
    match unexpected {
        Unexpected::Bool(value) => format!("{value} is a boolean"),
        Unexpected::Signed(value) => format!("{value} is a number"),
        Unexpected::Unsigned(value) => format!("{value} is a number"),
        Unexpected::Float(value) => format!("{value} is a number"),
        Unexpected::Str(text) => format!("{text:?} is text"),
        Unexpected::Seq => "this is a list".to_owned(),
        Unexpected::Map => "this is a section".to_owned(),
        other => other.to_string(),
    }
}

/// Returns the message for a key that is not one of `known`. It suggests the key that the user probably meant.
pub(crate) fn unknown_key(key: &str, known: &[&str]) -> String {
    let distance = |known: &str| strsim::osa_distance(key, known);
    match known.iter().min_by_key(|known| distance(known)) {
        // The suggestion allows one typo per three letters.
        Some(nearest) if distance(nearest) * 3 <= key.len().max(3) => {
            format!("unknown; did you mean `{nearest}`?")
        }
        _ => format!("unknown; known here: {}", known.join(", ")),
    }
}

/// Returns the message for a word that is not one of `known`.
pub(crate) fn unknown_word(word: &str, known: &[&str]) -> String {
    format!("{word:?} is unknown; write {}", one_of(known))
}

/// Returns a list of words to choose from: `"a", "b" or "c"`. It omits the empty word, which means the same as leaving
/// out the key.
pub(crate) fn one_of(words: &[&str]) -> String {
    let quoted: Vec<_> =
        words.iter().filter(|word| !word.is_empty()).map(|word| format!("{word:?}")).collect();
    match quoted.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

/// Returns the message for a required key that is missing.
pub(crate) fn missing_key(key: impl Display) -> String {
    format!("`{key}` is missing")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelled_key_gets_the_nearest_known_key_as_advice() {
        let known = ["interval", "percentiles", "ttl"];
        let cases = [
            ("intervall", "unknown; did you mean `interval`?"),
            ("intreval", "unknown; did you mean `interval`?"),
            ("percentile", "unknown; did you mean `percentiles`?"),
            ("tl", "unknown; did you mean `ttl`?"),
            ("seconds", "unknown; known here: interval, percentiles, ttl"),
        ];
        for (key, expected) in cases {
            assert_eq!(unknown_key(key, &known), expected, "{key}");
        }
    }

    #[test]
    fn a_list_of_words_omits_the_empty_word() {
        assert_eq!(one_of(&["", "summary", "histogram", "native"]), r#""summary", "histogram" or "native""#);
        assert_eq!(one_of(&["", "glob"]), r#""glob""#);
    }
}
