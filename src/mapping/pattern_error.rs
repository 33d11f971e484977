//! Says in the user's words why a regular expression is invalid.

use regex_automata::meta::{BuildError, Regex};
use regex_syntax::{Error, ast, hir};

use crate::text::visible::visible;

/// Returns a sentence that says what is wrong in `pattern`, and shows where. `error` is about its translation from Go's
/// syntax, which would be hard to recognize.
pub(super) fn problem(pattern: &str, error: &BuildError) -> String {
    let Some(error) = error.syntax_error() else { return OTHER.to_owned() };
    let sentence = sentence(error);
    let original = Regex::new(pattern).err();
    // The pattern itself can have other errors, which are legal in Go and which the translation removes.
    let original = original.as_ref().and_then(BuildError::syntax_error);
    match original
        .filter(|original| self::sentence(original) == sentence)
        .and_then(|error| part(pattern, error))
    {
        Some(part) => format!("{sentence}, at \"{}\"", visible(part)),
        None => sentence.to_owned(),
    }
}

/// Returns the part of the pattern that an error is about, unless that is empty.
fn part<'a>(pattern: &'a str, error: &Error) -> Option<&'a str> {
    let span = match error {
        Error::Parse(error) => error.span(),
        Error::Translate(error) => error.span(),
        _ => return None,
    };
    pattern.get(span.start.offset..span.end.offset).filter(|part| !part.is_empty())
}

/// The reason for which there are no better words.
const OTHER: &str = "not a regular expression that tallyd can read";

fn sentence(error: &Error) -> &'static str {
    use ast::ErrorKind as Kind;
    let kind = match error {
        Error::Parse(error) => error.kind(),
        Error::Translate(error) => {
            return match error.kind() {
                hir::ErrorKind::UnicodePropertyNotFound | hir::ErrorKind::UnicodePropertyValueNotFound => {
                    NO_CLASS
                }
                _ => OTHER,
            };
        }
        _ => return OTHER,
    };
    match kind {
        Kind::GroupUnclosed => "a \"(\" has no closing \")\"; write \\( for the character itself",
        Kind::GroupUnopened => "a \")\" has no opening \"(\"; write \\) for the character itself",
        Kind::RepetitionMissing => {
            "nothing stands before a repetition; write a backslash before the character itself"
        }
        Kind::RepetitionCountInvalid => "the first number of a repetition exceeds the second",
        Kind::UnsupportedLookAround => "Go and tallyd have no look-around; leave it out",
        Kind::UnsupportedBackreference => "Go and tallyd have no references to earlier groups; leave it out",
        Kind::ClassRangeInvalid => "the end of a range precedes its start",
        Kind::ClassRangeLiteral | Kind::ClassEscapeInvalid => {
            "a range must begin and end with a character; write \\- for the character itself"
        }
        Kind::EscapeUnexpectedEof => "the pattern ends in a backslash; write \\\\ for the character itself",
        Kind::EscapeUnrecognized => "there is no such escape; leave the backslash out",
        Kind::EscapeHexEmpty | Kind::EscapeHexInvalid | Kind::EscapeHexInvalidDigit => {
            "not the code of a character; write one such as \\x41 or \\x{1F600}"
        }
        Kind::FlagDanglingNegation
        | Kind::FlagDuplicate { .. }
        | Kind::FlagRepeatedNegation { .. }
        | Kind::FlagUnexpectedEof
        | Kind::FlagUnrecognized => "wrong flags; write some such as (?i), (?s) or (?i:...)",
        Kind::GroupNameDuplicate { .. } => "two groups have the same name; rename one of them",
        Kind::GroupNameEmpty | Kind::GroupNameInvalid | Kind::GroupNameUnexpectedEof => {
            "wrong name of a group; write one such as (?P<name>...), with letters, digits and \"_\""
        }
        Kind::NestLimitExceeded(_) => "groups are nested too deeply",
        Kind::UnicodeClassInvalid => NO_CLASS,
        _ => OTHER,
    }
}

const NO_CLASS: &str = "there is no such class of characters; write one such as \\pL or \\p{Greek}";
