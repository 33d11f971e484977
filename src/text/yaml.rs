//! Reads YAML files that users bring from other programs. Its errors use the words of the file, not those of the
//! library.

use serde::de::DeserializeOwned;
use serde_saphyr::Error;

use super::advice;
use super::visible::visible;

/// The fault in a file, and its line if known. Lines count from 1.
#[derive(Debug)]
pub(crate) struct YamlError {
    pub(crate) line: Option<u64>,
    pub(crate) problem: String,
}

/// Parses a file. Returns `None` if it contains only comments.
pub(crate) fn parse<T: DeserializeOwned>(text: &str) -> Result<Option<T>, YamlError> {
    serde_saphyr::from_str(text).map_err(|error| {
        let error = error.without_snippet();
        let location = error.location();
        let start = location.and_then(|location| usize::try_from(location.span().offset()).ok());
        let context = start.map(|start| ErrorContext::new(text, start)).unwrap_or_default();
        YamlError { line: location.map(|location| location.line()), problem: problem(error, &context) }
    })
}

/// The most characters of a line that an error shows.
const NEAR: usize = 40;

/// The text around an error.
#[derive(Debug, Default)]
struct ErrorContext<'a> {
    /// The key whose value begins at the error; empty if there is none.
    key: &'a str,
    /// The value that begins at the error. It ends with its line or, in brackets, at the next delimiter.
    value: &'a str,
    /// The line of the error, without its indentation.
    line: &'a str,
}

impl<'a> ErrorContext<'a> {
    /// Finds the key and the value at `start`, which is an offset in characters.
    fn new(text: &'a str, start: usize) -> Self {
        let start = text.char_indices().nth(start).map_or(text.len(), |(byte, _)| byte);
        let (before, after) = text.split_at(start);
        // The library reports a missing value at the position of the colon.
        let is_missing = after.starts_with(':');
        let key = if is_missing { before } else { before.trim_end().strip_suffix(':').unwrap_or_default() };
        let value = after.lines().next().unwrap_or_default();
        Self {
            key: key.rsplit([' ', '\n', '{', ',', '\t']).next().unwrap_or_default(),
            value: value.split([',', ']', '}', '#']).next().unwrap_or_default().trim_end(),
            line: text[before.rfind('\n').map_or(0, |end| end + 1)..]
                .lines()
                .next()
                .unwrap_or_default()
                .trim(),
        }
    }

    /// Returns the last resort: a sentence that shows the line.
    fn not_yaml(&self) -> String {
        let line: String = self.line.chars().take(NEAR).collect();
        format!(
            "not valid YAML near \"{}\"; check the indentation, the quotes and the brackets",
            visible(&line)
        )
    }

    /// Prefixes a sentence about the value with its key.
    fn say(&self, sentence: &str) -> String {
        if self.key.is_empty() { sentence.to_owned() } else { format!("{}: {sentence}", self.key) }
    }

    /// Returns a sentence that refuses the value and says what to write.
    fn refuse(&self, wanted: &str) -> String {
        let found = match self.value {
            "" => return self.say(&format!("write {wanted}")),
            value if value.starts_with('[') || value.starts_with("- ") => "a list",
            value if value.starts_with('{') || value.contains(": ") => "a section",
            value => value,
        };
        self.say(&format!("{} is not valid here; write {wanted}", visible(found)))
    }
}

/// Returns a sentence that says what is wrong and what to write instead.
fn problem(error: &Error, context: &ErrorContext<'_>) -> String {
    match error {
        Error::Message { msg, .. } => context.say(msg),
        Error::Unexpected { expected, .. } => context.refuse(&wanted(expected)),
        Error::InvalidScalar { ty, .. } => context.refuse(&wanted(ty)),
        Error::SerdeInvalidType { expected, .. } | Error::SerdeInvalidValue { expected, .. } => {
            context.refuse(&wanted(expected))
        }
        Error::ExternallyTaggedEnumExpectedScalarOrMapping { .. } => context.refuse("a single word"),
        Error::NullIntoString { .. } => context.say("has no value; write one, or leave the key out"),
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            context.say(&advice::unknown_word(variant, expected))
        }
        Error::SerdeUnknownField { field, expected, .. } => {
            format!("{field}: {}", advice::unknown_key(field, expected))
        }
        Error::SerdeMissingField { field, .. } => context.say(&advice::missing_key(field)),
        Error::DuplicateMappingKey { key: Some(key), .. } => {
            format!("`{key}` appears twice; keep one of the two")
        }
        Error::DuplicateMappingKey { key: None, .. } => "a key appears twice; keep one of the two".to_owned(),
        Error::MultipleDocuments { .. } => "a second document begins here; leave the \"---\" out".to_owned(),
        Error::UnknownAnchor { .. } => {
            context.say("\"*\" begins a reference to a value that is not in the file; write text in quotes")
        }
        Error::Eof { .. } => "the file ends before a value".to_owned(),
        Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. }
        | Error::Budget { .. } => {
            "the file is too large, or too deeply nested, for a configuration".to_owned()
        }
        Error::ExternalMessage { msg, .. } => syntax(msg, context),
        Error::MergeValueNotMapOrSeqOfMaps { .. } | Error::MergeKeyNotAllowed { .. } => {
            "\"<<\" needs a section, such as a reference; or write the keys out".to_owned()
        }
        Error::TaggedScalarCannotDeserializeIntoString { .. }
        | Error::UnsupportedTag { .. }
        | Error::TaggedEnumMismatch { .. } => context.say("\"!\" begins a type; write text in quotes"),
        Error::FoldedBlockScalarMustIndentContent { .. } | Error::IndentationError { .. } => {
            context.say(INDENTATION)
        }
        _ => context.not_yaml(),
    }
}

