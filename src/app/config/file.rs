//! Reads files, and explains in the user's words why a file cannot be read or is not TOML.

use std::ops::Range;
use std::path::Path;
use std::{fs, io};

use toml::de;

use crate::text::visible::visible;

/// The occasion on which the configuration is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::app) enum Occasion {
    /// The start of a command.
    Start,
    /// A reload. It refuses empty files, because a program that rewrites a file empties it first.
    Reload,
}

/// Reads a file, or returns the reason why it cannot be used.
pub(super) fn read_text(path: &Path, occasion: Occasion) -> Result<String, String> {
    let text = fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::InvalidData => "cannot be read: it is not UTF-8".to_owned(),
        _ => format!("cannot be read: {error}"),
    })?;
    if occasion == Occasion::Reload && text.trim().is_empty() {
        return Err("the file is empty; to change back to the defaults, write a comment into it".to_owned());
    }
    Ok(text)
}

/// Returns the reason why a text is not TOML, and what to write instead.
pub(super) fn syntax_problem(text: &str, error: &de::Error) -> String {
    let found = error.span().and_then(|span| text.get(span)).unwrap_or_default();
    let message = error.message();
    // The parser adds a list of expected characters, which does not help users.
    let (message, _) = message.split_once(", expected").unwrap_or((message, ""));
    let sentence = match message {
        "string values must be quoted" if found.is_empty() => "a value is missing after \"=\"",
        "string values must be quoted" if is_switch(found) => {
            return format!("{found} is not a value; write true or false");
        }
        "invalid boolean" => return format!("{found} is not a value; write true or false"),
        "string values must be quoted" if found.contains(' ') => {
            return format!(
                "{found} is not a value; write text in quotes, and commas between the items of a list"
            );
        }
        "string values must be quoted" => {
            return format!("{found} is not a value; write text in quotes: \"{found}\"");
        }
        "duplicate key" => return format!("`{found}` appears twice; keep one of the two"),
        "key with no value" | "missing value for key" => "a key has no value; write key = value",
        "unclosed table" | "unclosed array table" => {
            "the name of a section has no closing bracket; write [section]"
        }
        "invalid basic string" | "invalid literal string" => "text has no closing quote on its line",
        "invalid multi-line basic string" | "invalid multi-line literal string" => {
            "text has no closing quotes"
        }
        "missing escaped value" => {
            "a backslash in \"...\" begins an escape such as \\n; write \\\\, or put the text in '...'"
        }
        "missing comma between array elements" | "unclosed array" => {
            "a list lacks a comma between two items, or its closing bracket"
        }
        "unclosed inline table" => "a \"{\" lacks its closing \"}\"",
        "unquoted keys cannot be empty" => "the name of a key or of a section is missing",
        "unexpected key or value" => "the value has ended; write what follows on a line of its own",
        "unexpected leading zero" => {
            "a number cannot begin with 0; write the mode of a file in quotes, such as \"0660\""
        }
        "invalid mantissa" | "invalid fraction" | "invalid float" | "invalid exponent" => {
            "not a number; write digits on both sides of the point, such as 0.5, and text in quotes"
        }
        "floating-point number overflowed" => return format!("{found} is too large a number"),
        _ if message.starts_with("invalid type: integer") => return format!("{found} is too large a number"),
        "invalid date" | "invalid time" | "invalid datetime" | "invalid date-time" => {
            return format!("{found} is not a date or time that exists; write text in quotes: \"{found}\"");
        }
        "extra comma in array" | "extra comma in inline table" => "a comma has no item before it",
        "extra `=`" | "extra assignment between key-value pairs" => {
            "a second \"=\" follows the first; write text in quotes"
        }
        "invalid unquoted key" => {
            "a key has characters other than letters, digits, \"_\" and \"-\"; write the key in quotes"
        }
        "`_` may only go between digits" => "\"_\" in a number must be between two digits",
        "too few unicode value digits" => "\\u needs four hexadecimal digits, and \\U eight",
        "radix must be lowercase" | "integers with a radix cannot be signed" => {
            "not a number; write one in another base as 0x1f, 0o17 or 0b11"
        }
        "invalid comment character" => "a comment has a control character; remove it",
        "carriage return must be followed by newline" => {
            "a carriage return has no line feed after it; save the file with the line ends of Unix"
        }
        _ if message.contains("recurs") => "sections or lists are nested too deeply",
        _ => return format!("not valid TOML near \"{}\"", text_near(text, error.span())),
    };
    sentence.to_owned()
}

/// The most characters of a line that an error shows.
const NEAR: usize = 40;

/// Returns the beginning of the line that has an error, without its indentation.
fn text_near(text: &str, span: Option<Range<usize>>) -> String {
    let start = span.map_or(0, |span| span.start.min(text.len()));
    let begin = text[..start].rfind('\n').map_or(0, |end| end + 1);
    let line = text[begin..].lines().next().unwrap_or_default().trim();
    visible(&line.chars().take(NEAR).collect::<String>()).into_owned()
}

/// Returns true for the words that YAML and other languages use for true and false.
fn is_switch(word: &str) -> bool {
    ["yes", "no", "on", "off"].iter().any(|switch| word.eq_ignore_ascii_case(switch))
}