/// Returns what to write instead of a value that the library refused. `expected` is the library's name for a legal
/// value.
fn wanted(expected: &str) -> String {
    match expected {
        "sequence start" => "a list: \"- item\" on lines of their own, or [item, item]".to_owned(),
        "mapping start" => "keys and their values: \"key: value\" on lines of their own".to_owned(),
        "string scalar" | "scalar" => "a single value, without brackets".to_owned(),
        other => advice::wanted(other).into_owned(),
    }
}

const INDENTATION: &str =
    "the indentation or a \":\" is wrong; write \"key: value\", and indent keys of one section alike";

/// Returns a sentence that says why the text is not valid YAML.
fn syntax(message: &str, context: &ErrorContext<'_>) -> String {
    let sentence = match message {
        "mapping values are not allowed in this context" => {
            return "unexpected colon; check the indentation, and put text that contains \": \" in quotes"
                .to_owned();
        }
        _ if message.starts_with("tabs disallowed") => return "indented with a tab; use spaces".to_owned(),
        _ if message.starts_with("unclosed quote") => "text has no closing quote",
        _ if message.starts_with("unclosed bracket") => "a bracket has no closing bracket",
        _ if message.starts_with("misplaced bracket") => "a closing bracket has no opening bracket",
        _ if message.starts_with("unexpected character") => {
            let first: String = context.value.chars().take(1).collect();
            return context
                .say(&format!("text cannot begin with \"{}\"; write it in quotes", visible(&first)));
        }
        _ if message.contains("unknown escape character") => {
            "a backslash in \"...\" begins an escape such as \\n; write \\\\, or put the text in '...'"
        }
        _ if message.contains("trailing content after") => {
            "text follows the closing quote; quote the whole text"
        }
        _ if message.starts_with("comments must be separated") => "write a space before \"#\"",
        _ if message.starts_with("mismatched bracket") => "a bracket and its closing bracket differ",
        _ if message.contains("indentation") || message.contains("not allowed in this context") => {
            INDENTATION
        }
        _ if message.contains("did not find expected") || message.contains("simple key") => INDENTATION,
        _ => return context.not_yaml(),
    };
    context.say(sentence)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "the tests only parse the fields")]
    struct File {
        #[serde(default)]
        rules: Vec<Rule>,
        #[serde(default)]
        users: BTreeMap<String, String>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    #[expect(dead_code, reason = "the tests only parse the fields")]
    struct Rule {
        name: String,
        #[serde(default)]
        scale: f64,
        #[serde(default)]
        buckets: u32,
        #[serde(default)]
        honor: bool,
        #[serde(default)]
        kind: Kind,
    }

    #[derive(Debug, Default, Deserialize)]
    #[serde(rename_all = "lowercase")]
    enum Kind {
        #[default]
        #[serde(rename = "")]
        Unset,
        Summary,
        Histogram,
    }

    /// Each row holds a file, the line of its fault, and the error.
    #[test]
    fn errors_use_the_words_of_the_file() {
        #[rustfmt::skip]
        let cases = [
            // Keys.
            ("ruls: []\n", 1, "ruls: unknown; did you mean `rules`?"),
            ("rules:\n- name: a\n  honour: true\n", 3, "honour: unknown; did you mean `honor`?"),
            ("rules:\n- name: a\n  colour: red\n", 3, "colour: unknown; known here: name, scale, buckets, honor, kind"),
            ("rules:\n- name: a\n  name: b\n", 3, "`name` appears twice; keep one of the two"),
            ("rules:\n- scale: 1\n", 2, "`name` is missing"),
            // Types.
            ("rules: 5\n", 1, "rules: 5 is not valid here; write a list: \"- item\" on lines of their own, or [item, item]"),
            ("rules:\n  name: a\n", 2, "rules: a section is not valid here; write a list: \"- item\" on lines of their own, or [item, item]"),
            ("rules:\n- a\n", 2, "a is not valid here; write keys and their values: \"key: value\" on lines of their own"),
            ("users: [a, b]\n", 1, "users: a list is not valid here; write keys and their values: \"key: value\" on lines of their own"),
            ("rules:\n- name: [a]\n", 2, "name: a list is not valid here; write a single value, without brackets"),
            ("rules:\n- name: a\n  scale: fast # x\n", 3, "scale: fast is not valid here; write a number"),
            ("rules:\n- {name: a, buckets: -1}\n", 2, "buckets: -1 is not valid here; write a whole number from 0 to 4294967295"),
            ("rules:\n- {name: a, honor: 5}\n", 2, "honor: 5 is not valid here; write true or false"),
            ("rules:\n- name: a\n  kind: x\n", 3, "kind: \"x\" is unknown; write \"summary\" or \"histogram\""),
            ("rules:\n- name: a\n  kind: [x]\n", 3, "kind: a list is not valid here; write a single word"),
            ("rules:\n- name:\n", 2, "name: has no value; write one, or leave the key out"),
            // Syntax.
            ("rules:\n- name: *.a\n", 2, "name: \"*\" begins a reference to a value that is not in the file; write text in quotes"),
            ("rules:\n- name: @a\n", 2, "name: text cannot begin with \"@\"; write it in quotes"),
            ("rules:\n- name: a: b\n", 2, "unexpected colon; check the indentation, and put text that contains \": \" in quotes"),
            ("rules:\n\t- name: a\n", 2, "indented with a tab; use spaces"),
            ("rules:\n- name: \"a\n", 2, "name: text has no closing quote"),
            ("rules: [a\n", 1, "rules: a bracket has no closing bracket"),
            ("rules: ]\n", 1, "rules: a closing bracket has no opening bracket"),
            ("rules:\n- name: \"\\q\"\n", 2, "name: a backslash in \"...\" begins an escape such as \\n; write \\\\, or put the text in '...'"),
            ("rules:\n- name: \"a\" b\n", 2, "text follows the closing quote; quote the whole text"),
            ("rules:\n- name: 'a' b\n", 2, "text follows the closing quote; quote the whole text"),
            ("rules:\n- name: \"a\"#b\n", 2, "write a space before \"#\""),
            ("rules: [a}\n", 1, "rules: a bracket and its closing bracket differ"),
            ("rules:\n- name: a\n scale: 1\n", 3, "the indentation or a \":\" is wrong; write \"key: value\", and indent keys of one section alike"),
            ("rules:\n- name: a\n   scale: 1\n", 3, "unexpected colon; check the indentation, and put text that contains \": \" in quotes"),
            ("rules:\n- name: a\n  scale\n", 3, "the indentation or a \":\" is wrong; write \"key: value\", and indent keys of one section alike"),
            ("rules: - name: a\n", 1, "rules: the indentation or a \":\" is wrong; write \"key: value\", and indent keys of one section alike"),
            ("rules:\n  - name: a\n - name: b\n", 3, "the indentation or a \":\" is wrong; write \"key: value\", and indent keys of one section alike"),
            ("rules:\n- name: |\na\n", 3, "the indentation or a \":\" is wrong; write \"key: value\", and indent keys of one section alike"),
            ("rules:\n- name: >x\n  a\n", 2, "name: the indentation or a \":\" is wrong; write \"key: value\", and indent keys of one section alike"),
            ("rules:\n- name: !!int a\n", 2, "\"!\" begins a type; write text in quotes"),
            ("rules:\n- <<: a\n", 2, "\"<<\" needs a section, such as a reference; or write the keys out"),
            ("rules:\n- name: %a\n", 2, "name: text cannot begin with \"%\"; write it in quotes"),
            ("rules: []\n...\nx\n", 3, "a second document begins here; leave the \"---\" out"),
            ("%YAML 3.0\n---\nrules: []\n", 1, "not valid YAML near \"%YAML 3.0\"; check the indentation, the quotes and the brackets"),
            ("&a rules: *a\n", 1, "not valid YAML near \"&a rules: *a\"; check the indentation, the quotes and the brackets"),
            ("rules: []\n---\nrules: []\n", 3, "a second document begins here; leave the \"---\" out"),
        ];
        let failures = cases.into_iter().filter_map(|(text, line, expected)| {
            let YamlError { line: found, problem } = parse::<File>(text).expect_err(text);
            (found != Some(line) || problem != expected)
                .then(|| format!("{text}gives {found:?}: {problem}\nnot   {line}: {expected}"))
        });
        let failures: Vec<_> = failures.collect();
        assert!(failures.is_empty(), "{}", failures.join("\n\n"));
    }
}
